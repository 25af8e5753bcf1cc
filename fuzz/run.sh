#!/bin/bash
# Fuzzes each target for a while, from the seeds and from what earlier runs on this machine have found.
# Usage: CARGO_TARGET_DIR=DIR [SKIPPED=FILE] run.sh SECONDS
#
# An input that fails is left in fuzz/artifacts/TARGET; mended, it belongs into fuzz/regressions/TARGET, which
# allocator/tests/fuzz_inputs.rs runs from then on. Where there is no nightly toolchain or no cargo-fuzz, and they cannot be
# installed, the same is run on random inputs, without guidance by coverage; that is reported as skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

seconds=$1
base=$CARGO_TARGET_DIR

without_fuzzer() {
    echo "SKIPPED: fuzzing guided by coverage: $1"
    [ -z "${SKIPPED:-}" ] || echo "fuzzing guided by coverage (random inputs ran instead): $1" >>"$SKIPPED"
    FAIRGROUND_FUZZ_SECONDS=10 cargo test --locked --release --manifest-path ../Cargo.toml -p fairground-allocator \
        --test fuzz_inputs -- --nocapture
    exit 0
}

reason=$(../tests/have-nightly.sh) || without_fuzzer "$reason"
export PATH="$PATH:$base/tools/bin"
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo 'Installing cargo-fuzz below the target directory'
    cargo install cargo-fuzz --locked --root "$base/tools" --target-dir "$base/tools/target" ||
        without_fuzzer 'no cargo-fuzz, and cargo could not install it'
fi

cargo +nightly fuzz build --target-dir "$base/fuzz" ||
    without_fuzzer 'libFuzzer could not be built (it needs a C++ compiler)'
for target in calls configuration; do
    corpus=$base/fuzz-corpus/$target
    mkdir -p "$corpus"
    dictionary=
    [ $target = configuration ] && dictionary=-dict=dictionary.txt
    echo "Fuzzing $target for $seconds s"
    # Memory: sequences have 64 MiB at most, and the sanitizer keeps as much again.
    cargo +nightly fuzz run --target-dir "$base/fuzz" $target "$corpus" "seeds/$target" "regressions/$target" -- \
        -max_total_time="$seconds" -max_len=1024 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 $dictionary 2>&1 |
        sed '/ # Uses: /d'
done
