/* The library beside the system's allocator: loaded by dlopen, used from three threads, closed. Prints what it saw.
 * Arguments: the library, and "deep" for RTLD_DEEPBIND. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                          \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #condition, dlerror());               \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

static void *(*their_malloc)(size_t);
static void *(*their_realloc)(void *, size_t);
static void (*their_free)(void *);
static size_t (*their_usable_size)(void *);

/* Every engine's sizes; a block of the library is filled, resized, looked at and freed, with one of the system's beside it. */
static void *use(void *argument) {
    static const size_t sizes[] = {16, 100, 5000, 20000, 300000, 5000000};
    unsigned char own = *(unsigned char *)argument;
    for (int round = 0; round < 300; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            if (sizes[i] > 1000000 && round % 50)
                continue;
            unsigned char *block = their_malloc(sizes[i]);
            unsigned char *beside = malloc(sizes[i]);
            CHECK(block && beside && block != beside && their_usable_size(block) >= sizes[i]);
            memset(block, own, sizes[i]);
            memset(beside, ~own, sizes[i]);
            block = their_realloc(block, sizes[i] * 2);
            CHECK(block && block[0] == own && block[sizes[i] / 2] == own && block[sizes[i] - 1] == own);
            free(beside);
            their_free(block);
        }
    return argument;
}

int main(int argc, char **argv) {
    CHECK(argc > 2);
    int deep = strcmp(argv[2], "deep") == 0 ? RTLD_DEEPBIND : 0;
    for (int round = 0; round < 3; round++) {
        void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | deep);
        CHECK(library);
        their_malloc = (void *(*)(size_t))dlsym(library, "malloc");
        their_realloc = (void *(*)(void *, size_t))dlsym(library, "realloc");
        their_free = (void (*)(void *))dlsym(library, "free");
        their_usable_size = (size_t (*)(void *))dlsym(library, "malloc_usable_size");
        CHECK(their_malloc && their_realloc && their_free && their_usable_size);
        CHECK((void *)their_malloc != dlsym(RTLD_DEFAULT, "malloc"));
        Dl_info info;
        CHECK(dladdr((void *)their_malloc, &info) && strstr(info.dli_fname, argv[1]));
        pthread_t threads[2];
        unsigned char own[3] = {1, 2, 3};
        for (int i = 0; i < 2; i++)
            CHECK(pthread_create(&threads[i], NULL, use, &own[i]) == 0);
        use(&own[2]);
        void *kept = their_malloc(100);
        memset(kept, 9, 100);
        /* The second thread ends after the library was closed: what it does then must still be there. */
        CHECK(pthread_join(threads[0], NULL) == 0);
        CHECK(dlclose(library) == 0);
        CHECK(pthread_join(threads[1], NULL) == 0);
        CHECK(((unsigned char *)kept)[99] == 9);
    }
    puts("three rounds");
    return 0;
}
