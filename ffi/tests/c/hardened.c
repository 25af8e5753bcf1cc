/* What hardening catches, through the C interface; the program turns it on itself. One case a run: its name is the second
 * argument, the size the third. The process is to be aborted at the call that `announce` is passed to, or where a case
 * says so at its normal exit; where it survives that call, it says so. */

#define _GNU_SOURCE
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

extern const char fairground_conf[];
/* A guard page would end the process by a fault. */
const char fairground_conf[] = "hardened:true,hardened_sample:1000000";

static char *announce(char *p)
{
    printf("(%p)\n", (void *)p);
    return p;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    if (argc < 4)
        return 2;
    const char *what = argv[2];
    size_t size = strtoul(argv[3], NULL, 10);
    char *text = malloc(size + 1);
    memset(text, 'x', size);
    text[size] = 0;
    char *volatile block;
    if (!strcmp(what, "final-zero")) {
        block = malloc(size);
        strcpy(block, text);
        free(announce(block));
    } else if (!strcmp(what, "calloc")) {
        block = calloc(size, 1);
        block[size] ^= 1;
        free(announce(block));
    } else if (!strcmp(what, "aligned")) {
        block = aligned_alloc(64, size);
        block[size] ^= 1;
        free(announce(block));
    } else if (!strcmp(what, "realloc")) {
        block = malloc(size);
        block[size] ^= 1;
        block = realloc(announce(block), 2 * size);
    } else if (!strcmp(what, "usable-size")) {
        block = malloc(size);
        block[size] ^= 1;
        malloc_usable_size(announce(block));
    } else if (!strcmp(what, "free-twice")) {
        block = malloc(size);
        free(block);
        free(announce(block));
    } else if (!strcmp(what, "write-after-free")) {
        block = malloc(size);
        free(announce(block));
        block[0] ^= 1;
        return 0;
    } else if (!strcmp(what, "no-misuse")) {
        block = malloc(size);
        if (malloc_usable_size(block) != size)
            return 3;
        memset(block, 1, size);
        block = realloc(block, 2 * size);
        free(block);
        free(text);
        return 0;
    } else {
        return 2;
    }
    printf("survived\n");
    return 1;
}
