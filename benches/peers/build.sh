#!/bin/bash
# Builds the allocators that the comparison is with, from the sources that their crates carry, at the versions in Cargo.lock.
# Usage: CARGO_TARGET_DIR=DIR build.sh [PEER...]
#
# Into DIR/peers, for each peer as far as it has them:
#   libPEER.so     for programs in C: takes malloc over when preloaded
#   workload-PEER  for Rust: the workload program with the peer as its #[global_allocator]
#   PEER.txt       lines of key=value: version, source, and missing-library or missing-program with the reason and what to do
#
# Compiled as each one's own build does for such a library: -O3 without assertions, thread-local data of the initial-exec
# model (a preloaded library is there from the start), only the C and C++ interface visible. What cannot be built is named,
# in PEER.txt for the comparison and at the end here; the others are built all the same. What is up to date stays.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
base=${CARGO_TARGET_DIR:-$here/../../target}
mkdir -p "$base/peers/build"
out=$(cd "$base/peers" && pwd)
cargo=${CARGO:-cargo}
CC=${CC:-cc}
CXX=${CXX:-c++}
lock=$here/Cargo.lock

# Peer, the crate whose version counts, what is built: a library, a program. The names are those of the tables.
all='
jemalloc         tikv-jemalloc-sys library program
mimalloc2        libmimalloc-sys   library program
mimalloc3        libmimalloc-sys   library program
rpmalloc         rpmalloc-sys      library program
snmalloc         snmalloc-sys      library program
numalloc         numalloc          program
rusty_alloc      rusty_alloc       program
sefer-alloc      sefer-alloc       program
stoolap-jemalloc stoolap-jemalloc  program
'

# The version of a crate in the lock file.
version_of_crate() { sed -n "/^name = \"$1\"\$/ { n; s/^version = \"\\(.*\\)\"\$/\\1/p }" "$lock"; }

# The folder of a crate's sources, which cargo has fetched.
source_of_crate() {
    if [ -z "${metadata:-}" ]; then
        metadata=$out/build/metadata.json
        "$cargo" metadata --locked --format-version 1 --all-features --manifest-path "$here/Cargo.toml" >"$metadata"
    fi
    local manifest
    manifest=$(grep -o "\"manifest_path\":\"[^\"]*/$1-[0-9][^\"/]*/Cargo.toml\"" "$metadata" | head -n 1 | cut -d '"' -f 4)
    [ -n "$manifest" ] && dirname "$manifest"
}

# The version of the allocator itself, where it is not its crate's.
version_of_peer() { # PEER CRATE
    local crate number
    crate=$(version_of_crate "$2")
    case $1 in
    # In its header, as major, two digits minor, two digits patch.
    mimalloc?)
        number=$(sed -n 's/^#define MI_MALLOC_VERSION *\([0-9]*\).*/\1/p' \
            "$(source_of_crate "$2")/c_src/mimalloc/v${1#mimalloc}/include/mimalloc.h")
        echo "$((number / 10000)).$((number / 100 % 100)).$((number % 100))"
        ;;
    # Behind the crate's: VERSION-COMMITS_SINCE-gCOMMIT.
    jemalloc) crate=${crate#*+} && echo "${crate%%-*}" ;;
    # The first line of what has changed.
    rpmalloc) head -n 1 "$(source_of_crate "$2")/rpmalloc/CHANGELOG" | tr -d '\r' ;;
    *) echo "$crate" ;;
    esac
}

preloadable="-O3 -DNDEBUG -fPIC -fvisibility=hidden -ftls-model=initial-exec -fno-builtin-malloc -shared -pthread"

# Each takes the folder of the crate's sources and the library to write.
# shellcheck disable=SC2086 # the flags are many
{
    library_mimalloc() { # SOURCE LIBRARY VERSION
        local root=$1/c_src/mimalloc/v$3
        $CC -std=gnu11 $preloadable -DMI_BUILD_RELEASE -DMI_MALLOC_OVERRIDE -DMI_SHARED_LIB -DMI_SHARED_LIB_EXPORT \
            -I"$root/include" -I"$root/src" "$root/src/static.c" -o "$2"
    }
    library_mimalloc2() { library_mimalloc "$1" "$2" 2; }
    library_mimalloc3() { library_mimalloc "$1" "$2" 3; }
    library_rpmalloc() {
        $CC -std=gnu11 -D_GNU_SOURCE $preloadable -DENABLE_OVERRIDE=1 -DENABLE_PRELOAD=1 "$1/rpmalloc/rpmalloc/rpmalloc.c" \
            -ldl -o "$2"
    }
    # What its CMakeLists.txt sets for Linux.
    library_snmalloc() {
        local root=$1/upstream/src wide=
        [ "$(uname -m)" = x86_64 ] && wide=-mcx16
        $CXX -std=c++20 $preloadable $wide -fomit-frame-pointer -fno-rtti -ffunction-sections -static-libstdc++ \
            -DSNMALLOC_USE_CXX11_THREAD_ATEXIT_DIRECT -DSNMALLOC_USE_WAIT_ON_ADDRESS=1 -DSNMALLOC_HAS_LINUX_FUTEX_H \
            -DSNMALLOC_HAS_LINUX_RANDOM_H -DSNMALLOC_PLATFORM_HAS_GETENTROPY -DSNMALLOC_PTHREAD_ATFORK_WORKS \
            -DSNMALLOC_CHECK_LOADS=false -DSNMALLOC_PAGEID=false '-DSNMALLOC_EXPORT=__attribute__((visibility("default")))' \
            -I"$root" "$root/snmalloc/override/malloc.cc" "$root/snmalloc/override/new.cc" -o "$2"
    }
}

