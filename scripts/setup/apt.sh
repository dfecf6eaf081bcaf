#!/usr/bin/env bash
# Debian packages: installs what is missing, and never upgrades what is there
# (an upgrade would restart servers that are running).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

packages=(
    build-essential         # C parts of pg_query and aws-lc
    libclang-dev            # bindgen of pg_query
    ca-certificates openssl # certificates of the TLS tests
    postgresql-15           # server, psql, pgbench, pg_dump
    postgresql-client-15
    pgbouncer               # the neighbour in the benchmarks, and in chained set-ups
    libfaketime             # a clock of pgwarden's own, which the tests put forward and back
    libpostgresql-jdbc-java php-cli php-pgsql ruby-pg ruby-activerecord golang-go # drivers under test
)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
command -v javac >/dev/null || packages+=(default-jdk-headless)
command -v npm >/dev/null || packages+=(nodejs npm)

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
    [ "${status% }" = ii ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null || die "this is not Debian; install by hand: ${missing[*]}"
say "apt: ${missing[*]}"

# Debian starts a server from its package; nothing here wants one on a well-known port.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
fi
as_root apt-get update -q >/dev/null
as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends --no-upgrade "${missing[@]}" >"$cache/apt.log" 2>&1 ||
    { tail -30 "$cache/apt.log" >&2; die "apt-get install failed"; }
