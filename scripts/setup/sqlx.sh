#!/usr/bin/env bash
# The program for sqlx, built into .cache/sqlx/sqlx_policies.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

program=$root/tests/drivers/rust
key=$(fingerprint "$0" "$program/Cargo.toml" "$program/Cargo.lock" "$program/src/main.rs" "$program/src/migrations.rs")
if is_current sqlx "$key" && [ -x "$cache/sqlx/sqlx_policies" ]; then exit 0; fi

say "sqlx"
target=$cache/sqlx/build
cargo build --quiet --locked --manifest-path "$program/Cargo.toml" --target-dir "$target"
mv "$target/debug/sqlx-policies" "$cache/sqlx/sqlx_policies"
rm -rf "$target"
mark_current sqlx "$key"
