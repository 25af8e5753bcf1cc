#!/bin/sh
# Installs the Debian or Ubuntu packages with the programs that Fairground's tests, demo and comparison run.
# Usage: install-programs.sh [test|demo|compare|runtimes|aarch64]
#
# Nothing is done for what is there already; services that a package starts on installation are stopped again, for the
# tests start their own. Without root or apt-get it names what is missing and fails: the caller decides whether to go on.
set -eu

missing=
add() {
    case " $missing " in *" $1 "*) ;; *) missing="$missing $1" ;; esac
}

# As the tests look: an executable that is no script (version managers put scripts of a program's name early in PATH),
# also where Debian keeps PostgreSQL's server programs.
find_program() (
    IFS=:
    for directory in $PATH /usr/sbin /sbin $(echo /usr/lib/postgresql/*/bin | tr ' ' :); do
        file=$directory/$1
        [ -f "$file" ] && [ -x "$file" ] && [ "$(head -c 4 "$file" | tail -c 3)" = ELF ] && return 0
    done
    return 1
)

need() { # PACKAGE PROGRAM...
    package=$1
    shift
    for program in "$@"; do
        find_program "$program" || add "$package"
    done
}

# A package without programs: a file it has, the package, and others if this release does not have the first.
need_file() { # FILE PACKAGE...
    file=$1
    shift
    # shellcheck disable=SC2086 # the pattern is meant as one
    ls $file >/dev/null 2>&1 && return 0
    wanted="$wanted $*;"
}
wanted=

need_build() {
    need gcc gcc
    need g++ g++
    need make make
    [ -e /usr/include/stdlib.h ] || add libc6-dev
}
need_demo() {
    need_build
    need redis-server redis-server
    need redis-tools redis-cli redis-benchmark
    need python3 python3
    need git git
    need sqlite3 sqlite3
    need nodejs node
    need bash bash
    need perl perl
}
# What only the comparison runs; its tests run that too.
need_compared() {
    need ghostscript gs
    need z3 z3
    need lua5.4 lua5.4
}

# A Rust compiler with a standard library for aarch64, unless there is one. Debian's for the web browsers is recent enough;
# its library comes from the other architecture's packages, which apt must be told of.
need_rust_for_aarch64() {
    triple=aarch64-unknown-linux-gnu
    for rustc in "${RUSTC:-rustc}" /usr/bin/rustc; do
        libraries=$("$rustc" --print target-libdir --target $triple 2>/dev/null) || continue
        ls "$libraries"/libstd-*.rlib >/dev/null 2>&1 && return
    done
    if apt-cache show rustc-web >/dev/null 2>&1; then
        add rustc-web
        add libstd-rust-web-dev:arm64
        foreign=arm64
    else
        echo "This release of the system has no Rust for aarch64: rustup target add $triple, if rustup has it." >&2
    fi
}
foreign=

purpose=${1:-test}
case $purpose in
demo) need_demo ;;
test)
    need_demo
    need_compared
    command -v pkg-config >/dev/null 2>&1 || add pkg-config
    # A script that starts valgrind's tools, so not for `need`.
    command -v valgrind >/dev/null 2>&1 || add valgrind
    need default-jdk-headless java javac
    need postgresql postgres initdb pgbench
    command -v psql >/dev/null 2>&1 || add postgresql-client
    need util-linux setpriv
    need strace strace
    need golang-go go
    ;;
compare)
    need_build
    need redis-server redis-server
    need redis-tools redis-benchmark
    need sqlite3 sqlite3
    need python3 python3
    need nodejs node
    need git git
    need perl perl
    need_compared
    need_file '/usr/lib/*/libjemalloc.so.2' libjemalloc2
    need_file '/usr/lib/*/libmimalloc.so.2*' libmimalloc2.0
    need_file '/usr/lib/*/libtcmalloc_minimal.so.4*' libtcmalloc-minimal4 libtcmalloc-minimal4t64
    ;;
runtimes)
    # A linker for the programs in Rust; pip fetches Go.
    need_build
    need python3 python3
    python3 -m pip --version >/dev/null 2>&1 || add python3-pip
    ;;
aarch64)
    need_rust_for_aarch64
    need gcc-aarch64-linux-gnu aarch64-linux-gnu-gcc
    need g++-aarch64-linux-gnu aarch64-linux-gnu-g++
    need qemu-user-static qemu-aarch64-static
    [ -e /usr/aarch64-linux-gnu/include/stdlib.h ] || add libc6-dev-arm64-cross
    ;;
*)
    echo "usage: $0 [test|demo|compare|runtimes|aarch64]" >&2
    exit 2
    ;;
esac

if [ -z "$missing$wanted" ]; then
    echo "All programs for '$purpose' are installed."
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing (names of Debian packages):$missing$wanted. There is no apt-get here: install them yourself." >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "Missing:$missing$wanted. Not root, so nothing was installed. Either" >&2
    echo "    sudo tests/install-programs.sh $purpose" >&2
    echo "or go without: what needs them is reported as skipped, by name." >&2
    exit 1
fi

active() { command -v systemctl >/dev/null 2>&1 && systemctl is-active --quiet "$1" 2>/dev/null; }
before=
for service in redis-server postgresql; do
    if active "$service"; then before="$before $service"; fi
done

echo "Missing:$missing$wanted; refreshing apt's lists"
if [ -n "$foreign" ] && ! dpkg --print-foreign-architectures | grep -qx "$foreign"; then
    echo "Telling dpkg of the architecture $foreign (dpkg --remove-architecture $foreign takes that back)"
    dpkg --add-architecture "$foreign"
fi
apt-get update -q
# Of each group the first package that this release has.
IFS=';'
for group in $wanted; do
    unset IFS
    for package in $group; do
        if apt-cache show "$package" >/dev/null 2>&1; then
            add "$package"
            break
        fi
    done
done
unset IFS
if [ -z "$missing" ]; then
    echo "This release of the system has none of:$wanted" >&2
    exit 1
fi
echo "Installing:$missing"
# Nothing that is installed may go for it: a compiler from elsewhere, say.
# shellcheck disable=SC2086 # one argument for each package
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --no-remove $missing

for service in redis-server postgresql; do
    case " $before " in *" $service "*) continue ;; esac
    if active "$service"; then
        echo "Stopping the service $service, which its package has just started"
        systemctl disable --now "$service"
    fi
done
echo "Installed:$missing"
