/* A plug-in: allocates when it is loaded, frees when it is unloaded. */
#include <stdlib.h>
#include <string.h>

static char *blocks[4];
static const size_t sizes[4] = {24, 3000, 200000, 6000000};

__attribute__((constructor)) static void load(void) {
    for (int i = 0; i < 4; i++) {
        blocks[i] = malloc(sizes[i]);
        memset(blocks[i], 'a' + i, sizes[i]);
    }
}

/* Whether the blocks are what the constructor made them. */
int plugin_is_well(void) {
    for (int i = 0; i < 4; i++)
        if (!blocks[i] || blocks[i][0] != 'a' + i || blocks[i][sizes[i] - 1] != 'a' + i)
            return 0;
    return 1;
}

__attribute__((destructor)) static void unload(void) {
    if (!plugin_is_well())
        abort();
    for (int i = 0; i < 4; i++)
        free(blocks[i]);
}
