/* Pointers that are no block, through the C interface. One case a run: the name is the second argument. The process is to
 * be aborted by the library; where it survives, it says so. */

#define _GNU_SOURCE
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static char in_data[64];

static const size_t sizes[] = {40, 3000, 60000, 1 << 20, 9 << 20};

static char *announce(char *p)
{
    printf("(%p)\n", (void *)p);
    return p;
}

int main(int argc, char **argv)
{
    /* A buffer made between two frees could take the block's place. */
    setvbuf(stdout, NULL, _IONBF, 0);
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    if (argc < 4)
        return 2;
    const char *what = argv[2];
    size_t size = sizes[atoi(argv[3])];
    char on_stack[64];
    char *volatile block = malloc(size);
    char *volatile other = malloc(size);
    memset(block, 1, size);
    if (!strcmp(what, "free-stack"))
        free(announce(on_stack));
    else if (!strcmp(what, "free-static"))
        free(announce(in_data));
    else if (!strcmp(what, "free-interior"))
        free(announce(block + 16));
    else if (!strcmp(what, "free-misaligned"))
        free(announce(block + 1));
    else if (!strcmp(what, "free-twice")) {
        free(block);
        free(announce(block));
    } else if (!strcmp(what, "free-twice-others-between")) {
        free(block);
        free(other);
        free(announce(block));
    } else if (!strcmp(what, "realloc-interior"))
        block = realloc(announce(block + 16), size * 2);
    else if (!strcmp(what, "realloc-static"))
        block = realloc(announce(in_data), size);
    else if (!strcmp(what, "realloc-freed")) {
        free(block);
        malloc_trim(0);
        block = realloc(announce(block), size * 2);
    } else if (!strcmp(what, "usable-size-interior"))
        size = malloc_usable_size(announce(block + 16));
    else if (!strcmp(what, "no-misuse")) {
        free(block);
        free(other);
    } else
        return 2;
    return 0;
}
