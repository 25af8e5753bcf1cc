/* Allocates where few programs do: before main and after it, and in a thread's end. Each place allocates,
 * fills, resizes and frees blocks of every engine, keeps one, and looks at the one that the place before it kept.
 * The last place prints all places in their order. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *kept;
static size_t kept_size;
static char places[1000];

static void fail(const char *place, const char *what) {
    /* stdio may not be there yet, or no more. */
    char line[200];
    size_t length = 0;
    for (const char *word = place; *word && length < 90; word++)
        line[length++] = *word;
    line[length++] = ':';
    for (const char *word = what; *word && length < 198; word++)
        line[length++] = *word;
    line[length++] = '\n';
    if (write(2, line, length) < 0)
        _exit(4);
    _exit(3);
}

static int is(const char *block, char byte, size_t size) {
    return block[0] == byte && block[size / 2] == byte && block[size - 1] == byte;
}

static void visit(const char *place) {
    static const size_t sizes[] = {1, 24, 500, 5000, 20000, 300000, 5000000};
    char byte = place[0];
    char *blocks[7];
    if (kept && !is(kept, 'k', kept_size))
        fail(place, "the kept block has changed");
    free(kept);
    for (int i = 0; i < 7; i++) {
        blocks[i] = malloc(sizes[i]);
        if (!blocks[i])
            fail(place, "malloc failed");
        memset(blocks[i], byte, sizes[i]);
    }
    for (int i = 0; i < 7; i++) {
        blocks[i] = realloc(blocks[i], sizes[i] * 3);
        if (!blocks[i] || !is(blocks[i], byte, sizes[i]))
            fail(place, "realloc lost bytes");
    }
    char *zeroes = calloc(100, 100);
    if (!zeroes || !is(zeroes, 0, 10000))
        fail(place, "calloc is not zero");
    free(zeroes);
    void *aligned = NULL;
    if (posix_memalign(&aligned, 4096, 100) != 0 || (size_t)aligned % 4096)
        fail(place, "posix_memalign");
    free(aligned);
    for (int i = 6; i >= 0; i--)
        free(blocks[i]);
    kept_size = 100 + strlen(places) * 100;
    kept = malloc(kept_size);
    if (!kept)
        fail(place, "malloc failed");
    memset(kept, 'k', kept_size);
    strcat(places, place);
    strcat(places, "\n");
}

/* ---- Before main. */

static int answer(void) { return 42; }

static int resolved;

/* Called by the loader while it relocates the program. It may not allocate: the loader gives thread-local variables their
 * values only later, and the library's malloc begins with one. */
static int (*resolve(void))(void) {
    resolved = 1;
    return answer;
}

int chosen(void) __attribute__((ifunc("resolve")));

static void pre_initialise(int argc, char **argv, char **environment) {
    (void)argc, (void)argv, (void)environment;
    visit("pre-init");
}

__attribute__((section(".preinit_array"), used)) static void (*pre_init)(int, char **, char **) = pre_initialise;

__attribute__((constructor(101))) static void first_constructor(void) { visit("constructor 101"); }

__attribute__((constructor)) static void constructor(void) { visit("constructor"); }

/* ---- Threads. */

static pthread_key_t key;
static int rounds;

/* Sets the key again: a round of destructors after the one in which the allocator's own has been. */
static void thread_destructor(void *value) {
    char *block = value;
    if (!is(block, 't', 3000))
        fail("thread destructor", "the thread's block has changed");
    free(block);
    visit("thread destructor");
    if (++rounds < 3) {
        block = malloc(3000);
        memset(block, 't', 3000);
        pthread_setspecific(key, block);
    }
}

static void *thread(void *argument) {
    char *block = malloc(3000);
    memset(block, 't', 3000);
    pthread_setspecific(key, block);
    visit("thread");
    return argument;
}

/* ---- After main. */

static void at_exit(void) { visit("atexit"); }

__attribute__((destructor)) static void destructor(void) { visit("destructor"); }

__attribute__((destructor(101))) static void last_destructor(void) {
    visit("destructor 101");
    if (write(1, places, strlen(places)) < 0)
        _exit(5);
}

int main(void) {
    visit("main");
    if (chosen() != 42 || !resolved)
        fail("main", "the resolver was not called");
    pthread_t other;
    if (pthread_key_create(&key, thread_destructor) || pthread_create(&other, NULL, thread, NULL) ||
        pthread_join(other, NULL) || atexit(at_exit))
        fail("main", "threads and exit");
    return 0;
}
