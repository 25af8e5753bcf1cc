#!/bin/bash
# The core's tests under a sanitizer, which needs the nightly toolchain; without it the step is skipped, by name.
# Usage: CARGO_TARGET_DIR=DIR [SKIPPED=FILE] sanitizers.sh address|thread
#
# Addresses: what the allocator reads and writes beside the system's blocks, the stack and its own statics. (What lies in its
# own mappings only the shadow map of allocator/tests/shadow_stress.rs knows.) Leaks are not looked for: unit tests leave the
# tables of their models behind.
#
# Threads: the tests as they are; then, for the stress and the threads, with the portable parts in place of our assembly,
# which the sanitizer cannot see into; and the stress without its map, whose locks would order what the allocator has to.
# It does not understand fences; those are the models' (make model). The standard library is compiled without it:
# allocator/tests/thread-sanitizer-suppressions.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sanitizer=$1
skip() {
    echo "SKIPPED: $1"
    [ -z "${SKIPPED:-}" ] || echo "$1" >>"$SKIPPED"
}
if ! reason=$(tests/have-nightly.sh); then
    skip "test-$( [ "$sanitizer" = address ] && echo asan || echo tsan ): $reason"
    exit 0
fi

host=$(rustc +nightly -vV | sed -n 's/^host: //p')
base=$CARGO_TARGET_DIR
flags=${RUSTFLAGS:-}
log=$base/sanitizer-$sanitizer.txt
mkdir -p "$base"
: >"$log"
# Some tests die of a guard page, and say by which signal: handle_segv=0.
# Property tests take ten times as long under a sanitizer; they are random, and run in full elsewhere.
export PROPTEST_CASES=${PROPTEST_CASES:-30} FAIRGROUND_SANITIZER

# run FOLDER FLAGS ARGUMENT...: cargo test, instrumented
run() {
    local folder=$1 more=$2
    shift 2
    CARGO_TARGET_DIR=$base/$folder RUSTFLAGS="$flags $more" \
        cargo +nightly test --locked --target "$host" -p "${package:-fairground-allocator}" "$@" 2>&1 | tee -a "$log"
}

# All tests of the core, but for those of the unwinder: the sanitizers' own functions lie between the frames they expect.
run_all() {
    local failed=0
    run "$1" "$2" --no-fail-fast --lib -- --skip profile::unwind || failed=1
    echo 'tests of profile::unwind ... skipped: its own frames lie between those of the program' >>"$log"
    run "$1" "$2" --no-fail-fast --test '*' || failed=1
    return $failed
}

failed=0
case $sanitizer in
address)
    FAIRGROUND_SANITIZER=AddressSanitizer
    export ASAN_OPTIONS="detect_leaks=0 handle_segv=0 ${ASAN_OPTIONS:-}"
    run_all asan '-Zsanitizer=address' || failed=1
    ;;
thread)
    FAIRGROUND_SANITIZER=ThreadSanitizer
    export TSAN_OPTIONS="suppressions=$PWD/allocator/tests/thread-sanitizer-suppressions.txt handle_segv=0 ${TSAN_OPTIONS:-}"
    thread='-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer'
    run_all tsan "$thread" || failed=1
    run tsan "$thread" --test shadow_stress -- --no-map --threads 4 --seconds 20 || failed=1
    portable="$thread --cfg fairground_portable"
    run tsan-portable "$portable" --no-fail-fast --test shadow_stress --test threads || failed=1
    run tsan-portable "$portable" --test shadow_stress -- --no-map --threads 4 --seconds 20 || failed=1
    # The runtime's locks and channels, between plain threads: the sanitizer does not know that tasks change stacks.
    TSAN_OPTIONS="suppressions=$PWD/runtime/tests/thread-sanitizer-suppressions.txt" package=fairground-runtime \
        run tsan "$thread" --no-fail-fast --test sync_behaviour --test channel_behaviour --test channel_model || failed=1
    ;;
*)
    echo "usage: sanitizers.sh address|thread" >&2
    exit 2
    ;;
esac

# Cases that cannot run under it have said so.
sed -n "s/ \.\.\. skipped: / (under $FAIRGROUND_SANITIZER): /p" "$log" | sort -u |
    if [ -n "${SKIPPED:-}" ]; then tee -a "$SKIPPED" >/dev/null; else cat; fi
exit $failed
