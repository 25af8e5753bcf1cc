/*
 * Typed caches through the C interface. The functions are looked up at run time, so that the same program runs without the
 * library, where every row is skipped.
 */
#define _GNU_SOURCE
#include "rows.h"
#include <dlfcn.h>
#include <errno.h>
#include <fairground.h>
#include <pthread.h>
#include <stdint.h>

#define MARK ENOTTY

static struct fairground_cache *(*create)(const char *, size_t, size_t, unsigned, void (*)(void *));
static void *(*cache_alloc)(struct fairground_cache *);
static void (*cache_free)(struct fairground_cache *, void *);
static size_t (*shrink)(struct fairground_cache *);
static int (*destroy)(struct fairground_cache *);
static int (*get_stats)(struct fairground_cache *, struct fairground_cache_stats *, size_t);

struct thing {
    uint64_t made;
    uint64_t users;
    char more[100];
};

static int constructed;

static void construct(void *object)
{
    struct thing *thing = object;
    thing->made = 0xfeed;
    thing->users = 0;
    __atomic_add_fetch(&constructed, 1, __ATOMIC_RELAXED);
}

static size_t live(struct fairground_cache *cache)
{
    struct fairground_cache_stats stats;
    return get_stats(cache, &stats, sizeof stats) == 0 ? stats.live : SIZE_MAX;
}

static const struct {
    const char *name, *cache;
    size_t size, align;
    unsigned flags;
    int want;
} creations[] = {
    {"create", "fine", 100, 0, 0, 0},
    {"create, 1 byte", "fine", 1, 1, 0, 0},
    {"create, 32 KiB at 4 KiB", "fine", 32768, 4096, 7, 0},
    {"create, name of 31", "0123456789012345678901234567890", 8, 0, 0, 0},
    {"create, name of 32", "01234567890123456789012345678901", 8, 0, 0, EINVAL},
    {"create, no name", NULL, 8, 0, 0, EINVAL},
    {"create, empty name", "", 8, 0, 0, EINVAL},
    {"create, name with a space", "a b", 8, 0, 0, EINVAL},
    {"create, name not in UTF-8", "\xff\xfe", 8, 0, 0, EINVAL},
    {"create, size 0", "fine", 0, 0, 0, EINVAL},
    {"create, size 32,769", "fine", 32769, 0, 0, EINVAL},
    {"create, align 3", "fine", 8, 3, 0, EINVAL},
    {"create, align 8192", "fine", 8, 8192, 0, EINVAL},
    {"create, unknown flag", "fine", 8, 0, 8, EINVAL},
};

