/* Tables of named rows: see tests/support/mod.rs for what is printed. C99 and C++11. */
#ifndef ROWS_H
#define ROWS_H

#include <stdio.h>
#include <string.h>

/* Where a row has an answer: on every allocator, or on ours alone. */
enum where { BOTH, OURS };

static int on_fairground;
static int rows_printed;
static const char *row_name;
static int row_failed;

static int row_begin(const char *name, enum where where)
{
    row_name = name;
    row_failed = 0;
    if (where == OURS && !on_fairground) {
        printf("skip\t%s\tnot on the system's allocator\n", name);
        fflush(stdout);
        rows_printed++;
        return 0;
    }
    return 1;
}

static void row_end(void)
{
    if (!row_failed)
        printf("ok\t%s\n", row_name);
    /* Before the next row can crash. */
    fflush(stdout);
    rows_printed++;
}

static void row_fail(int line, const char *what)
{
    if (!row_failed++)
        printf("FAIL\t%s\tline %d: %s\n", row_name, line, what);
}

#define EXPECT(condition)                         \
    do {                                          \
        if (!(condition))                         \
            row_fail(__LINE__, #condition);       \
    } while (0)

static void rows_start(int argc, char **argv)
{
    on_fairground = argc > 1 && strcmp(argv[1], "fairground") == 0;
}

static int rows_finish(void)
{
    printf("end\t%d\n", rows_printed);
    return 0;
}

#endif
