#!/bin/sh
# Programs as they are, on Fairground. Build the library first: cargo build --release -p fairground-ffi
set -eu
built=${FAIRGROUND_BUILT:-target/release}

# The launcher looks at the program first, and says so if preloading it cannot work.
"$built"/fairground run -- sort -r <<'WORDS'
buddy
slab
zone
WORDS

# The same by hand. The path must be absolute, for programs change their directory.
LD_PRELOAD=$(realpath "$built")/libfairground.so grep -o -m 1 'libfairground[.]so' /proc/self/maps

# A setting for other tools, which start programs of their own.
env "$("$built"/fairground run --print-env)" sh -c 'seq 3 | sort -n | tail -n 1'
