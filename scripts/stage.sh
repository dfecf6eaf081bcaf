# Servers and pgwarden for what runs direct and through it: sourced by regress.sh and suites.sh, never run.

# shellcheck source=setup/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/setup/lib.sh"

binaries=/usr/lib/postgresql/15/bin
work=$(mktemp -d /var/tmp/pgwarden-stage.XXXXXX)
chmod 755 "$work"
children=()
clean_up() {
    local child
    for child in "${children[@]}"; do kill -INT "$child" 2>/dev/null || true; done
    wait
    rm -rf "$work"
}
trap clean_up EXIT

# PGWARDEN_BIN, or a release build: sets `pgwarden`.
build_pgwarden() {
    pgwarden=${PGWARDEN_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/pgwarden}
    [ -n "${PGWARDEN_BIN:-}" ] || cargo build --quiet --release -p pgwarden
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

until_ready() {
    for _ in $(seq 300); do
        ! "$binaries/pg_isready" -q -h 127.0.0.1 -p "$1" || return 0
        sleep 0.1
    done
    die "nothing answers on port $1"
}

# start_server NAME: a cluster of its own, where everybody is trusted; sets `server`, its port.
start_server() {
    local data=$work/$1.data
    [ "$(id -u)" != 0 ] || chown postgres: "$work"
    as_server_user "$binaries/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C --no-sync >/dev/null
    server=$(free_port)
    as_server_user tee -a "$data/postgresql.conf" >/dev/null <<TEXT
port = $server
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
max_connections = 100
max_prepared_transactions = 2
autovacuum = off
TEXT
    as_server_user "$binaries/postgres" -D "$data" >"$work/$1.log" 2>&1 &
    until_ready "$server"
    # Not $!, which may be a shell that waits for the server.
    children+=("$(head -n 1 "$data/postmaster.pid")")
}

# start_pgwarden MODE LOG: in front of that server, in passthrough and without a context; sets `proxy`, its port.
start_pgwarden() {
    proxy=$(free_port)
    env -i PATH="$PATH" PGWARDEN_LISTEN="127.0.0.1:$proxy" PGWARDEN_ADMIN=off PGWARDEN_AUTH=trust \
        PGWARDEN_MODE=passthrough PGWARDEN_POOL_MODE="$1" PGWARDEN_POOL_SIZE=60 PGWARDEN_LOG=warn \
        PGWARDEN_UPSTREAM="postgres://postgres@127.0.0.1:$server/postgres?sslmode=disable" \
        "$pgwarden" serve >"$2" 2>&1 &
    children+=($!)
    until_ready "$proxy"
}
