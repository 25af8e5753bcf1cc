/*
 * The corners of glibc's documented malloc. Compiled with -fno-builtin: the compiler knows malloc too well otherwise.
 * Sizes pass through volatile variables, so that the compiler does not see that some are absurd.
 */
#define _GNU_SOURCE
#include "rows.h"
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

/* An errno that no allocator sets. */
#define MARK ENOTTY

#define STARTS(text, start) (strncmp(text, start, sizeof start - 1) == 0)

static const size_t HALF = SIZE_MAX / 2 + 1; /* 2^63 */
static size_t page;

static size_t hide(size_t n)
{
    volatile size_t hidden = n;
    return hidden;
}

static void *symbol(const char *name)
{
    return dlsym(RTLD_DEFAULT, name);
}

/* ---- Aligned allocation ---- */

enum call { POSIX, ALIGNED, MEMALIGN };

static const struct {
    const char *name;
    enum call call;
    size_t align, size;
    int want; /* 0, EINVAL or ENOMEM */
    enum where where;
} aligned_rows[] = {
    {"posix_memalign 8", POSIX, 8, 100, 0, BOTH},
    {"posix_memalign 16", POSIX, 16, 100, 0, BOTH},
    {"posix_memalign 64", POSIX, 64, 1, 0, BOTH},
    {"posix_memalign 64, size 0", POSIX, 64, 0, 0, BOTH},
    {"posix_memalign 4096", POSIX, 4096, 5000, 0, BOTH},
    {"posix_memalign 2 MiB", POSIX, 2 << 20, 100, 0, BOTH},
    {"posix_memalign 64 MiB", POSIX, 64 << 20, 100, 0, BOTH},
    {"posix_memalign alignment 0", POSIX, 0, 100, EINVAL, BOTH},
    {"posix_memalign alignment 1", POSIX, 1, 100, EINVAL, BOTH},
    {"posix_memalign alignment 4: below a pointer", POSIX, 4, 100, EINVAL, BOTH},
    {"posix_memalign alignment 24: multiple, no power of two", POSIX, 24, 100, EINVAL, BOTH},
    {"posix_memalign alignment 48", POSIX, 48, 100, EINVAL, BOTH},
    {"posix_memalign alignment SIZE_MAX", POSIX, SIZE_MAX, 100, EINVAL, BOTH},
    {"posix_memalign invalid alignment before absurd size", POSIX, 24, SIZE_MAX, EINVAL, BOTH},
    {"posix_memalign size PTRDIFF_MAX", POSIX, 64, PTRDIFF_MAX, ENOMEM, BOTH},
    {"posix_memalign size SIZE_MAX", POSIX, 64, SIZE_MAX, ENOMEM, BOTH},
    {"posix_memalign size SIZE_MAX, alignment 8", POSIX, 8, SIZE_MAX, ENOMEM, BOTH},
    {"posix_memalign alignment 2^63", POSIX, (size_t)1 << 63, 1, ENOMEM, BOTH},
    {"posix_memalign alignment 2^62, size 2^62", POSIX, (size_t)1 << 62, (size_t)1 << 62, ENOMEM, BOTH},
    {"aligned_alloc 1", ALIGNED, 1, 100, 0, BOTH},
    {"aligned_alloc 2", ALIGNED, 2, 100, 0, BOTH},
    {"aligned_alloc 16", ALIGNED, 16, 64, 0, BOTH},
    {"aligned_alloc 256, size no multiple", ALIGNED, 256, 100, 0, BOTH},
    {"aligned_alloc 32, size 0", ALIGNED, 32, 0, 0, BOTH},
    {"aligned_alloc 64 KiB", ALIGNED, 64 << 10, 64 << 10, 0, BOTH},
    /* The system's here may be older than 2.38, which began to refuse these. */
    {"aligned_alloc alignment 0", ALIGNED, 0, 100, EINVAL, OURS},
    {"aligned_alloc alignment 24", ALIGNED, 24, 100, EINVAL, OURS},
    {"aligned_alloc alignment SIZE_MAX", ALIGNED, SIZE_MAX, 100, EINVAL, BOTH},
    {"aligned_alloc size PTRDIFF_MAX", ALIGNED, 64, PTRDIFF_MAX, ENOMEM, BOTH},
    {"aligned_alloc size SIZE_MAX", ALIGNED, 64, SIZE_MAX, ENOMEM, BOTH},
    {"aligned_alloc alignment 2^63", ALIGNED, (size_t)1 << 63, 1, ENOMEM, BOTH},
    {"memalign 0 is malloc", MEMALIGN, 0, 100, 0, BOTH},
    {"memalign 1 is malloc", MEMALIGN, 1, 100, 0, BOTH},
    {"memalign 3 is malloc", MEMALIGN, 3, 100, 0, BOTH},
    {"memalign 17 rounds up to 32", MEMALIGN, 17, 100, 0, BOTH},
    {"memalign 48 rounds up to 64", MEMALIGN, 48, 100, 0, BOTH},
    {"memalign 5000 rounds up to 8192", MEMALIGN, 5000, 100, 0, BOTH},
    {"memalign 64, size 0", MEMALIGN, 64, 0, 0, BOTH},
    {"memalign 2^63 + 1", MEMALIGN, ((size_t)1 << 63) + 1, 1, EINVAL, BOTH},
    {"memalign SIZE_MAX", MEMALIGN, SIZE_MAX, 1, EINVAL, BOTH},
    {"memalign 2^63", MEMALIGN, (size_t)1 << 63, 1, ENOMEM, BOTH},
    {"memalign size PTRDIFF_MAX", MEMALIGN, 64, PTRDIFF_MAX, ENOMEM, BOTH},
    {"memalign size SIZE_MAX", MEMALIGN, 64, SIZE_MAX, ENOMEM, BOTH},
};

