/* A program that is linked with the library, by what pkg-config says. */
#include <errno.h>
#include <fairground.h>
#include <stdio.h>
#include <string.h>

#define CHECK(condition)                                            \
    do {                                                            \
        if (!(condition)) {                                         \
            printf("line %d: %s\n", __LINE__, #condition);          \
            return 1;                                               \
        }                                                           \
    } while (0)

int main(void)
{
    struct {
        struct fairground_totals totals;
        unsigned char later[16];
    } newer;
    struct fairground_totals before, during;
    size_t only_mapped;
    enum { SIZE = 10000, BLOCKS = 1000 };
    static void *blocks[BLOCKS];
    char version[64];

    snprintf(version, sizeof version, "%d.%d.%d", FAIRGROUND_VERSION_MAJOR, FAIRGROUND_VERSION_MINOR,
             FAIRGROUND_VERSION_PATCH);
    CHECK(strcmp(version, fairground_version()) == 0);

    CHECK(fairground_get_totals(NULL, sizeof before) == EINVAL);
    CHECK(fairground_get_totals(&before, 0) == EINVAL);
    CHECK(fairground_get_totals(&before, sizeof before) == 0);
    for (int i = 0; i < BLOCKS; i++)
        CHECK((blocks[i] = malloc(SIZE)) != NULL);
    CHECK(fairground_get_totals(&during, sizeof during) == 0);
    CHECK(during.in_use >= before.in_use + (size_t)SIZE * BLOCKS / 10 * 9);
    CHECK(during.mapped >= during.in_use);
    /* An older program's structure, and a newer one's. */
    CHECK(fairground_get_totals((struct fairground_totals *)(void *)&only_mapped, sizeof only_mapped) == 0);
    CHECK(only_mapped > 0);
    memset(&newer, 0xff, sizeof newer);
    CHECK(fairground_get_totals(&newer.totals, sizeof newer) == 0);
    for (size_t i = 0; i < sizeof newer.later; i++)
        CHECK(newer.later[i] == 0);

    for (int i = 0; i < BLOCKS; i++)
        free_sized(blocks[i], SIZE);
    printf("runs on %s\n", version);
    return 0;
}
