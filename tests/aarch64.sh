#!/bin/sh
# Builds the core's tests and the library for aarch64 and runs them in qemu-user; `make test-aarch64`.
#
# The emulator proves that the code runs: assembly, relocations, thread-local storage, unwinding through the routines that
# throw. It does not prove that barriers suffice, for it runs on a processor that orders more; the models prove those
# (`make model`). What it cannot do is skipped by name: limits of address space are not passed on to the program.
#
# Tests of the core are static programs, for threads of dynamic ones hang in qemu 7.2; the library is preloaded into
# programs of one thread. Reserving 1 TiB takes the emulator seconds, so all but one run reserve 4 GiB.
set -eu
cd "$(dirname "$0")/.."

triple=aarch64-unknown-linux-gnu
emulator=qemu-aarch64-static
root=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TARGET_DIR="$root/aarch64"
# Flags from outside would take the place of the target's own.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
library=$CARGO_TARGET_DIR/$triple/release/libfairground.so

skip() {
    line="SKIPPED test-aarch64: $1"
    echo "$line" >&2
    [ "${FAIRGROUND_REQUIRE_ALL:-}" = 1 ] && exit 1
    mkdir -p "$root"
    echo "$line" >>"$root/skipped-tests.txt"
    exit 0
}

# A compiler with a standard library for aarch64: the usual one, or the distribution's.
compiler() {
    for rustc in "${RUSTC:-rustc}" /usr/bin/rustc; do
        libraries=$("$rustc" --print target-libdir --target $triple 2>/dev/null) || continue
        ls "$libraries"/libstd-*.rlib >/dev/null 2>&1 && echo "$rustc" && return
    done
    return 1
}

tests/install-programs.sh aarch64 || echo 'Going on with what is there.'
for program in $emulator aarch64-linux-gnu-gcc aarch64-linux-gnu-g++ aarch64-linux-gnu-objdump; do
    command -v $program >/dev/null 2>&1 || skip "$program not found"
done
rustc=$(compiler) || skip "no Rust compiler with a standard library for $triple (rustup target add $triple, or on Debian 12 rustc-web and libstd-rust-web-dev:arm64)"

on_aarch64() { # COMMAND OF CARGO, ARGUMENT...
    command=$1
    shift
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=$emulator FAIRGROUND_TEST_RUNNER=$emulator \
        RUSTC=$rustc RUSTC_WRAPPER='' "${CARGO:-cargo}" "$command" --locked --target $triple "$@"
}

echo '---- the core, as static programs, with debug assertions'
# Optimised a little, because every instruction is emulated.
export CARGO_PROFILE_DEV_OPT_LEVEL=1
static() {
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS='-C target-feature=+crt-static' \
        on_aarch64 "$@"
}
FAIRGROUND_CONF=reserve:4G FAIRGROUND_TEST_FORKS=50 PROPTEST_CASES=64 static test --no-fail-fast -p fairground-allocator --tests
echo '---- once more with the usual reservation'
static test -p fairground-allocator --test alignment_and_contents
echo '---- the requests to valgrind do nothing without it'
FAIRGROUND_CONF=reserve:4G static run -p fairground-allocator --features valgrind --example memory_errors -- correct
unset CARGO_PROFILE_DEV_OPT_LEVEL

echo '---- the library: exports, relocations, instructions'
on_aarch64 build --release -p fairground-ffi --lib
# These tests run here and look at the library for there.
inspect() {
    FAIRGROUND_LIBRARY=$library FAIRGROUND_BINUTILS=aarch64-linux-gnu- CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++ \
        FAIRGROUND_TEST_RUNNER=$emulator QEMU_LD_PREFIX=/usr/aarch64-linux-gnu \
        "${CARGO:-cargo}" test --locked -p fairground-ffi "$@"
}
inspect --test exports
echo '---- the library under C and C++ programs'
FAIRGROUND_CONF=reserve:4G inspect --test c_semantics --test cxx_operators