static void test_aligned(void)
{
    for (size_t i = 0; i < sizeof aligned_rows / sizeof *aligned_rows; i++) {
        size_t align = hide(aligned_rows[i].align), size = hide(aligned_rows[i].size), power = 16;
        int want = aligned_rows[i].want, got = 0;
        void *block = &got;
        if (!row_begin(aligned_rows[i].name, aligned_rows[i].where))
            continue;
        errno = MARK;
        switch (aligned_rows[i].call) {
        case POSIX:
            got = posix_memalign(&block, align, size);
            /* glibc sets errno besides, without documenting it. */
            EXPECT(errno == MARK || !on_fairground);
            if (want)
                EXPECT(block == &got);
            break;
        case ALIGNED:
        case MEMALIGN:
            block = aligned_rows[i].call == ALIGNED ? aligned_alloc(align, size) : memalign(align, size);
            if (!block)
                got = errno;
            else
                EXPECT(errno == MARK);
            break;
        }
        EXPECT(got == want);
        if (!got && !want) {
            while (power < align)
                power *= 2;
            EXPECT(block != NULL && block != &got);
            EXPECT((uintptr_t)block % power == 0);
            EXPECT(malloc_usable_size(block) >= size);
            memset(block, 0xa5, size);
            free(block);
        }
        row_end();
    }
}

/* ---- Sizes that cannot be ---- */

static void *call_malloc(size_t a, size_t b) { (void)b; return malloc(a); }
static void *call_calloc(size_t a, size_t b) { return calloc(a, b); }
static void *call_realloc_null(size_t a, size_t b) { (void)b; return realloc(NULL, a); }
static void *call_reallocarray_null(size_t a, size_t b) { return reallocarray(NULL, a, b); }
static void *call_valloc(size_t a, size_t b) { (void)b; return valloc(a); }
static void *call_pvalloc(size_t a, size_t b) { (void)b; return pvalloc(a); }

