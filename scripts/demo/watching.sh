# The second act's database, and a pgwarden that watches in front of it: sourced by demo.sh.

# What the commands of the second act are shown with instead of addresses and paths.
named=()

# The database as it is today, and a login for the observer.
load_today() {
    load_platform
    as_superuser -f - <<<"CREATE ROLE pgwarden_observer LOGIN NOINHERIT PASSWORD '$(password_of pgwarden_observer)'"
}

# What an owner of the tables uses, over the unix socket; the file is what every command of pgwarden reads.
open_watching() {
    owner="postgres://postgres@/$database?host=$stage/server&port=$postgres_port"
    trail=$stage/trail
    live=http://127.0.0.1:$admin_port
    named=("$owner" '$OWNER' "$live" '$LIVE' "$trail" '$TRAIL' "$examples/" '' "$stage/" '')
    export PGWARDEN_CONFIG=$stage/pgwarden.toml
    public_key=$("$pgwarden" audit keygen --out "$stage/audit.key")
    local user
    for user in app pgwarden_observer; do password_of "$user" >"$stage/$user.password"; done
    {
        before_shadow
        shadow_settings
    } >"$PGWARDEN_CONFIG"
}

# What act one says by environment variables.
before_shadow() {
    cat <<TOML
listen = ["127.0.0.1:$pgwarden_port"]
mode = "shadow"
pool.size = 4
admin.listen = "127.0.0.1:$admin_port"
auth.users_file = "$stage/users.txt"
upstream.url = "postgres://app@127.0.0.1:$postgres_port/$database?sslmode=disable"
upstream.password = "file:$stage/app.password"

[context]
variables = "app.current_org_id=tenant:uuid, app.current_user_id=user:uuid"
fixed = "acme_app=tenant:$acme;user:$acme_owner, globex_app=tenant:$globex;user:$globex_owner"

TOML
}

# What is new.
shadow_settings() {
    cat <<TOML
[shadow]
tenant_columns = ["organization_id"]    # whose a row is
[shadow.observer]                       # a login of its own: it looks at the catalog, and runs queries again
user = "pgwarden_observer"
password = "file:$stage/pgwarden_observer.password"
[shadow.rows]
window = "500ms"                        # 10s unless told otherwise; but nobody watches a demo for a week
[audit]
directory = "$trail"
signing_key = "file:$stage/audit.key"
checkpoints = "$stage/checkpoints"
window = "500ms"                        # 10s
coverage_window = "500ms"               # 5min
[report]
min_days = 0                            # 7
TOML
}

start_watching() {
    setsid "$pgwarden" serve >"$stage/watching.log" 2>&1 </dev/null &
    await_pgwarden watching $!
    until_true 'the observer knows the tables' grep -q 'the tables of the database are known' "$stage/watching.log"
}
