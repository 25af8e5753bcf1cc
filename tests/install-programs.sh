#!/bin/sh
# Installs the Debian or Ubuntu packages with the programs that the tests and the demo run. Nothing is done for what is
# there already; services that a package starts on installation are stopped again, for the tests start their own.
set -eu

missing=
need() { # PACKAGE PROGRAM...
    package=$1
    shift
    for program in "$@"; do
        command -v "$program" >/dev/null 2>&1 && continue
        # Debian keeps PostgreSQL's server programs out of PATH.
        ls /usr/lib/postgresql/*/bin/"$program" >/dev/null 2>&1 && continue
        case " $missing " in *" $package "*) ;; *) missing="$missing $package" ;; esac
    done
}

need redis-server redis-server
need redis-tools redis-cli redis-benchmark
need python3 python3
need gcc gcc
need g++ g++
need git git
need sqlite3 sqlite3
need nodejs node
need bash bash
need perl perl
need default-jdk-headless java javac
need postgresql postgres initdb pgbench
need postgresql-client psql
need util-linux setpriv
[ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"

if [ -z "$missing" ]; then
    echo "All programs of the tests are installed."
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing (names of Debian packages):$missing. There is no apt-get here: install them yourself." >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "Missing:$missing. Not root, so nothing was installed. Either" >&2
    echo "    sudo apt-get install --no-install-recommends$missing" >&2
    echo "or go without: the tests that need them are reported as skipped." >&2
    exit 1
fi

active() { command -v systemctl >/dev/null 2>&1 && systemctl is-active --quiet "$1" 2>/dev/null; }
before=
for service in redis-server postgresql; do
    if active "$service"; then before="$before $service"; fi
done

echo "Installing:$missing"
apt-get update -q
# shellcheck disable=SC2086 # one argument for each package
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing

for service in redis-server postgresql; do
    case " $before " in *" $service "*) continue ;; esac
    if active "$service"; then
        echo "Stopping the service $service, which its package has just started"
        systemctl disable --now "$service"
    fi
done
echo "Installed:$missing"
