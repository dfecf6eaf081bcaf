#!/usr/bin/env bash
# Python drivers, in a virtual environment of the project: .cache/venv.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requirements=$root/tests/drivers/python/requirements.txt
key=$(fingerprint "$0" "$requirements")
if is_current python "$key" && "$cache/venv/bin/python" -c '' 2>/dev/null; then exit 0; fi

say "python drivers"
rm -rf "$cache/venv"
python3 -m venv "$cache/venv"
"$cache/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$requirements"
mark_current python "$key"