static const struct {
    const char *name;
    void *(*call)(size_t, size_t);
    size_t a, b;
} absurd_rows[] = {
    {"malloc PTRDIFF_MAX", call_malloc, PTRDIFF_MAX, 0},
    {"malloc PTRDIFF_MAX - 4096", call_malloc, PTRDIFF_MAX - 4096, 0},
    {"malloc PTRDIFF_MAX + 1", call_malloc, (size_t)PTRDIFF_MAX + 1, 0},
    {"malloc SIZE_MAX", call_malloc, SIZE_MAX, 0},
    {"malloc SIZE_MAX - 15: must not round up to 0", call_malloc, SIZE_MAX - 15, 0},
    {"malloc SIZE_MAX - 4095", call_malloc, SIZE_MAX - 4095, 0},
    {"calloc PTRDIFF_MAX x 1", call_calloc, PTRDIFF_MAX, 1},
    {"calloc SIZE_MAX x 1", call_calloc, SIZE_MAX, 1},
    {"calloc SIZE_MAX x SIZE_MAX", call_calloc, SIZE_MAX, SIZE_MAX},
    {"calloc 2^32 x 2^32: product 0", call_calloc, (size_t)1 << 32, (size_t)1 << 32},
    {"calloc 2^63 x 2: product 0", call_calloc, (size_t)1 << 63, 2},
    {"calloc 2 x 2^63 + 8: product 16", call_calloc, 2, ((size_t)1 << 63) + 8},
    {"realloc null, PTRDIFF_MAX", call_realloc_null, PTRDIFF_MAX, 0},
    {"realloc null, SIZE_MAX", call_realloc_null, SIZE_MAX, 0},
    {"reallocarray null, SIZE_MAX x 2", call_reallocarray_null, SIZE_MAX, 2},
    {"reallocarray null, 2^32 x 2^32", call_reallocarray_null, (size_t)1 << 32, (size_t)1 << 32},
    {"valloc PTRDIFF_MAX", call_valloc, PTRDIFF_MAX, 0},
    {"valloc SIZE_MAX", call_valloc, SIZE_MAX, 0},
    {"pvalloc PTRDIFF_MAX", call_pvalloc, PTRDIFF_MAX, 0},
    {"pvalloc SIZE_MAX: rounding overflows", call_pvalloc, SIZE_MAX, 0},
    {"pvalloc SIZE_MAX - 8191", call_pvalloc, SIZE_MAX - 8191, 0},
};

static void test_absurd(void)
{
    for (size_t i = 0; i < sizeof absurd_rows / sizeof *absurd_rows; i++) {
        row_begin(absurd_rows[i].name, BOTH);
        errno = 0;
        EXPECT(absurd_rows[i].call(hide(absurd_rows[i].a), hide(absurd_rows[i].b)) == NULL);
        EXPECT(errno == ENOMEM);
        row_end();
    }
}

static void fill(unsigned char *block, size_t size, unsigned seed)
{
    for (size_t i = 0; i < size; i++)
        block[i] = (unsigned char)(i * 7 + seed);
}

static int holds(const unsigned char *block, size_t size, unsigned seed)
{
    for (size_t i = 0; i < size; i++)
        if (block[i] != (unsigned char)(i * 7 + seed))
            return 0;
    return 1;
}

static void test_failing_realloc(void)
{
    unsigned char *block;

    row_begin("realloc that fails leaves the block", BOTH);
    block = malloc(1000);
    fill(block, 1000, 1);
    errno = 0;
    EXPECT(realloc(block, hide(PTRDIFF_MAX)) == NULL);
    EXPECT(errno == ENOMEM);
    EXPECT(realloc(block, hide(SIZE_MAX)) == NULL);
    EXPECT(holds(block, 1000, 1));
    free(block);
    row_end();

    row_begin("reallocarray that overflows leaves the block", BOTH);
    block = malloc(1000);
    fill(block, 1000, 2);
    errno = 0;
    EXPECT(reallocarray(block, hide(HALF), hide(2)) == NULL);
    EXPECT(errno == ENOMEM);
    EXPECT(holds(block, 1000, 2));
    free(block);
    row_end();
}

/* ---- Zero sizes and null pointers ---- */

