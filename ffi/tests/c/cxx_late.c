/*
 * A C program that loads a C++ library after its start, as Python loads its extension modules. The library's operators
 * are ours, though no C++ runtime was there when we were loaded.
 */
#define _GNU_SOURCE
#include "rows.h"
#include <dlfcn.h>

int main(int argc, char **argv)
{
    rows_start(argc, argv);

    row_begin("no C++ runtime at the start", BOTH);
    EXPECT(dlsym(RTLD_DEFAULT, "__gxx_personality_v0") == NULL);
    row_end();

    row_begin("the library loads", BOTH);
    void *plugin = argc > 2 ? dlopen(argv[2], RTLD_NOW | RTLD_LOCAL) : NULL;
    EXPECT(plugin != NULL);
    row_end();
    if (!plugin) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }

    static const char *const calls[] = {
        "nothrow_new_with_throwing_handler_is_null",
        "nothrow_new_is_null",
        "new_throws_bad_alloc",
        "new_passes_the_handlers_exception",
        "aligned_new_throws_bad_alloc",
        "new_works",
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        row_begin(calls[i], BOTH);
        int (*call)(void) = (int (*)(void))dlsym(plugin, calls[i]);
        EXPECT(call != NULL && call());
        row_end();
    }
    return rows_finish();
}
