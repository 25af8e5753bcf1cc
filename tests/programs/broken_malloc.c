// An allocator that never frees, right as it stands and wrong on demand: what the tests of this folder must notice.
//   -DBREAK_OVERLAP  every 997th block of up to 4 KiB is given out twice
//   -DBREAK_REALLOC  realloc loses the last byte
//   -DBREAK_CALLOC   calloc leaves one byte dirty in every 997th block
//   -DBREAK_ABORT    aborts at the 300th call
//   -DBREAK_HANG     sleeps for ever at the 300th call
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ARENA (1ul << 40)

static _Atomic uintptr_t arena, used;
static atomic_ulong calls;
static __thread void *last __attribute__((tls_model("initial-exec")));
static __thread size_t last_size __attribute__((tls_model("initial-exec")));

static void *take(size_t align, size_t size) {
    uintptr_t base = atomic_load(&arena);
    if (base == 0) {
        void *map = mmap(0, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        uintptr_t expected = 0;
        if (!atomic_compare_exchange_strong(&arena, &expected, (uintptr_t)map)) munmap(map, ARENA);
        base = atomic_load(&arena);
    }
    if (size > ARENA / 4) {
        errno = ENOMEM;
        return 0;
    }
    if (align < 16) align = 16;
    size = (size + 15) & ~(size_t)15;
    uintptr_t start = base + atomic_fetch_add(&used, size + align + 16) + 16;
    start = (start + align - 1) & ~(align - 1);
    ((size_t *)start)[-1] = size;
    return (void *)start;
}

static size_t size_of(void *p) { return ((size_t *)p)[-1]; }

void *malloc(size_t size) {
    unsigned long call = atomic_fetch_add(&calls, 1) + 1;
    (void)call;
#ifdef BREAK_ABORT
    if (call == 300) abort();
#endif
#ifdef BREAK_HANG
    if (call == 300)
        for (;;) pause();
#endif
#ifdef BREAK_OVERLAP
    if (call % 997 == 0 && last != 0 && size <= last_size) return last;
#endif
    void *p = take(16, size ? size : 1);
    if (size <= 4096) last = p, last_size = p ? size_of(p) : 0;
    return p;
}

void free(void *p) { (void)p; }

void *calloc(size_t n, size_t size) {
    size_t total;
    if (__builtin_mul_overflow(n, size, &total)) {
        errno = ENOMEM;
        return 0;
    }
    void *p = take(16, total ? total : 1); // fresh pages are zero
#ifdef BREAK_CALLOC
    if (atomic_fetch_add(&calls, 1) % 997 == 0 && p && total > 8) ((char *)p)[total / 2] = 1;
#endif
    return p;
}

void *realloc(void *p, size_t size) {
    if (!p) return malloc(size);
    if (!size) return 0;
    void *q = take(16, size);
    size_t copied = size_of(p) < size ? size_of(p) : size;
#ifdef BREAK_REALLOC
    copied -= 1 + (copied > 16 ? 15 : 0);
#endif
    if (q) memcpy(q, p, copied);
    return q;
}

void *reallocarray(void *p, size_t n, size_t size) {
    size_t total;
    if (__builtin_mul_overflow(n, size, &total)) {
        errno = ENOMEM;
        return 0;
    }
    return realloc(p, total);
}

void *memalign(size_t align, size_t size) { return take(align, size); }
void *aligned_alloc(size_t align, size_t size) { return take(align, size); }
void *valloc(size_t size) { return take(4096, size); }
void *pvalloc(size_t size) { return take(4096, (size + 4095) & ~4095ul); }
int posix_memalign(void **out, size_t align, size_t size) {
    void *p = take(align, size ? size : 1);
    if (!p) return ENOMEM;
    *out = p;
    return 0;
}
size_t malloc_usable_size(void *p) { return p ? size_of(p) : 0; }