static void test_zero(void)
{
    void *blocks[64];
    void *block;

    row_begin("malloc(0): unique, not null, can be freed", BOTH);
    for (int i = 0; i < 64; i++) {
        blocks[i] = malloc(hide(0));
        EXPECT(blocks[i] != NULL);
        for (int j = 0; j < i; j++)
            EXPECT(blocks[i] != blocks[j]);
    }
    for (int i = 0; i < 64; i++)
        free(blocks[i]);
    row_end();

    row_begin("calloc with a zero: not null", BOTH);
    for (int i = 0; i < 3; i++) {
        block = calloc(hide(i == 0 ? 0 : 8), hide(i == 1 ? 0 : i == 0 ? 8 : 0));
        EXPECT(block != NULL);
        free(block);
    }
    row_end();

    row_begin("calloc(0, SIZE_MAX): no overflow", BOTH);
    block = calloc(hide(0), hide(SIZE_MAX));
    EXPECT(block != NULL);
    free(block);
    row_end();

    row_begin("realloc(NULL, n) is malloc", BOTH);
    block = realloc(NULL, hide(100));
    EXPECT(block != NULL && malloc_usable_size(block) >= 100);
    free(block);
    row_end();

    row_begin("realloc(NULL, 0) is malloc(0)", BOTH);
    block = realloc(NULL, hide(0));
    EXPECT(block != NULL);
    free(block);
    row_end();

    row_begin("realloc(p, 0) frees and returns null, errno stays", BOTH);
    for (size_t size = 1; size < (size_t)64 << 20; size *= 3) {
        block = malloc(size);
        errno = MARK;
        EXPECT(realloc(block, hide(0)) == NULL);
        EXPECT(errno == MARK);
    }
    row_end();

    row_begin("reallocarray with a zero frees and returns null", BOTH);
    errno = MARK;
    EXPECT(reallocarray(malloc(100), hide(0), 8) == NULL);
    EXPECT(reallocarray(malloc(100), 8, hide(0)) == NULL);
    EXPECT(errno == MARK);
    row_end();

    row_begin("reallocarray(NULL, n, size) is malloc", BOTH);
    block = reallocarray(NULL, hide(7), hide(11));
    EXPECT(block != NULL && malloc_usable_size(block) >= 77);
    free(block);
    row_end();

    row_begin("malloc_usable_size(NULL) is 0", BOTH);
    EXPECT(malloc_usable_size(NULL) == 0);
    row_end();

    row_begin("valloc(0), pvalloc(0): not null, on a page", BOTH);
    block = valloc(hide(0));
    EXPECT(block != NULL && (uintptr_t)block % page == 0);
    free(block);
    block = pvalloc(hide(0));
    EXPECT(block != NULL && (uintptr_t)block % page == 0);
    free(block);
    row_end();
}

/* ---- errno ---- */

static const size_t some_sizes[] = {
    0, 1, 8, 16, 24, 100, 128, 129, 1000, 4096, 5000, 8192, 8193, 40000, 131072, 262144, 262145, 1 << 20, 5 << 20, 40 << 20,
};
#define SOME (sizeof some_sizes / sizeof *some_sizes)

static void test_errno(void)
{
    row_begin("errno stays: free", BOTH);
    errno = MARK;
    free(NULL);
    EXPECT(errno == MARK);
    for (size_t i = 0; i < SOME; i++) {
        void *block = malloc(some_sizes[i]);
        errno = MARK;
        free(block);
        EXPECT(errno == MARK);
    }
    row_end();

    row_begin("errno stays: successful malloc, calloc, realloc", BOTH);
    for (size_t i = 0; i < SOME; i++) {
        errno = MARK;
        void *block = malloc(some_sizes[i]);
        void *zeroed = calloc(1, some_sizes[i]);
        block = realloc(block, some_sizes[SOME - 1 - i] + 1);
        EXPECT(block && zeroed);
        EXPECT(errno == MARK);
        free(block);
        free(zeroed);
    }
    row_end();
}

/* ---- Contents, alignment, usable sizes ---- */

