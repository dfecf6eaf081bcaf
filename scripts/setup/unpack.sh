#!/usr/bin/env bash
# Debian packages that would upgrade others if they were installed: unpacked into .cache/debian, which leaves the
# machine as it is. Perl's driver, and the Go sources of pgx.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

packages=(
    libdbi-perl libdbd-pg-perl
    golang-github-jackc-{pgx-v4,pgconn,pgtype,pgproto3-v2,pgio,pgpassfile,pgservicefile,chunkreader-v2,puddle}-dev
    golang-golang-x-{crypto,text}-dev
)
key=$(fingerprint "$0")
if is_current debian "$key" && [ -d "$cache/debian/usr" ]; then exit 0; fi

say "unpacking ${#packages[@]} packages of Debian"
rm -rf "$cache/debian"
archives=$(mktemp -d)
trap 'rm -rf "$archives"' EXIT
download() { (cd "$archives" && apt-get download -q -o APT::Sandbox::User=root "${packages[@]}" >"$cache/unpack.log" 2>&1); }
# Without a list of packages, or with an old one, there is nothing to be found.
download || { as_root apt-get update -q >/dev/null && download; } || { tail -30 "$cache/unpack.log" >&2; die "apt-get download failed"; }
for archive in "$archives"/*.deb; do dpkg-deb -x "$archive" "$cache/debian"; done
mark_current debian "$key"
