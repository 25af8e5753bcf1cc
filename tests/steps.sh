#!/bin/sh
# Runs steps, which are make's targets, one after the other; says how long each took and, at the end, which tests were
# skipped and which steps failed. Goes on after a failure: one run shows all that is wrong.
# Usage: MAKE=make SKIPPED=FILE steps.sh STEP...
set -u

failed=
times=
begin=$(date +%s)
number=0
for step in "$@"; do
    number=$((number + 1))
    printf '\n==== step %s of %s: %s\n' "$number" "$#" "$step"
    start=$(date +%s)
    if "${MAKE:-make}" --no-print-directory "$step"; then
        result=ok
    else
        result=FAILED
        failed="$failed $step"
    fi
    seconds=$(($(date +%s) - start))
    printf '==== %s: %s, %s s\n' "$step" "$result" "$seconds"
    times=$(printf '%s\n%-24s %5s s  %s' "$times" "$step" "$seconds" "$result")
done

printf '\n==== all steps: %s s%s\n' "$(($(date +%s) - begin))" "$times"
if [ -s "${SKIPPED:-}" ]; then
    printf '\n==== skipped tests\n'
    sort -u "$SKIPPED"
fi
if [ -n "$failed" ]; then
    printf '\n==== FAILED:%s\n' "$failed"
    exit 1
fi
echo 'All steps passed.'
