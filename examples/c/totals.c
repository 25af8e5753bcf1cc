/*
 * A C program linked with libfairground: malloc is Fairground's without LD_PRELOAD, and fairground.h tells what the
 * allocator holds. With the library installed (make install PREFIX=$HOME/.local, say, and PKG_CONFIG_PATH and
 * LD_LIBRARY_PATH set accordingly):
 *
 *     cc -o totals examples/c/totals.c $(pkg-config --cflags --libs fairground)
 *     ./totals
 */
#include <fairground.h>
#include <stdio.h>
#include <stdlib.h>

struct node {
    struct node *next;
    char payload[100];
};

static int show(const char *when)
{
    struct fairground_totals totals;

    if (fairground_get_totals(&totals, sizeof totals) != 0)
        return 0;
    printf("%s: %zu KiB in use\n", when, totals.in_use / 1024);
    return 1;
}

int main(void)
{
    struct node *list = NULL;
    size_t i, length = 0;

    printf("fairground %s\n", fairground_version());
    if (!show("at the start"))
        return 1;
    for (i = 0; i < 100000; i++) {
        struct node *node = malloc(sizeof *node);
        if (node == NULL) {
            perror("malloc");
            return 1;
        }
        node->payload[0] = (char)i;
        node->next = list;
        list = node;
    }
    if (!show("with a list of 100000"))
        return 1;
    while (list != NULL) {
        struct node *next = list->next;
        /* C23's free with a size: nothing has to be looked up. */
        free_sized(list, sizeof *list);
        list = next;
        length++;
    }
    printf("freed %zu\n", length);
    return show("at the end") ? 0 : 1;
}
