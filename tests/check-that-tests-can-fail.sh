#!/bin/sh
# Runs the tests of real programs on allocators that are wrong on purpose (programs/broken_malloc.c), and fails if a
# test finds nothing wrong with them. First on the same allocator without a fault, where all must pass: so it is the
# fault that is found. Takes a few minutes. Usage: check-that-tests-can-fail.sh [TEST...]
set -eu
cd "$(dirname "$0")"

tests=${*:-"bash git gxx java node postgres python redis sqlite"}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
FAIRGROUND_LIBRARY=$dir/liballocator.so
FAIRGROUND_REQUIRE_ALL=1
export FAIRGROUND_LIBRARY FAIRGROUND_REQUIRE_ALL
status=0

build() { gcc -shared -fPIC -O2 -fno-builtin "$@" programs/broken_malloc.c -o "$FAIRGROUND_LIBRARY"; }

# The tests of answers only: the proof of binding runs the program for a moment and is no judge of data. Which faults a
# program meets depends on what it calls; each must be caught by some fault that damages data and by
# the abort.
build
for test in $tests; do
    if cargo test -q -p fairground-tests --test "$test" -- --skip malloc_is_the_librarys >"$dir/log" 2>&1; then
        echo "$test: passes on a right allocator"
    else
        echo "$test: FAILS on a right allocator:"
        cat "$dir/log"
        status=1
    fi
done
for test in $tests; do
    noticed=
    unnoticed=
    for fault in BREAK_ABORT BREAK_OVERLAP BREAK_REALLOC BREAK_CALLOC; do
        build "-D$fault"
        if cargo test -q -p fairground-tests --test "$test" -- --skip malloc_is_the_librarys >"$dir/log" 2>&1; then
            unnoticed="$unnoticed $fault"
        else
            noticed="$noticed $fault"
        fi
    done
    echo "$test: notices$noticed${unnoticed:+; does not meet$unnoticed}"
    case $noticed in
    *BREAK_ABORT*BREAK_*) ;;
    *) echo "$test: CANNOT FAIL enough" && status=1 ;;
    esac
done
exit $status
