#!/usr/bin/env bash
# PostgreSQL's own regression tests: the sources of Debian's package that is installed, with the library that they load,
# in .cache/regress.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

version=$(dpkg-query -W -f '${source:Version}' postgresql-15)
key=$version-$(fingerprint "$0")
if is_current regress "$key" && [ -s "$cache/regress/lib/regress.so" ]; then exit 0; fi

say "regression tests of PostgreSQL $version"
rm -rf "$cache/regress"
work=$cache/regress/work
mkdir -p "$work/lists/partial" "$cache/regress/lib"
# Debian's own list, asked for sources; the machine's is left as it is.
for list in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
    [ ! -s "$list" ] || sed 's/^Types: .*/Types: deb-src/; s/^deb /deb-src /' "$list" >"$work/sources.${list##*.}"
done
{
    cd "$work"
    for list in sources.sources sources.list; do
        [ -s "$list" ] || continue
        options=(-q -o "Dir::Etc::sourcelist=$work/$list" -o Dir::Etc::sourceparts=/nonexistent
            -o "Dir::State::lists=$work/lists" -o APT::Sandbox::User=root)
        apt-get "${options[@]}" update && apt-get "${options[@]}" source --download-only "postgresql-15=$version" && break
    done
    # The headers of the server that is installed: what regress.c needs moves even between minor versions.
    apt-get -q -o APT::Sandbox::User=root download "postgresql-server-dev-15=$(dpkg-query -W -f '${Version}' postgresql-15)"
} >"$cache/regress.log" 2>&1 || { tail -30 "$cache/regress.log" >&2; die "the sources of PostgreSQL cannot be had"; }

tar -xjf postgresql-15_*.orig.tar.bz2 --strip-components=3 -C "$cache/regress" --wildcards '*/src/test/regress'
dpkg-deb -x postgresql-server-dev-15_*.deb headers
libraries=/usr/lib/postgresql/15/lib
cp "$libraries/refint.so" "$libraries/autoinc.so" "$cache/regress/lib"
gcc -shared -fPIC -O1 -w -Werror=implicit-function-declaration -I headers/usr/include/postgresql/15/server -I /usr/include/postgresql \
    -o "$cache/regress/lib/regress.so" "$cache/regress/regress/regress.c"
cd "$root"
rm -rf "$work"
mark_current regress "$key"
