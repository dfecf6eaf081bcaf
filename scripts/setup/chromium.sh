#!/usr/bin/env bash
# Debian's Chromium without a window, for the tests of the report: unpacked into .cache/chromium with the libraries that
# it needs and the machine does not have, which leaves the machine as it is.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

program=usr/lib/chromium/chromium-headless-shell
key=$(fingerprint "$0")
if is_current chromium "$key" && [ -x "$cache/chromium/$program" ]; then exit 0; fi

say "Chromium"
rm -rf "$cache/chromium"
mkdir -p "$cache/chromium"
archives=$(mktemp -d)
trap 'rm -rf "$archives"' EXIT
needed() { apt-get install -s --no-install-recommends --no-upgrade "$@" | awk '/^Inst/ { print $2 }'; }
download() {
    local packages
    # Where it is installed, apt would have nothing to do; it is downloaded all the same.
    packages=$({ needed chromium-headless-shell && printf 'chromium-headless-shell\n'; } | sort -u)
    # shellcheck disable=SC2086 # names of packages have no blanks
    (cd "$archives" && apt-get download -q -o APT::Sandbox::User=root $packages >"$cache/chromium.log" 2>&1)
}
# Without a list of packages, or with an old one, there is nothing to be found.
download || { as_root apt-get update -q >/dev/null && download; } || { tail -30 "$cache/chromium.log" >&2; die "apt-get download failed"; }
for archive in "$archives"/*.deb; do dpkg-deb -x "$archive" "$cache/chromium"; done
[ -x "$cache/chromium/$program" ] || die "the package has no $program"
mark_current chromium "$key"
