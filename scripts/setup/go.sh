#!/usr/bin/env bash
# The program for pgx, built from Debian's sources into .cache/go/pgx_policies.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

program=$root/tests/drivers/go
key=$(fingerprint "$0" "$program/main.go" "$cache/stamps/debian")
if is_current go "$key" && [ -x "$cache/go/pgx_policies" ]; then exit 0; fi

say "pgx"
# Debian has the sources where a GOPATH has them: no modules, nothing is fetched.
sources=$cache/debian/usr/share/gocode
GO111MODULE=off GOFLAGS= GOPROXY=off GOPATH=$sources GOCACHE=$cache/go/build CGO_ENABLED=0 \
    go build -o "$cache/go/pgx_policies" "$program/main.go"
rm -rf "$cache/go/build"
mark_current go "$key"
