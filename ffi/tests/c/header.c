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
    if (fairground_stats_print(2, FAIRGROUND_STATS_TEXT) != 0 || fairground_stats_print(2, FAIRGROUND_STATS_JSON) != 0)
        return 4;
    struct fairground_cache_stats stats;
    struct fairground_cache *cache = fairground_cache_create("header", 10, 0,
        FAIRGROUND_CACHE_NO_COLOUR | FAIRGROUND_CACHE_LINE | FAIRGROUND_CACHE_KEEP_CONTENTS, NULL);
    fairground_cache_free(cache, fairground_cache_alloc(cache));
    if (fairground_cache_get_stats(cache, &stats, sizeof stats) != 0 || stats.live > stats.objects
        || stats.cached > stats.objects_per_slab || stats.object_size > stats.align
        || stats.slabs_partial + stats.slabs_empty + stats.slabs_full > stats.slabs)
        return 2;
    if (fairground_cache_shrink(cache) > 1 || fairground_cache_destroy(cache) != 0)
        return 3;
    free_sized(malloc(10), 10);
    free_aligned_sized(NULL, 64, 128);
    return fairground_version()[0] == '\0' || totals.mapped < totals.huge || totals.free + totals.in_use == 0
        || totals.metadata + totals.dirty == 0 || totals.huge_count > totals.huge;
}
