#!/usr/bin/env bash
# Node drivers: tests/drivers/node/node_modules, exactly as the lock file says.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

package=$root/tests/drivers/node
key=$(fingerprint "$0" "$package/package.json" "$package/package-lock.json" "$package/notes.prisma")
if is_current node "$key" && [ -d "$package/node_modules/pg" ]; then exit 0; fi

say "node drivers"
npm ci --prefix "$package" --silent --no-audit --no-fund --ignore-scripts
# Prisma's client for the scenarios. It needs neither of the engines that would be fetched: the adapter's client has none.
(cd "$package" && CHECKPOINT_DISABLE=1 PRISMA_SCHEMA_ENGINE_BINARY=/bin/true PRISMA_QUERY_ENGINE_LIBRARY=/bin/true \
    node_modules/.bin/prisma generate --schema notes.prisma >"$cache/prisma.log" 2>&1) ||
    { tail -30 "$cache/prisma.log" >&2; die "prisma generate failed"; }
mark_current node "$key"
