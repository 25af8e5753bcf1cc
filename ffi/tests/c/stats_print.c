/*
 * fairground_stats_print. The second argument is a file for the JSON, which the test parses. Looked up at run time, so that the
 * same program runs without the library, where every row is skipped.
 */
#define _GNU_SOURCE
#include "rows.h"
#include <dlfcn.h>
#include <errno.h>
#include <fairground.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MARK ENOTTY

static int (*print)(int, int);

int main(int argc, char **argv)
{
    rows_start(argc, argv);
    print = (int (*)(int, int))dlsym(RTLD_DEFAULT, "fairground_stats_print");
    char *volatile blocks[1000];
    for (int i = 0; i < 1000; i++)
        blocks[i] = malloc(440);

    if (row_begin("JSON", OURS)) {
        int file = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
        errno = MARK;
        EXPECT(print(file, FAIRGROUND_STATS_JSON) == 0);
        EXPECT(errno == MARK);
        close(file);
        row_end();
    }
    if (row_begin("text", OURS)) {
        int file = memfd_create("text", 0);
        static char text[100000];
        EXPECT(print(file, FAIRGROUND_STATS_TEXT) == 0);
        EXPECT(pread(file, text, sizeof text - 1, 0) > 0);
        EXPECT(strncmp(text, "summary\n", 8) == 0);
        EXPECT(strstr(text, "\nbuddyinfo\nNode 0, zone") != NULL);
        EXPECT(strstr(text, "\nsize-448 ") != NULL);
        EXPECT(text[strlen(text) - 1] == '\n');
        close(file);
        row_end();
    }
    static const int wrong[] = {-1, 2, 1000};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (!row_begin("no such format", OURS))
            continue;
        errno = MARK;
        EXPECT(print(1, wrong[i]) == EINVAL);
        EXPECT(errno == MARK);
        row_end();
    }
    if (row_begin("a descriptor that is not open", OURS)) {
        errno = MARK;
        EXPECT(print(-1, FAIRGROUND_STATS_TEXT) == EBADF);
        EXPECT(errno == MARK);
        row_end();
    }
    if (row_begin("a device that is full", OURS)) {
        int full = open("/dev/full", O_WRONLY);
        EXPECT(print(full, FAIRGROUND_STATS_JSON) == ENOSPC);
        close(full);
        row_end();
    }
    for (int i = 0; i < 1000; i++)
        free(blocks[i]);
    return rows_finish();
}
