#!/usr/bin/env bash
# The test suites of asyncpg and Django, from their source distributions, in .cache/suites. The versions are those of
# tests/drivers/python/requirements.txt, so that the suites run with what is installed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requirements=$root/tests/drivers/python/requirements.txt
key=$(fingerprint "$0" "$requirements")
if is_current suites "$key" && [ -d "$cache/suites/django/tests" ]; then exit 0; fi

rm -rf "$cache/suites"
mkdir -p "$cache/suites"
for name in asyncpg django; do
    pin=$(grep "^$name==" "$requirements")
    say "source of $pin"
    "$cache/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary "$name" -d "$cache/suites" "$pin"
    mkdir "$cache/suites/$name"
    tar -xzf "$cache/suites/$name-${pin#*==}.tar.gz" --strip-components=1 -C "$cache/suites/$name"
done
# The installed package is tested, not the one that is not built.
rm -rf "$cache/suites/asyncpg/asyncpg" "$cache/suites/django/django"
mark_current suites "$key"
