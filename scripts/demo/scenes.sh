# What the demo shows: sourced by demo.sh.

# Attempts to set the tenant that pgwarden has to have counted at the end.
settings_touched=3

projects='SELECT name FROM platform.projects ORDER BY name'

scene_before() {
    scene 'Before: the schema as many products have it'
    tell 'Row level security is on for all 25 tables, but each has one permissive policy, USING (true):' \
        'the application alone keeps Acme (3 projects) and Globex (2) apart. pgwarden stands in front of it, with' ''
    printf '      %s\n' "PGWARDEN_UPSTREAM=postgres://app:…@127.0.0.1:$postgres_port/platform" "${environment[@]}"
    tell '' 'acme_app and globex_app are users of pgwarden; PostgreSQL only ever sees the login "app".'
    ask pgwarden acme_app "$projects"
    worked 'with permissive policies everybody sees everything' 'Acme Shop' 'Globex Portal' '(5 rows)'
}

scene_policies() {
    scene 'The policies that were waiting are applied'
    as_superuser -f "$examples/04-restrictive-policies.sql"
    # ANDed with the others, so that a permissive policy which somebody adds later cannot open the table.
    as_superuser -f - <<'SQL'
CREATE POLICY projects_fence ON platform.projects AS RESTRICTIVE FOR ALL TO PUBLIC
    USING (organization_id = (SELECT platform.current_org_id())
           AND (SELECT platform.user_is_org_member(platform.current_org_id())));
CREATE POLICY oversight ON platform.projects AS PERMISSIVE FOR SELECT TO PUBLIC USING (true);
SQL
    answer=$(as_superuser -c "SELECT count(*) || ' policies, ' || count(*) FILTER (WHERE permissive = 'RESTRICTIVE')
        || ' of them RESTRICTIVE' FROM pg_policies WHERE schemaname = 'platform'")
    tell "One policy per table and command, from app.current_org_id and app.current_user_id: $answer." \
        'For platform.projects a RESTRICTIVE policy holds although a permissive USING (true) was left behind as well.'
    answer=$(as_superuser -f "$examples/06-check.sql" 2>&1) || fail 'the checks of the example'
    [[ $answer == *'isolation holds' ]] || fail 'the checks of the example'
    holds '06-check.sql, on the server itself: isolation holds'
}

scene_two_tenants() {
    scene 'The same query, two tenants'
    tell 'No SET, no BEGIN, nothing in the application: pgwarden puts the context into the transaction.'
    ask pgwarden acme_app "$projects"
    worked 'Acme sees its own three projects' 'Acme Blog' 'Acme Lab' 'Acme Shop' '(3 rows)'
    hidden Globex
    ask pgwarden globex_app "$projects"
    worked 'Globex sees its own two' 'Globex Data' 'Globex Portal' '(2 rows)'
    hidden Acme
    ask pgwarden globex_app "SELECT current_user, current_setting('app.current_org_id') AS org"
    worked 'the server knows one login, and the tenant of this transaction' ' app ' "$globex"
    hidden "$acme"
}

scene_without_context() {
    scene 'Without a context'
    tell 'guest_app may log in, but nothing says which tenant it works for. An empty result would hide that.'
    ask pgwarden guest_app "$projects"
    refused 'refused before it reached the server' 42501 'no tenant context'
    ask pgwarden guest_app 'SELECT 1 AS alive'
    worked 'health checks and start-up queries of drivers run' '(1 row)'
}

scene_crossing() {
    scene 'Acme tries to reach Globex'
    ask pgwarden acme_app "SET app.current_org_id = '$globex'"
    refused 'pgwarden refuses it' 42501 'permission denied to change the tenant context'
    ask pgwarden acme_app "SELECT set_config('app.current_org_id', '$globex', false)"
    refused 'and so the function' 42501 'permission denied to change the tenant context'
    tell "… in the connection's options: PGOPTIONS='-c app.current_org_id=$globex'"
    options="-c app.current_org_id=$globex" ask pgwarden acme_app 'SELECT 1'
    refused 'then it is not let in' FATAL 'permission denied to set "app.current_org_id"'
    ask pgwarden acme_app "SELECT name FROM platform.projects WHERE organization_id = '$globex'"
    worked "the policies hide the other tenant's rows" '(0 rows)'
    hidden Globex
    ask pgwarden acme_app \
        "INSERT INTO platform.projects (organization_id, name, slug, ref) VALUES ('$globex', 'x', 'x', 'x')"
    refused 'the policies refuse a row for the other tenant' 42501 'row-level security policy'
    ask pgwarden acme_app "UPDATE platform.projects SET organization_id = '$globex' WHERE slug = 'lab'"
    refused 'and one that would move there' 42501 'row-level security policy'
    ask pgwarden acme_app "DELETE FROM platform.projects WHERE ref = 'globex-portal'"
    worked 'nothing of Globex is deleted' 'DELETE 0'
    answer=$(as_superuser -c "SELECT count(*) FROM platform.projects WHERE organization_id = '$globex'")
    [ "$answer" = 2 ] || fail "Globex should still have 2 projects"
}

# Every transaction checks that it sees all of its own rows and no other; a wrong one is a division by zero.
scene_shared_backends() {
    scene 'Sixteen clients of two tenants share two backends'
    local tenant rows organisation running=() outputs=() transactions total=0
    for tenant in acme globex; do
        rows=3 organisation=$acme
        [ "$tenant" = acme ] || rows=2 organisation=$globex
        printf '%s\n' "SELECT 1 / (count(*) = $rows AND bool_and(organization_id = '$organisation'))::int
            FROM platform.projects;" >"$stage/$tenant.sql"
        "$postgres_bin/pgbench" -n -M prepared -c 8 -T 2 -f "$stage/$tenant.sql" \
            "host=127.0.0.1 port=$pgwarden_port user=${tenant}_app dbname=platform" >"$stage/$tenant.out" 2>&1 &
        running+=($!) outputs+=("$stage/$tenant.out")
    done
    status=0
    wait "${running[0]}" || status=$?
    wait "${running[1]}" || status=$?
    answer=$(cat "${outputs[@]}")
    [ "$status" = 0 ] || fail 'a transaction saw rows that it should not see, or missed some'
    for transactions in $(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "${outputs[@]}"); do
        total=$((total + transactions))
    done
    [ "$total" -gt 0 ] || fail 'no transaction ran'
    answer=$(as_superuser -c "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")
    [ "$answer" -le 2 ] || fail "pgwarden was told to open two backends and has $answer"
    tell 'Transaction pooling, prepared statements; each transaction checks that every row it sees is its own.'
    holds "$total transactions in 2 seconds, none saw a row of the other tenant; $answer backends"
}

scene_driver() {
    local python=$cache/venv/bin/python
    "$python" -c 'import psycopg' 2>/dev/null || return 0
    scene 'A driver: psycopg 3, the same program for both tenants'
    status=0
    answer=$("$python" "$here/demo/client.py" "host=127.0.0.1 port=$pgwarden_port dbname=platform" 2>&1) || status=$?
    indented "$answer"
    worked 'server-side prepared statements, blocks, savepoints and errors keep their tenant' 'acme_app' 'globex_app'
    settings_touched=$((settings_touched + 2))
}

scene_direct() {
    scene 'The same login without pgwarden'
    tell 'What the application had to do itself, in every place and language, and what happens when it forgets:'
    ask postgres app "$projects"
    worked 'forgotten: no rows, and nobody is told' '(0 rows)'
    ask postgres app BEGIN \
        "SELECT set_config('app.current_org_id', '$acme', true), set_config('app.current_user_id', '$acme_owner', true)" \
        "$projects" COMMIT
    worked 'done: four round trips for one query' 'Acme Shop' '(3 rows)'
    hidden Globex
    ask postgres app \
        "SELECT set_config('app.current_org_id', '$globex', false), set_config('app.current_user_id', '$globex_owner', false)" \
        "$projects"
    worked 'and whoever holds this login chooses the tenant' 'Globex Portal' '(2 rows)'
    tell 'So its password belongs to pgwarden alone, and the port of the server to nobody else: SECURITY.md.'
}

# What pgwarden counted meanwhile.
scene_metrics() {
    scene 'What pgwarden counted'
    local metrics
    metrics=$(admin /metrics)
    answer=$(grep -E '^pgwarden_(transactions_total|injections_total|refusals_total|findings_total|logins_total|desyncs_total)' \
        <<<"$metrics" | grep -v ' 0$' | sort) || true
    indented "$answer"
    [[ $answer == *'pgwarden_findings_total{kind="context_missing",mode="enforce"} 1'* ]] ||
        fail 'one statement without a context should be counted'
    [[ $answer == *"pgwarden_findings_total{kind=\"setting_touched\",mode=\"enforce\"} $settings_touched"* ]] ||
        fail "$settings_touched attempts to set the tenant should be counted"
    [[ $answer != *desyncs* ]] || fail 'there was a reply that pgwarden did not expect'
    holds 'every refusal is counted; no label names a tenant, a user or a statement'
}

epilogue() {
    printf '\n%sEvery expectation held, in %d seconds.%s\n' "$bold" "$SECONDS" "$plain"
    [ "$keep" = yes ] || return 0
    cat <<TEXT

It is left running. The passwords are in $stage/pgpass:

  export PGPASSFILE=$stage/pgpass
  psql 'postgres://acme_app@127.0.0.1:$pgwarden_port/platform'      through pgwarden, as Acme
  psql 'postgres://globex_app@127.0.0.1:$pgwarden_port/platform'    as Globex
  psql 'postgres://guest_app@127.0.0.1:$pgwarden_port/platform'     without a context
  psql 'postgres://app@127.0.0.1:$postgres_port/platform'           past pgwarden
  psql -h $stage/server -p $postgres_port -U postgres platform      superuser

  http://127.0.0.1:$admin_port/metrics, /readyz, /healthz           log: $stage/pgwarden.log

The trail of the second act is in $stage/trail, its database is called "today".

Stop it, and remove everything:

  scripts/demo.sh --stop $stage
TEXT
}