static void test_contents(void)
{
    row_begin("malloc aligns to 16", BOTH);
    for (size_t size = 0; size < 5000; size++) {
        void *block = malloc(size);
        EXPECT((uintptr_t)block % 16 == 0);
        free(block);
    }
    for (size_t i = 0; i < SOME; i++) {
        void *block = malloc(some_sizes[i]);
        EXPECT((uintptr_t)block % 16 == 0);
        free(block);
    }
    row_end();

    row_begin("calloc zeroes what was dirty", BOTH);
    for (int round = 0; round < 4; round++)
        for (size_t i = 0; i < SOME; i++) {
            size_t size = some_sizes[i], dirty = 0;
            unsigned char *block = malloc(size);
            memset(block, 0xff, malloc_usable_size(block));
            free(block);
            block = calloc(size ? size : 1, 1);
            for (size_t at = 0; at < size; at++)
                dirty |= block[at];
            EXPECT(!dirty);
            free(block);
        }
    row_end();

    row_begin("realloc keeps the contents, growing and shrinking", BOTH);
    for (size_t i = 0; i < SOME; i++)
        for (size_t j = 0; j < SOME; j++) {
            size_t from = some_sizes[i], to = some_sizes[j] ? some_sizes[j] : 1;
            unsigned char *block = malloc(from), *moved;
            fill(block, from, 3);
            moved = realloc(block, to);
            EXPECT(moved != NULL && (uintptr_t)moved % 16 == 0);
            EXPECT(holds(moved, from < to ? from : to, 3));
            free(moved);
        }
    row_end();

    row_begin("usable size: all of it can be written, and realloc keeps it", BOTH);
    for (size_t i = 0; i < SOME; i++) {
        unsigned char *block = malloc(some_sizes[i]);
        size_t usable = malloc_usable_size(block);
        EXPECT(usable >= some_sizes[i]);
        fill(block, usable, 4);
        EXPECT(malloc_usable_size(block) == usable);
        block = realloc(block, usable + 1000);
        EXPECT(holds(block, usable, 4));
        free(block);
    }
    row_end();

    row_begin("realloc of aligned blocks keeps the contents", BOTH);
    for (size_t align = 32; align <= 1 << 20; align *= 2) {
        unsigned char *block = memalign(align, 3000);
        fill(block, 3000, 5);
        block = realloc(block, 300000);
        EXPECT(holds(block, 3000, 5));
        free(block);
    }
    row_end();

    row_begin("valloc, pvalloc: on a page, pvalloc in whole pages", BOTH);
    for (size_t i = 0; i < SOME; i++) {
        void *block = valloc(some_sizes[i]);
        EXPECT(block != NULL && (uintptr_t)block % page == 0 && malloc_usable_size(block) >= some_sizes[i]);
        free(block);
        block = pvalloc(some_sizes[i]);
        EXPECT(block != NULL && (uintptr_t)block % page == 0);
        EXPECT(malloc_usable_size(block) >= (some_sizes[i] + page - 1) / page * page);
        free(block);
    }
    row_end();
}

/* ---- Other names ---- */

