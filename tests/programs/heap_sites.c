/*
 * Allocates known amounts at known places, for the tests of the heap profile. Prints "NAME ADDRESS" for each place: functions
 * are aligned to ALIGN bytes and shorter, so that an address tells its function.
 *
 *     heap_sites exact      every way to allocate and free, once each; in a child of fork as well
 *     heap_sites estimate   many blocks of three sizes
 *     heap_sites leak       one block that is never freed, and many that are
 */
#define _GNU_SOURCE
#include <assert.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ALIGN 1024
#define PLACE __attribute__((noinline, noclone, aligned(ALIGN)))

void free_sized(void *p, size_t size) __attribute__((weak));
int fairground_profile_write(const char *path) __attribute__((weak));

/* Not a tail call: the function must be on the stack. */
static void *kept(void *p)
{
    __asm__ volatile("" : "+r"(p) : : "memory");
    if (p == NULL)
        abort();
    return p;
}

PLACE void *by_malloc(size_t n) { return kept(malloc(n)); }
PLACE void *by_calloc(size_t n) { return kept(calloc(1, n)); }
PLACE void *by_aligned(size_t align, size_t n)
{
    void *p = NULL;
    if (posix_memalign(&p, align, n) != 0)
        abort();
    return kept(p);
}
PLACE void *by_realloc(void *p, size_t n) { return kept(realloc(p, n)); }
PLACE void *freed_sized(size_t n) { return kept(malloc(n)); }
PLACE void *freed_by_thread(size_t n) { return kept(malloc(n)); }
PLACE void *in_thread(size_t n) { return kept(malloc(n)); }
PLACE void *in_child(size_t n) { return kept(malloc(n)); }
PLACE void *small(size_t n) { return kept(malloc(n)); }
PLACE void *medium(size_t n) { return kept(calloc(n, 1)); }
PLACE void *large(size_t n) { return kept(malloc(n)); }
PLACE void *leaking(size_t n) { return kept(malloc(n)); }
PLACE void the_end(void) { kept(&free); }

static void *blocks[1000000];

static void *other_thread(void *count)
{
    for (size_t i = 0; i < (size_t)count; i++)
        free(blocks[i]);
    for (int i = 0; i < 100; i++)
        in_thread(48);
    return NULL;
}

static void exact(void)
{
    /* 100 blocks, 50 of them freed. */
    void *first[100];
    for (int i = 0; i < 100; i++)
        memset(first[i] = by_malloc(100), 'a', 100);
    for (int i = 0; i < 50; i++)
        free(first[i]);
    /* 10 extents, 4 freed; zeroes also in memory that was used. */
    for (int i = 0; i < 10; i++) {
        unsigned char *p = by_calloc(5 << 20);
        for (size_t at = 0; at < 5 << 20; at += 4096)
            assert(p[at] == 0);
        if (i < 4) {
            memset(p, 1, 5 << 20);
            free(p);
        }
    }
    for (int i = 0; i < 20; i++) {
        unsigned char *p = by_calloc(1000);
        for (int at = 0; at < 1000; at++)
            assert(p[at] == 0);
        memset(p, 1, 1000);
        free(p);
    }
    /* Alignments that classes, runs and extents have. */
    for (size_t align = 16; align <= 8 << 20; align *= 2) {
        void *p = by_aligned(align, 300);
        assert((uintptr_t)p % align == 0);
        memset(p, 1, 300);
    }
    /* Grown and shrunk through all engines. */
    static const size_t sizes[] = { 10, 100, 5000, 300000, 1 << 20, 6 << 20, 40 << 20, 2 << 20, 200000, 3 << 20 };
    unsigned char *p = NULL;
    size_t filled = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        p = by_realloc(p, sizes[i]);
        for (size_t at = 0; at < (filled < sizes[i] ? filled : sizes[i]); at++)
            assert(p[at] == 'r');
        memset(p, 'r', filled = sizes[i]);
    }
    for (int i = 0; i < 100; i++) {
        void *p = freed_sized(64);
        if (free_sized != NULL)
            free_sized(p, 64);
        else
            free(p);
    }
    for (int i = 0; i < 100; i++)
        blocks[i] = freed_by_thread(200);
    pthread_t thread;
    assert(pthread_create(&thread, NULL, other_thread, (void *)100) == 0);
    assert(pthread_join(thread, NULL) == 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 10; i++)
            in_child(32);
        for (int i = 50; i < 75; i++)
            free(first[i]);
        exit(0); /* writes the child's profile */
    }
    int status;
    assert(waitpid(child, &status, 0) == child && status == 0);
    for (int i = 75; i < 80; i++)
        free(first[i]);
    printf("child %d\nparent %d\n", (int)child, (int)getpid());
}

static void estimate(void)
{
    size_t n = 0;
    for (int i = 0; i < 800000; i++)
        blocks[n++] = small(100);
    for (int i = 0; i < 80000; i++) {
        void *p = medium(1000);
        if (i % 2)
            free(p);
    }
    for (int i = 0; i < 80; i++) {
        void *p = large(1 << 20);
        if (i % 4)
            free(p);
    }
}

static void leak(void)
{
    leaking(12345);
    for (int i = 0; i < 1000; i++)
        free(by_malloc(50));
}

int main(int argc, char **argv)
{
    static const struct { const char *name; uintptr_t address; } places[] = {
#define ROW(f) { #f, (uintptr_t)f }
        ROW(by_malloc), ROW(by_calloc), ROW(by_aligned), ROW(by_realloc), ROW(freed_sized), ROW(freed_by_thread),
        ROW(in_thread), ROW(in_child), ROW(small), ROW(medium), ROW(large), ROW(leaking),
    };
    the_end();
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        printf("%s %lu\n", places[i].name, (unsigned long)places[i].address);
    const char *mode = argc > 1 ? argv[1] : "";
    if (strcmp(mode, "exact") == 0)
        exact();
    else if (strcmp(mode, "estimate") == 0)
        estimate();
    else if (strcmp(mode, "leak") == 0)
        leak();
    if (argc > 2)
        printf("written %d\n", fairground_profile_write != NULL ? fairground_profile_write(argv[2]) : -1);
    return 0;
}
