# A throw-away PostgreSQL with the platform schema, and pgwarden in front of it: sourced by demo.sh.

postgres_bin=/usr/lib/postgresql/15/bin
examples=$root/deploy/examples/platform

acme=a0000000-0000-4000-8000-000000000001
acme_owner=a0000000-0000-4000-8000-0000000000a1
globex=b0000000-0000-4000-8000-000000000001
globex_owner=b0000000-0000-4000-8000-0000000000a1

stage='' build='' environment=() database=platform

# In a process group of its own, so that the compilers end with it.
build() {
    setsid cargo build --release --package pgwarden &
    build=$!
    wait "$build"
    build=''
    pgwarden=$(realpath "${CARGO_TARGET_DIR:-target}/release/pgwarden")
}

# Makes the directory, the passwords and the ports. What PostgreSQL owns lies in `server`, which nobody else may enter.
open_stage() {
    [ -x "$pgwarden" ] || die "there is no program $pgwarden"
    stage=$(mktemp -d "${TMPDIR:-/tmp}/pgwarden-demo.XXXXXX")
    chmod 711 "$stage"
    # TMPDIR may be closed to the server's account, too long for a socket's path (107 bytes), or in need of quotes.
    if [ ${#stage} -gt 70 ] || [[ $stage == *[!A-Za-z0-9/._-]* ]] || ! as_server_user test -x "$stage"; then
        rmdir "$stage"
        stage=$(mktemp -d /tmp/pgwarden-demo.XXXXXX)
        chmod 711 "$stage"
    fi
    mkdir -m 700 "$stage/server"
    [ "$(id -u)" != 0 ] || chown postgres:postgres "$stage/server"
    read -r postgres_port pgwarden_port admin_port watching_port watching_admin_port < <(free_ports)

    local user
    umask 077
    for user in app pgwarden_observer acme_app globex_app guest_app; do
        printf '127.0.0.1:*:*:%s:%s\n' "$user" "$(head -c 12 /dev/urandom | od -An -v -tx1 | tr -d ' \n')"
    done >"$stage/pgpass"
    export PGPASSFILE=$stage/pgpass
    # pgwarden's own users; the others exist on the server.
    awk -F: '$4 ~ /_app$/ { printf "\"%s\" \"%s\"\n", $4, $5 }' "$stage/pgpass" >"$stage/users.txt"
}

password_of() { awk -F: -v user="$1" '$4 == user { print $5 }' "$stage/pgpass"; }

# Five ports outside of the range that the system hands out to clients.
free_ports() {
    python3 - <<'PYTHON'
import random, socket

ports = []
for port in random.sample(range(20000, 32000), 200):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
    ports.append(port)
    if len(ports) == 5:
        break
print(*ports)
PYTHON
}

start_postgres() {
    local data=$stage/server/data log=$stage/server/log
    as_server_user "$postgres_bin/initdb" -D "$data" --username=postgres --no-sync --no-locale --encoding=UTF8 \
        --auth-local=trust --auth-host=scram-sha-256 >"$stage/initdb.log" 2>&1 ||
        { cat "$stage/initdb.log" >&2 && die "initdb failed"; }
    as_server_user tee -a "$data/postgresql.conf" >/dev/null <<SETTINGS
listen_addresses = '127.0.0.1'
port = $postgres_port
unix_socket_directories = '$stage/server'
max_connections = 40
shared_buffers = 32MB
fsync = off
full_page_writes = off
autovacuum = off
SETTINGS
    as_server_user "$postgres_bin/pg_ctl" -D "$data" -l "$log" -w -s start >/dev/null ||
        { cat "$log" >&2 && die "PostgreSQL does not start"; }
}

# The superuser, over the unix socket that only this account reaches; statements or files.
as_superuser() {
    "$postgres_bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 \
        -d "host=$stage/server port=$postgres_port user=postgres dbname=$database" "$@"
}

# The database $database, as the platform has it today.
load_platform() {
    local file
    database=postgres as_superuser -c "CREATE DATABASE $database"
    for file in 01-schema 02-roles 03-active-organisation 05-data; do
        as_superuser -f "$examples/$file.sql"
    done
    as_superuser -f - <<<"ALTER ROLE app PASSWORD '$(password_of app)'"
}

# By environment variables alone; scene_before shows them.
start_pgwarden() {
    local upstream=postgres://app:$(password_of app)@127.0.0.1:$postgres_port/platform?sslmode=disable
    environment=(
        "PGWARDEN_LISTEN=127.0.0.1:$pgwarden_port"
        "PGWARDEN_MODE=enforce"
        "PGWARDEN_POOL_MODE=transaction"
        "PGWARDEN_POOL_SIZE=2"
        "PGWARDEN_AUTH=scram-sha-256"
        "PGWARDEN_USERS_FILE=$stage/users.txt"
        "PGWARDEN_FIXED=acme_app=tenant:$acme;user:$acme_owner, globex_app=tenant:$globex;user:$globex_owner"
        "PGWARDEN_CONTEXT=app.current_org_id=tenant:uuid, app.current_user_id=user:uuid"
        "PGWARDEN_ADMIN=127.0.0.1:$admin_port"
    )
    # The variable with a password is not an argument, because everybody sees arguments.
    PGWARDEN_UPSTREAM=$upstream setsid env -- "${environment[@]}" "$pgwarden" serve >"$stage/pgwarden.log" 2>&1 </dev/null &
    await_pgwarden pgwarden $!
}

# await_pgwarden NAME PROCESS: remembers the process, and waits until it is ready.
await_pgwarden() {
    printf '%s\n' "$2" >"$stage/$1.pid"
    for _ in {1..200}; do
        [[ $(admin /readyz 2>/dev/null) != *'"ready"'* ]] || return 0
        kill -0 "$2" 2>/dev/null || break
        sleep 0.05
    done
    answer=$(tail -n 5 "$stage/$1.log")
    fail 'pgwarden does not become ready'
}

# What the admin listener answers; without curl, which need not be there.
admin() {
    exec 3<>"/dev/tcp/127.0.0.1/$admin_port" &&
        printf 'GET %s HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n' "$1" >&3 && cat <&3 && exec 3>&-
}

# Stops whatever runs in the stage, and removes it.
strike_stage() {
    local file
    for file in "$stage"/*.pid; do
        [ ! -e "$file" ] || stop_pgwarden "$(<"$file")"
    done
    if [ -e "$stage/server/data/postmaster.pid" ]; then
        as_server_user "$postgres_bin/pg_ctl" -D "$stage/server/data" -s -w -t 20 -m fast stop >/dev/null 2>&1 ||
            as_server_user "$postgres_bin/pg_ctl" -D "$stage/server/data" -s -w -m immediate stop >/dev/null 2>&1 || true
    fi
    rm -rf "$stage"
    stage=''
}

stop_pgwarden() {
    grep -qz serve "/proc/$1/cmdline" 2>/dev/null || return 0
    kill -TERM "$1" 2>/dev/null || true
    for _ in {1..100}; do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.02
    done
    kill -KILL "$1" 2>/dev/null || true
}

# Runs at every end, with the exit code.
clean_up() {
    local code=$1
    trap '' HUP INT PIPE TERM
    set +e
    [ -z "$build" ] || kill -TERM -- "-$build" 2>/dev/null
    [ -n "$stage" ] && [ -d "$stage" ] || exit "$code"
    if [ "$code" = 1 ]; then
        { printf '\npgwarden said:\n' && tail -n 20 "$stage"/pgwarden.log "$stage"/watching.log; } >&2 2>/dev/null
        { printf '\nPostgreSQL said:\n' && tail -n 20 "$stage/server/log"; } >&2 2>/dev/null
    fi
    [ "$keep" = yes ] && [ "$code" = 0 ] || strike_stage
    exit "$code"
}

# stop_kept DIRECTORY: the end of a demo that was kept.
stop_kept() {
    stage=$(cd "$1" 2>/dev/null && pwd) || die "there is no directory $1"
    [[ ${stage##*/} == pgwarden-demo.* && -e $stage/pgwarden.pid ]] || die "$1 is not a demo's directory"
    strike_stage
}
