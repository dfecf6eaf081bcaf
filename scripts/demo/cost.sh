# What the context costs: sourced by demo.sh.

# lane PORT USER SCRIPT [OPTIONS]: µs per query of one client. A query that does not find its row fails the run.
lane() {
    local output
    output=$("$postgres_bin/pgbench" -n -M prepared -c 1 -T 1 -f "$stage/$3.sql" \
        "host=127.0.0.1 port=$1 user=$2 dbname=platform${4:+ options='$4'}" 2>&1) || {
        answer=$output
        fail "the measurement \"$3\""
    }
    awk '$1 == "tps" { printf "%.1f\n", 1e6 / $3 }' <<<"$output"
}

median() { sort -n | awk '{ values[NR] = $1 } END { printf "%.0f\n", values[int((NR + 1) / 2)] }'; }

scene_cost() {
    scene 'What it costs'
    local query="SELECT name FROM platform.projects WHERE id = 'a0000000-0000-4000-8000-0000000000b1' \\gset"
    printf '%s\n' "$query" >"$stage/query.sql"
    printf '%s\n' 'BEGIN;' "SELECT set_config('app.current_org_id', '$acme', true),
        set_config('app.current_user_id', '$acme_owner', true);" "$query" 'COMMIT;' >"$stage/wrapped.sql"
    local fixed="-c app.current_org_id=$acme -c app.current_user_id=$acme_owner"
    local bare=() wrapped=() injected=()
    for _ in 1 2 3; do # in turns, so that a busy moment meets all of them
        bare+=("$(lane "$postgres_port" app query "$fixed")")
        wrapped+=("$(lane "$postgres_port" app wrapped)")
        injected+=("$(lane "$pgwarden_port" acme_app query)")
    done
    report "$(printf '%s\n' "${bare[@]}" | median)" "$(printf '%s\n' "${wrapped[@]}" | median)" \
        "$(printf '%s\n' "${injected[@]}" | median)"
}

report() {
    local row='   %-68s %5d µs   %s\n' bare=$1 wrapped=$2 injected=$3
    tell 'One row by its key through the same policies; pgbench, prepared statements, one client, loopback;' \
        'median of three rounds of a second each, in turns.' ''
    # shellcheck disable=SC2059 # the format is the table
    {
        printf "$row" 'direct, the application sends BEGIN; set_config; SELECT; COMMIT' "$wrapped" '1.00×'
        printf "$row" 'through pgwarden, the application sends SELECT' "$injected" "$(ratio "$injected" "$wrapped")"
        printf "$row" 'direct, SELECT alone: context fixed for the whole connection' "$bare" "$(ratio "$bare" "$wrapped")"
    }
    tell '' "Through pgwarden a query takes $(ratio "$injected" "$wrapped") the time of the application's own way, and" \
        "$((injected - bare)) µs more than the query alone. That one is a floor: its tenant cannot change, so it needs a" \
        'connection per tenant. These are seconds on this machine, not a benchmark (./run bench is one). Over a network' \
        'round trips decide: four in the first line, one in the others; pgwarden adds a hop unless it runs beside the' \
        'application.'
    [ -z "$build_is_unknown" ] || tell 'The program is that of PGWARDEN_BIN: if it is a debug build, these figures say little.'
}

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f×", a / b }'; }
