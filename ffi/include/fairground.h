/*
 * fairground.h: what libfairground.so has beyond the standard allocation functions.
 *
 * A program need not include this file, nor be linked with the library: malloc, free, operator new and all their
 * relatives are replaced when the library is linked or preloaded (LD_PRELOAD=libfairground.so.0). This file is for
 * programs that want to ask which allocator they run on, how much memory it holds, or to free with a size before their
 * C library declares C23's functions for it.
 *
 *     #include <fairground.h>
 *     #include <stdio.h>
 *     #include <stdlib.h>
 *
 *     int main(void)
 *     {
 *         struct fairground_totals t;
 *         void *p = malloc(100);
 *         if (p != NULL && fairground_get_totals(&t, sizeof t) == 0)
 *             printf("fairground %s: %zu bytes in use, %zu mapped\n", fairground_version(), t.in_use, t.mapped);
 *         free_sized(p, 100);
 *         return 0;
 *     }
 *
 *     cc example.c $(pkg-config --cflags --libs fairground)
 *
 * For giving memory back to the system call malloc_trim (malloc.h): it does what it does in the GNU C library.
 *
 * C99 and later, C++11 and later. All functions may be called from any thread at any time, also in a child after fork.
 * None throws, none allocates, none changes errno.
 */
#ifndef FAIRGROUND_H
#define FAIRGROUND_H

#include <stddef.h>
#include <stdlib.h>

/* The version of this file, as numbers for #if; fairground_version() is that of the library. */
#define FAIRGROUND_VERSION_MAJOR 0
#define FAIRGROUND_VERSION_MINOR 1
#define FAIRGROUND_VERSION_PATCH 0

#if defined(__cplusplus)
#define FAIRGROUND_NOTHROW noexcept
extern "C" {
#else
#define FAIRGROUND_NOTHROW
#endif

/* The library's version as text, such as "0.1.0". Static; not to be freed. */
const char *fairground_version(void) FAIRGROUND_NOTHROW;

/*
 * How much memory the allocator holds. All sizes are in bytes. The counters are read without stopping other threads:
 * while these allocate, the numbers may disagree a little with one another.
 */
struct fairground_totals {
    size_t mapped;     /* obtained from the system for blocks, whether in use or not */
    size_t in_use;     /* in blocks of the program and in the caches of threads, in whole slabs and pages */
    size_t free;       /* free pages and chunks, whether they occupy memory or not */
    size_t dirty;      /* free and still occupying memory: what malloc_trim may give back */
    size_t huge;       /* the part of in_use in blocks that have a mapping of their own */
    size_t huge_count; /* how many such blocks there are (a count, not bytes) */
    size_t metadata;   /* address space set aside for the allocator's own tables */
};

/*
 * Stores the totals in *out. Pass sizeof(struct fairground_totals) as size: later versions may add members at the end,
 * and a library stores no more than it is asked for, and zeros for members it does not know.
 * Returns 0, or EINVAL if out is NULL or size is 0.
 */
int fairground_get_totals(struct fairground_totals *out, size_t size) FAIRGROUND_NOTHROW;

/*
 * Writes the heap profile as it is now to a file, in pprof's format; a file that exists is replaced. At exit it is written
 * anyway, to the file that FAIRGROUND_CONF names. See docs/profiling.md.
 * Returns 0, EINVAL if path is NULL, ENODATA if no profile is being taken (FAIRGROUND_CONF has no profile:true), or the
 * error number of the system call that failed.
 */
int fairground_profile_write(const char *path) FAIRGROUND_NOTHROW;

/*
 * C23's sized free, for C libraries that do not declare it. ptr is NULL, or came from malloc, calloc or realloc
 * (free_sized), or from aligned_alloc (free_aligned_sized), and size and alignment are what was asked for; for calloc
 * the product. Anything else is undefined. Faster than free: the block's size need not be looked up.
 */
#if !defined(__STDC_VERSION_STDLIB_H__) || __STDC_VERSION_STDLIB_H__ < 202311L
void free_sized(void *ptr, size_t size) FAIRGROUND_NOTHROW;
void free_aligned_sized(void *ptr, size_t alignment, size_t size) FAIRGROUND_NOTHROW;
#endif

#if defined(__cplusplus)
}
#endif

#endif /* FAIRGROUND_H */
