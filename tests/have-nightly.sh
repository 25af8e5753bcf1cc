#!/bin/sh
# Is there a nightly toolchain, which the sanitizers and the fuzzer need? Tries to install one where rustup is at hand.
# Prints why not, and fails then.
set -u

cargo +nightly --version >/dev/null 2>&1 && exit 0
if ! command -v rustup >/dev/null 2>&1; then
    echo 'no nightly toolchain, and no rustup to install one'
    exit 1
fi
echo 'Installing a nightly toolchain (rustup)' >&2
# rustup waits for a network that is not there.
timeout 600 rustup toolchain install nightly --profile minimal >&2 && exit 0
echo 'no nightly toolchain, and rustup could not install one'
exit 1
