/* Loads and unloads the plug-in named by its argument, 200 times. Prints the resident KiB after 20 times and at the end. */
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

static long resident(void) {
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (!statm || fscanf(statm, "%*d %ld", &pages) != 1)
        return -1;
    fclose(statm);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(int argc, char **argv) {
    for (int round = 1; argc > 1 && round <= 200; round++) {
        void *plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        int (*is_well)(void) = plugin ? (int (*)(void))dlsym(plugin, "plugin_is_well") : NULL;
        if (!is_well || !is_well() || dlclose(plugin) != 0) {
            fprintf(stderr, "round %d: %s\n", round, dlerror());
            return 1;
        }
        if (dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD)) {
            fprintf(stderr, "round %d: the plug-in was not unloaded\n", round);
            return 1;
        }
        if (round == 20 || round == 200)
            printf("%ld\n", resident());
    }
    return 0;
}