static void *other_thread(void *cache)
{
    void *objects[50];
    for (int i = 0; i < 50; i++)
        objects[i] = cache_alloc(cache);
    for (int i = 0; i < 50; i++)
        cache_free(cache, objects[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    rows_start(argc, argv);
    create = (struct fairground_cache * (*)(const char *, size_t, size_t, unsigned, void (*)(void *)))
        dlsym(RTLD_DEFAULT, "fairground_cache_create");
    cache_alloc = (void *(*)(struct fairground_cache *))dlsym(RTLD_DEFAULT, "fairground_cache_alloc");
    cache_free = (void (*)(struct fairground_cache *, void *))dlsym(RTLD_DEFAULT, "fairground_cache_free");
    shrink = (size_t(*)(struct fairground_cache *))dlsym(RTLD_DEFAULT, "fairground_cache_shrink");
    destroy = (int (*)(struct fairground_cache *))dlsym(RTLD_DEFAULT, "fairground_cache_destroy");
    get_stats = (int (*)(struct fairground_cache *, struct fairground_cache_stats *, size_t))
        dlsym(RTLD_DEFAULT, "fairground_cache_get_stats");

    if (row_begin("the rows of this table run with the library alone", BOTH)) {
        EXPECT(!on_fairground == !create);
        row_end();
    }

    for (size_t i = 0; i < sizeof creations / sizeof *creations; i++) {
        if (!row_begin(creations[i].name, OURS))
            continue;
        errno = MARK;
        struct fairground_cache *cache =
            create(creations[i].cache, creations[i].size, creations[i].align, creations[i].flags, NULL);
        EXPECT(errno == (creations[i].want ? creations[i].want : MARK));
        EXPECT((cache != NULL) == (creations[i].want == 0));
        if (cache) {
            char *object = cache_alloc(cache);
            EXPECT(object != NULL);
            memset(object, 1, creations[i].size);
            EXPECT(creations[i].align != 0 || (uintptr_t)object % 16 == 0);
            EXPECT(creations[i].align == 0 || (uintptr_t)object % creations[i].align == 0);
            cache_free(cache, object);
            EXPECT(destroy(cache) == 0);
        }
        row_end();
    }

    if (row_begin("at most 1,024 caches", OURS)) {
        static struct fairground_cache *caches[1025];
        int made = 0;
        while (made < 1025 && (caches[made] = create("many", 64, 0, 0, NULL)) != NULL)
            made++;
        EXPECT(made == 1024 && errno == ENOSPC);
        while (made > 0)
            EXPECT(destroy(caches[--made]) == 0);
        row_end();
    }

    if (row_begin("objects stay constructed", OURS)) {
        struct fairground_cache *cache = create("thing", sizeof(struct thing), 0, 0, construct);
        struct fairground_cache_stats stats;
        EXPECT(cache != NULL && constructed == 0);
        for (int i = 0; i < 1000; i++) {
            struct thing *thing = cache_alloc(cache);
            EXPECT(thing->made == 0xfeed && thing->users == (uint64_t)i);
            thing->users++;
            cache_free(cache, thing);
        }
        EXPECT(get_stats(cache, &stats, sizeof stats) == 0);
        EXPECT(stats.live == 0 && stats.slabs == 1 && stats.object_size == sizeof(struct thing) && stats.align == 16);
        EXPECT((size_t)constructed == stats.objects && stats.objects == stats.objects_per_slab);
        EXPECT(stats.cached > 0 && stats.cached < stats.objects);
        EXPECT(destroy(cache) == 0);
        row_end();
    }

    if (row_begin("destroy is refused while objects are live", OURS)) {
        struct fairground_cache *cache = create("busy", 64, 0, 0, NULL);
        void *objects[3];
        for (int i = 0; i < 3; i++)
            objects[i] = cache_alloc(cache);
        for (int i = 3; i > 0; i--) {
            EXPECT(destroy(cache) == EBUSY);
            EXPECT(live(cache) == (size_t)i);
            cache_free(cache, objects[i - 1]);
        }
        errno = MARK;
        EXPECT(destroy(cache) == 0 && destroy(NULL) == 0 && errno == MARK);
        row_end();
    }

    if (row_begin("destroy and a thread's objects", OURS)) {
        struct fairground_cache *cache = create("threads", 64, 0, 0, NULL);
        pthread_t thread;
        EXPECT(pthread_create(&thread, NULL, other_thread, cache) == 0);
        pthread_join(thread, NULL);
        EXPECT(live(cache) == 0);
        EXPECT(destroy(cache) == 0);
        row_end();
    }

    if (row_begin("shrink", OURS)) {
        struct fairground_cache *cache = create("shrink", 4096, 0, 0, NULL);
        void *objects[64];
        EXPECT(shrink(cache) == 0);
        for (int i = 0; i < 64; i++)
            objects[i] = cache_alloc(cache);
        for (int i = 0; i < 64; i++)
            cache_free(cache, objects[i]);
        cache_free(cache, NULL);
        EXPECT(shrink(cache) >= 1);
        struct fairground_cache_stats stats;
        EXPECT(get_stats(cache, &stats, sizeof stats) == 0 && stats.slabs == 0 && stats.cached == 0);
        EXPECT(destroy(cache) == 0);
        row_end();
    }

    if (row_begin("get_stats and sizes of the structure", OURS)) {
        struct fairground_cache *cache = create("stats", 64, 0, 0, NULL);
        struct {
            struct fairground_cache_stats stats;
            unsigned char later[16];
        } newer;
        size_t only_live = 7;
        EXPECT(get_stats(cache, NULL, 8) == EINVAL && get_stats(cache, &newer.stats, 0) == EINVAL);
        EXPECT(get_stats(cache, (struct fairground_cache_stats *)(void *)&only_live, sizeof only_live) == 0);
        EXPECT(only_live == 0);
        memset(&newer, 0xff, sizeof newer);
        EXPECT(get_stats(cache, &newer.stats, sizeof newer) == 0);
        for (size_t i = 0; i < sizeof newer.later; i++)
            EXPECT(newer.later[i] == 0);
        EXPECT(destroy(cache) == 0);
        row_end();
    }
    return rows_finish();
}
