/* The header in both languages: everything it declares is used. Compiled only. */
#include <fairground.h>
#include <fairground.h>

#if FAIRGROUND_VERSION_MAJOR < 0 || FAIRGROUND_VERSION_MINOR < 0 || FAIRGROUND_VERSION_PATCH < 0
#error "the version is not a number"
#endif

int use_the_header(void);

int use_the_header(void)
{
    struct fairground_totals totals;
    if (fairground_get_totals(&totals, sizeof totals) != 0)
        return 1;
    free_sized(malloc(10), 10);
    free_aligned_sized(NULL, 64, 128);
    return fairground_version()[0] == '\0' || totals.mapped < totals.huge || totals.free + totals.in_use == 0
        || totals.metadata + totals.dirty == 0 || totals.huge_count > totals.huge;
}