# Configured as upstream does by default, C++ operators included; the crate carries the configure script beside the sources.
library_jemalloc() {
    local folder=$out/build/jemalloc version
    version=$(version_of_crate tikv-jemalloc-sys)
    rm -rf "$folder"
    cp -r "$1/jemalloc" "$folder" &&
        cp "$1/configure/configure" "$folder/" &&
        (cd "$folder" && CC=$CC CXX=$CXX sh configure --with-version="${version#*+}" --enable-doc=no --enable-static=no) &&
        make -C "$folder" -j "$(nproc)" build_lib_shared &&
        cp "$folder/lib/libjemalloc.so.2" "$2"
}

absent() { echo "missing-$2=$3" >>"$out/build/$1.txt"; } # PEER PART REASON

# The compilers and programs that a peer's sources need and that are not there, with what brings them.
missing_tools() { # PEER
    local needed="$CC:gcc" tool
    case $1 in
    jemalloc) needed="$needed $CXX:g++ make:make" ;;
    snmalloc) needed="$CXX:g++" ;;
    mimalloc? | rpmalloc) ;;
    *) needed= ;;
    esac
    for tool in $needed; do
        command -v "${tool%%:*}" >/dev/null 2>&1 || echo "no ${tool%%:*}: apt-get install ${tool#*:}"
    done | paste -s -d ';'
}

build_library() { # PEER SOURCE
    local library=$out/lib$1.so log=$out/build/lib$1.log
    [ "$library" -nt "$lock" ] && [ "$library" -nt "${BASH_SOURCE[0]}" ] && return
    echo "Building lib$1.so"
    rm -f "$library"
    # Its place is taken last, so that half a library is never found there.
    if "library_$1" "$2" "$library.new" >"$log" 2>&1; then
        mv "$library.new" "$library"
    else
        absent "$1" library "it did not compile: peers/build/lib$1.log in the target directory says why"
    fi
}

build_program() { # PEER
    local program=$out/workload-$1 log=$out/build/workload-$1.log
    echo "Building workload-$1"
    rm -f "$program"
    # One after the other: of one package that is built once, all features would be on together.
    if "$cargo" build --release --locked --manifest-path "$here/Cargo.toml" --target-dir "$out/build" --features "$1" \
        >"$log" 2>&1; then
        cp "$out/build/release/peer-workload" "$program"
    else
        absent "$1" program "it did not build: peers/build/workload-$1.log in the target directory says why"
    fi
}

wanted=" ${*:-$(awk '{ print $1 }' <<<"$all" | paste -s -d ' ')} "
for peer in $wanted; do
    grep -q "^$peer " <<<"$all" || {
        echo "no peer '$peer' is built here; there are: $(awk 'NF { print $1 }' <<<"$all" | paste -s -d ' ')" >&2
        exit 2
    }
done

# Fails for everything, so it is said once and at once: no network, or a lock file that does not fit.
source_of_crate numalloc >/dev/null || {
    echo "The peers' sources are not here: cargo's message above says why. None was built." >&2
    exit 1
}

while read -r peer crate parts; do
    case $wanted in *" $peer "*) ;; *) continue ;; esac
    text=$out/build/$peer.txt
    {
        echo "version=$(version_of_peer "$peer" "$crate")"
        # Without what jemalloc's git describes of its version.
        echo "source=crate $crate $(version_of_crate "$crate" | sed 's/-0-g.*//')"
    } >"$text"
    lacking=$(missing_tools "$peer")
    for part in $parts; do
        if [ -n "$lacking" ]; then
            rm -f "$out/lib$peer.so" "$out/workload-$peer"
            absent "$peer" "$part" "$lacking"
        else
            "build_$part" "$peer" "$(source_of_crate "$crate")"
        fi
    done
    mv "$text" "$out/$peer.txt"
done < <(grep . <<<"$all")

grep -H '^missing-' "$out"/*.txt | sed "s|^$out/||; s|^\\(.*\\)\\.txt:missing-\\([a-z]*\\)=|Missing: \\2 of \\1: |" || true