static void test_names(void)
{
    if (row_begin("free_sized", OURS)) {
        void (*free_sized)(void *, size_t) = (void (*)(void *, size_t))symbol("free_sized");
        EXPECT(free_sized != NULL);
        if (free_sized) {
            errno = MARK;
            free_sized(NULL, 0);
            free_sized(NULL, 100);
            for (int round = 0; round < 100; round++)
                for (size_t i = 0; i < SOME; i++) {
                    free_sized(malloc(some_sizes[i]), some_sizes[i]);
                    free_sized(calloc(2, some_sizes[i]), 2 * some_sizes[i]);
                    free_sized(realloc(malloc(10), some_sizes[i] + 1), some_sizes[i] + 1);
                }
            EXPECT(errno == MARK);
        }
        row_end();
    }

    if (row_begin("free_aligned_sized", OURS)) {
        void (*free_aligned_sized)(void *, size_t, size_t) =
            (void (*)(void *, size_t, size_t))symbol("free_aligned_sized");
        EXPECT(free_aligned_sized != NULL);
        if (free_aligned_sized) {
            errno = MARK;
            free_aligned_sized(NULL, 64, 100);
            for (size_t align = 1; align <= 1 << 20; align *= 2)
                for (size_t i = 0; i < SOME; i++) {
                    void *block = aligned_alloc(align, some_sizes[i]);
                    EXPECT(block != NULL);
                    free_aligned_sized(block, align, some_sizes[i]);
                }
            EXPECT(errno == MARK);
        }
        row_end();
    }

    if (row_begin("cfree", OURS)) {
        void (*cfree)(void *) = (void (*)(void *))symbol("cfree");
        EXPECT(cfree != NULL);
        if (cfree) {
            cfree(NULL);
            cfree(malloc(100));
        }
        row_end();
    }

    /* Each of glibc's inner names must be the same allocator as the outer ones: blocks go from one to the other. */
    static const char *const makers[] = {"__libc_malloc", "__libc_valloc", "__libc_pvalloc"};
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        row_begin(makers[i], BOTH);
        void *(*make)(size_t) = (void *(*)(size_t))symbol(makers[i]);
        EXPECT(make != NULL);
        if (make) {
            void *block = make(100);
            EXPECT(block != NULL && malloc_usable_size(block) >= 100);
            block = realloc(block, 1000);
            free(block);
        }
        row_end();
    }

    row_begin("__libc_calloc", BOTH);
    void *(*libc_calloc)(size_t, size_t) = (void *(*)(size_t, size_t))symbol("__libc_calloc");
    EXPECT(libc_calloc != NULL);
    if (libc_calloc) {
        char *block = libc_calloc(10, 10);
        EXPECT(block != NULL && block[0] == 0 && block[99] == 0);
        free(block);
    }
    row_end();

    row_begin("__libc_memalign", BOTH);
    void *(*libc_memalign)(size_t, size_t) = (void *(*)(size_t, size_t))symbol("__libc_memalign");
    EXPECT(libc_memalign != NULL);
    if (libc_memalign) {
        void *block = libc_memalign(48, 100);
        EXPECT(block != NULL && (uintptr_t)block % 64 == 0);
        free(block);
    }
    row_end();

    row_begin("__libc_realloc, __libc_free", BOTH);
    void *(*libc_realloc)(void *, size_t) = (void *(*)(void *, size_t))symbol("__libc_realloc");
    void (*libc_free)(void *) = (void (*)(void *))symbol("__libc_free");
    EXPECT(libc_realloc != NULL && libc_free != NULL);
    if (libc_realloc && libc_free) {
        libc_free(libc_realloc(malloc(10), 1000));
        EXPECT(libc_realloc(malloc(10), 0) == NULL);
        libc_free(NULL);
    }
    row_end();

    if (row_begin("__libc_reallocarray, __posix_memalign", OURS)) {
        void *(*libc_reallocarray)(void *, size_t, size_t) =
            (void *(*)(void *, size_t, size_t))symbol("__libc_reallocarray");
        int (*libc_posix_memalign)(void **, size_t, size_t) =
            (int (*)(void **, size_t, size_t))symbol("__posix_memalign");
        EXPECT(libc_reallocarray != NULL && libc_posix_memalign != NULL);
        if (libc_reallocarray && libc_posix_memalign) {
            void *block = libc_reallocarray(NULL, 10, 10);
            EXPECT(block != NULL);
            EXPECT(libc_reallocarray(block, SIZE_MAX, 2) == NULL);
            free(block);
            EXPECT(libc_posix_memalign(&block, 24, 10) == EINVAL);
            EXPECT(libc_posix_memalign(&block, 64, 10) == 0 && (uintptr_t)block % 64 == 0);
            free(block);
        }
        row_end();
    }
}

/* ---- Numbers ---- */

enum { SMALL_BLOCKS = 10000, SMALL_SIZE = 1000, HUGE_SIZE = 64 << 20 };

