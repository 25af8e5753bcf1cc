/* operator new in a C program, where nobody can throw: must say so and abort. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

int main(void)
{
    void *(*new_nothrow)(size_t, const void *) =
        (void *(*)(size_t, const void *))dlsym(RTLD_DEFAULT, "_ZnwmRKSt9nothrow_t");
    void *(*new)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "_Znwm");
    if (!new || !new_nothrow)
        return 1;
    if (!new(100) || new_nothrow(PTRDIFF_MAX, NULL))
        return 2;
    printf("before\n");
    fflush(stdout);
    new(PTRDIFF_MAX);
    return 3;
}
