#!/usr/bin/env bash
# Node drivers: tests/drivers/node/node_modules, exactly as the lock file says.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

package=$root/tests/drivers/node
key=$(fingerprint "$0" "$package/package.json" "$package/package-lock.json")
if is_current node "$key" && [ -d "$package/node_modules/pg" ]; then exit 0; fi

say "node drivers"
npm ci --prefix "$package" --silent --no-audit --no-fund --ignore-scripts
mark_current node "$key"
