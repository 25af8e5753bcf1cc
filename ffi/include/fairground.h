/*
 * fairground.h: what libfairground.so has beyond the standard allocation functions.
 *
 * A program need not include this file, nor be linked with the library: malloc, free, operator new and all their
 * relatives are replaced when the library is linked or preloaded (LD_PRELOAD=libfairground.so.0). This file is for
 * programs that want to ask which allocator they run on, how much memory it holds, to free with a size before their
 * C library declares C23's functions for it, or to keep objects of their own in typed caches.
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
 * None throws; none changes errno but where it says so.
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

/* Formats of fairground_stats_print. */
#define FAIRGROUND_STATS_TEXT 0 /* tables for people, shaped like the kernel's; docs/statistics.md explains them */
#define FAIRGROUND_STATS_JSON 1 /* the same numbers for programs: one JSON object and a line end */

/*
 * Writes statistics of the whole allocator to a file descriptor. Nothing is allocated. The numbers are gathered while other
 * threads go on: each table is of one moment, different tables may be of different ones. Do not call it in a signal
 * handler, where it could wait for a lock for ever: for that there is FAIRGROUND_CONF=stats_signal:NUMBER.
 * Returns 0, EINVAL if there is no such format, or the error number of a write that failed; what was written stays.
 */
int fairground_stats_print(int fd, int format) FAIRGROUND_NOTHROW;

/*
 * Writes the heap profile as it is now to a file, in pprof's format; a file that exists is replaced. At exit it is written
 * anyway, to the file that FAIRGROUND_CONF names. See docs/profiling.md.
 * Returns 0, EINVAL if path is NULL, ENODATA if no profile is being taken (FAIRGROUND_CONF has neither profile:true nor
 * leaks:true), or the error number of the system call that failed.
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

/*
 * Typed caches: objects of one kind, kept constructed while nobody uses them (the kernel's kmem_cache).
 *
 * The constructor runs once for each object, when memory for a slab of them (64 KiB) is obtained, and never again while that
 * memory stays with the cache. An object that is given back keeps what is in it, for the next user to find; nothing is
 * ever written into a free object. Taking and giving back is a few instructions, without a lock.
 *
 *     static void init(void *object) { pthread_mutex_init(&((struct task *)object)->lock, NULL); }
 *
 *     struct fairground_cache *tasks = fairground_cache_create("task", sizeof(struct task), 0, 0, init);
 *     struct task *t = fairground_cache_alloc(tasks);
 *     ...
 *     fairground_cache_free(tasks, t);
 *
 * An object given back twice, a pointer into an object, an object of another cache, and an object that is given to free or
 * realloc are reported on stderr with the name of the cache, at the latest when the process ends, and the process aborted.
 */
struct fairground_cache;

/* Flags. */
#define FAIRGROUND_CACHE_NO_COLOUR 1u     /* the first object of every slab at its start; usually it moves by 64 bytes from slab to slab */
#define FAIRGROUND_CACHE_LINE 2u          /* no object up to 64 bytes lies in two cache lines; larger ones begin with one */
#define FAIRGROUND_CACHE_KEEP_CONTENTS 4u /* free objects keep their contents though there is no constructor; otherwise pages
                                             that lie in free objects may be given back, and read as zeroes then */

/*
 * Makes a cache. The name has 1 to 31 visible ASCII characters, objects 1 to 32,768 bytes; align is a power of two up to
 * 4,096, or 0 for that of malloc. flags are combined with |. constructor may be NULL. It is called with raw memory for an
 * object, from any thread, in some fairground_cache_alloc; it must not throw, nor use this cache.
 * Returns NULL and sets errno: EINVAL if an argument is not allowed, ENOSPC if there are 1,024 caches, ENOMEM.
 */
struct fairground_cache *fairground_cache_create(const char *name, size_t size, size_t align, unsigned flags,
                                                 void (*constructor)(void *object)) FAIRGROUND_NOTHROW;

/* An object, as its last user or the constructor left it. NULL, and errno is ENOMEM, if there is no memory. */
void *fairground_cache_alloc(struct fairground_cache *cache) FAIRGROUND_NOTHROW;

/* Gives an object back to the cache it came from, in a state that the next user expects. NULL is allowed. */
void fairground_cache_free(struct fairground_cache *cache, void *object) FAIRGROUND_NOTHROW;

/* Releases the slabs that have no object in use, and what this thread keeps of the cache. Returns the number of slabs. */
size_t fairground_cache_shrink(struct fairground_cache *cache) FAIRGROUND_NOTHROW;

/*
 * Destroys a cache, which nobody uses any more, and releases its memory. Returns 0, or EBUSY if objects have not been given
 * back: then the cache goes on working, and fairground_cache_get_stats says how many are live. NULL is allowed.
 */
int fairground_cache_destroy(struct fairground_cache *cache) FAIRGROUND_NOTHROW;

/* Counts of a cache; exact if nobody uses it meanwhile. */
struct fairground_cache_stats {
    size_t live;             /* objects that the program has */
    size_t cached;           /* free objects that threads keep to themselves */
    size_t objects;          /* objects in all slabs, in use or not */
    size_t objects_per_slab; /* objects in a slab of 64 KiB */
    size_t object_size;      /* bytes of an object, as asked for */
    size_t align;            /* its alignment; 8 at least */
    size_t slabs;            /* slabs the cache has */
    size_t slabs_partial;    /* those with some objects in use and some free */
    size_t slabs_empty;      /* those with no object in use; three at most are kept */
    size_t slabs_full;       /* those in which no free object was found; the rest are in use by threads at present */
};

/* Stores the counts in *out; size as for fairground_get_totals. Returns 0, or EINVAL if out is NULL or size is 0. */
int fairground_cache_get_stats(struct fairground_cache *cache, struct fairground_cache_stats *out,
                               size_t size) FAIRGROUND_NOTHROW;

#if defined(__cplusplus)
}
#endif

#endif /* FAIRGROUND_H */