static void test_numbers(void)
{
    static void *blocks[SMALL_BLOCKS];
    char text[16384];
    size_t length;

    row_begin("mallinfo2 counts small blocks", BOTH);
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < SMALL_BLOCKS; i++)
        blocks[i] = malloc(SMALL_SIZE);
    struct mallinfo2 during = mallinfo2();
    EXPECT(during.uordblks >= before.uordblks + SMALL_BLOCKS * SMALL_SIZE / 10 * 9);
    EXPECT(during.arena >= during.uordblks);
    struct mallinfo old = mallinfo();
    EXPECT((size_t)old.uordblks == during.uordblks);
    EXPECT((size_t)old.arena == during.arena);
    struct mallinfo (*libc_mallinfo)(void) = (struct mallinfo (*)(void))symbol("__libc_mallinfo");
    EXPECT(libc_mallinfo != NULL && (size_t)libc_mallinfo().uordblks == during.uordblks);
    for (int i = 0; i < SMALL_BLOCKS; i++)
        free(blocks[i]);
    EXPECT(mallinfo2().uordblks < during.uordblks);
    row_end();

    row_begin("mallinfo2 counts huge blocks apart", BOTH);
    before = mallinfo2();
    void *block = malloc(HUGE_SIZE);
    during = mallinfo2();
    EXPECT(during.hblks == before.hblks + 1);
    EXPECT(during.hblkhd >= before.hblkhd + HUGE_SIZE);
    EXPECT(during.uordblks < before.uordblks + HUGE_SIZE);
    free(block);
    EXPECT(mallinfo2().hblks == before.hblks);
    row_end();

    row_begin("malloc_info prints glibc's XML", BOTH);
    FILE *file = tmpfile();
    errno = MARK;
    EXPECT(malloc_info(0, file) == 0);
    rewind(file);
    length = fread(text, 1, sizeof text - 1, file);
    text[length] = 0;
    fclose(file);
    EXPECT(STARTS(text, "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n"));
    EXPECT(strstr(text, "</sizes>\n<total type=\"fast\" count=\"") != NULL);
    EXPECT(strstr(text, "<total type=\"rest\" count=\"") != NULL);
    EXPECT(strstr(text, "</heap>\n") != NULL);
    EXPECT(strstr(text, "<total type=\"mmap\" count=\"") != NULL);
    EXPECT(strstr(text, "<system type=\"current\" size=\"") != NULL);
    EXPECT(strstr(text, "<system type=\"max\" size=\"") != NULL);
    EXPECT(strstr(text, "<aspace type=\"total\" size=\"") != NULL);
    EXPECT(strstr(text, "<aspace type=\"mprotect\" size=\"") != NULL);
    EXPECT(length > 10 && strcmp(text + length - 10, "</malloc>\n") == 0);
    row_end();

    if (row_begin("malloc_info counts the free blocks of each size", OURS)) {
        char *many[1000];
        size_t counts[2];
        for (int i = 0; i < 1000; i++)
            many[i] = malloc(440);
        for (int round = 0; round < 2; round++) {
            file = tmpfile();
            EXPECT(malloc_info(0, file) == 0);
            rewind(file);
            text[fread(text, 1, sizeof text - 1, file)] = 0;
            fclose(file);
            const char *row = strstr(text, "<size from=\"417\" to=\"448\" total=\"");
            size_t total = 0;
            counts[round] = 0;
            if (row != NULL && sscanf(row, "<size from=\"417\" to=\"448\" total=\"%zu\" count=\"%zu\"/>\n", &total, &counts[round]) == 2)
                EXPECT(total == counts[round] * 448);
            /* Every other block, so that no slab becomes empty and goes. */
            for (int i = round; i < 1000 && round == 0; i += 2)
                free(many[i]);
        }
        EXPECT(counts[1] >= counts[0] + 450 && counts[1] <= counts[0] + 550);
        for (int i = 1; i < 1000; i += 2)
            free(many[i]);
        row_end();
    }

    row_begin("malloc_info with options: EINVAL", BOTH);
    file = tmpfile();
    EXPECT(malloc_info(1, file) == EINVAL);
    EXPECT(ftell(file) == 0);
    fclose(file);
    row_end();

    if (row_begin("malloc_info to a full device: -1", OURS)) {
        file = fopen("/dev/full", "w");
        setvbuf(file, NULL, _IONBF, 0);
        EXPECT(malloc_info(0, file) == -1);
        fclose(file);
        row_end();
    }

    row_begin("malloc_stats prints to stderr", BOTH);
    file = tmpfile();
    fflush(stderr);
    int saved = dup(2);
    dup2(fileno(file), 2);
    errno = MARK;
    malloc_stats();
    dup2(saved, 2);
    close(saved);
    lseek(fileno(file), 0, SEEK_SET);
    length = fread(text, 1, sizeof text - 1, file);
    text[length] = 0;
    fclose(file);
    EXPECT(STARTS(text, "Arena 0:\nsystem bytes     = "));
    EXPECT(strstr(text, "\nin use bytes     = ") != NULL);
    EXPECT(strstr(text, "\nTotal (incl. mmap):\nsystem bytes     = ") != NULL);
    row_end();

    row_begin("malloc_trim returns 0 or 1", BOTH);
    for (int i = 0; i < SMALL_BLOCKS; i++)
        blocks[i] = malloc(SMALL_SIZE);
    for (int i = 0; i < SMALL_BLOCKS; i++)
        free(blocks[i]);
    errno = MARK;
    int trimmed = malloc_trim(0);
    EXPECT(trimmed == 0 || trimmed == 1);
    EXPECT(errno == MARK);
    trimmed = malloc_trim(SIZE_MAX / 4);
    EXPECT(trimmed == 0 || trimmed == 1);
    row_end();
}

