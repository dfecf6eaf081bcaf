#!/usr/bin/env bash
# Cargo tools. `cargo.sh` makes sure of cargo-nextest, `cargo.sh deny` of cargo-deny as well
# (some minutes to build, so only the gates ask for it).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# A build of its own, so that tools and workspace do not wait for each other.
tool() {
    local name=$1 version=$2
    say "cargo install $name $version (once)"
    CARGO_TARGET_DIR=$cache/tools cargo install --locked --quiet "$name@$version"
    rm -rf "$cache/tools"
}

cargo nextest --version >/dev/null 2>&1 || tool cargo-nextest 0.9.143
if [ "${1:-}" = deny ]; then
    [ "$(cargo deny --version 2>/dev/null)" = "cargo-deny 0.20.2" ] || tool cargo-deny 0.20.2
fi
