# Shared by the set-up scripts: sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=$root/.cache
mkdir -p "$cache/stamps"

say() { printf '%s\n' "setup: $*" >&2; }
die() { say "$*"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -- "$@"; fi
}

# PostgreSQL refuses to run as root: root uses the account that Debian's package makes.
as_server_user() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && setpriv --reuid postgres --regid postgres --init-groups -- "$@")
    else
        "$@"
    fi
}

# fingerprint FILE...: changes when a script or its pins change.
fingerprint() { cat -- "$@" | sha256sum | cut -c1-16; }

# is_current NAME FINGERPRINT / mark_current NAME FINGERPRINT: a finished step is not done twice.
is_current() { [ "$(cat "$cache/stamps/$1" 2>/dev/null)" = "$2" ]; }
mark_current() { printf '%s\n' "$2" >"$cache/stamps/$1"; }

# Where server binaries live: the server's account has to reach them.
server_root() {
    if as_server_user test -x "$cache" 2>/dev/null; then
        printf '%s\n' "$cache/postgres"
    else
        printf '%s\n' "/var/tmp/pgwarden-$(id -u)-$(printf '%s' "$root" | sha256sum | cut -c1-12)"
    fi
}
