#!/usr/bin/env bash
# Runs once before the black-box tests: builds the binary they drive, and tells them where it is.
# With PGWARDEN_BIN in the environment the tests drive that one instead.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ -z "${PGWARDEN_BIN:-}" ] || exit 0

# With the tests of the whole workspace, because `-p pgwarden` alone would select other features
# of shared dependencies, and so compile the big ones (pg_query) a second time.
built=$(cargo build --quiet --workspace --bins --tests --message-format=json-render-diagnostics |
    python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    target = message.get("target", {})
    test = message.get("profile", {}).get("test")
    if target.get("name") == "pgwarden" and target.get("kind") == ["bin"] and not test and message.get("executable"):
        print(message["executable"])')
printf 'PGWARDEN_BIN=%s\n' "$built" >>"$NEXTEST_ENV"