/* ---- mallopt: last, for it changes how the system's allocator works ---- */

static const struct {
    const char *name;
    int parameter, value, want;
} mallopt_rows[] = {
    {"mallopt M_MXFAST 0", M_MXFAST, 0, 1},
    {"mallopt M_MXFAST 64", M_MXFAST, 64, 1},
    {"mallopt M_MXFAST 160", M_MXFAST, 160, 1},
    {"mallopt M_MXFAST 161: too large", M_MXFAST, 161, 0},
    {"mallopt M_MXFAST -1", M_MXFAST, -1, 0},
    {"mallopt M_TOP_PAD", M_TOP_PAD, 1 << 20, 1},
    {"mallopt M_TRIM_THRESHOLD 256 KiB", M_TRIM_THRESHOLD, 256 << 10, 1},
    {"mallopt M_TRIM_THRESHOLD 0", M_TRIM_THRESHOLD, 0, 1},
    {"mallopt M_TRIM_THRESHOLD -1: never", M_TRIM_THRESHOLD, -1, 1},
    {"mallopt M_MMAP_THRESHOLD 64 KiB", M_MMAP_THRESHOLD, 64 << 10, 1},
    {"mallopt M_MMAP_THRESHOLD 32 MiB", M_MMAP_THRESHOLD, 32 << 20, 1},
    {"mallopt M_MMAP_MAX 0", M_MMAP_MAX, 0, 1},
    {"mallopt M_MMAP_MAX 65536", M_MMAP_MAX, 65536, 1},
    {"mallopt M_CHECK_ACTION", M_CHECK_ACTION, 3, 1},
    {"mallopt M_ARENA_TEST", M_ARENA_TEST, 4, 1},
    {"mallopt M_ARENA_TEST 0", M_ARENA_TEST, 0, 1},
    {"mallopt M_ARENA_MAX", M_ARENA_MAX, 2, 1},
    {"mallopt M_PERTURB", M_PERTURB, 0xa5, 1},
    {"mallopt: unknown parameters are accepted", 12345, 1, 1},
};

static void test_mallopt(void)
{
    for (size_t i = 0; i < sizeof mallopt_rows / sizeof *mallopt_rows; i++) {
        row_begin(mallopt_rows[i].name, BOTH);
        EXPECT(mallopt(mallopt_rows[i].parameter, mallopt_rows[i].value) == mallopt_rows[i].want);
        row_end();
    }

    row_begin("calloc zeroes with M_PERTURB", BOTH);
    for (size_t i = 0; i < SOME; i++) {
        size_t size = some_sizes[i], dirty = 0;
        free(malloc(size));
        unsigned char *block = calloc(1, size);
        for (size_t at = 0; at < size; at++)
            dirty |= block[at];
        EXPECT(!dirty);
        free(block);
    }
    row_end();

    row_begin("__libc_mallopt", BOTH);
    int (*libc_mallopt)(int, int) = (int (*)(int, int))symbol("__libc_mallopt");
    EXPECT(libc_mallopt != NULL && libc_mallopt(M_PERTURB, 0) == 1);
    EXPECT(libc_mallopt != NULL && libc_mallopt(M_MXFAST, 161) == 0);
    row_end();
}

int main(int argc, char **argv)
{
    rows_start(argc, argv);
    page = (size_t)sysconf(_SC_PAGESIZE);

    row_begin("the allocator is the one that was asked for", BOTH);
    EXPECT((symbol("fairground_version") != NULL) == on_fairground);
    row_end();

    test_aligned();
    test_absurd();
    test_failing_realloc();
    test_zero();
    test_errno();
    test_contents();
    test_names();
    test_numbers();
    test_mallopt();
    return rows_finish();
}
