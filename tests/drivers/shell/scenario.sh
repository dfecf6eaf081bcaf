# What the shell scenario programs share: settings, checks and the runner. Sourced, not run.
#
# The environment is the same as for the Python programs:
#   DATABASE_URL, EXPECT_TENANT_VALUE, OTHER_URL, OTHER_EXPECT_TENANT_VALUE, DIRECT_URL, SCENARIO_SCHEMA, POOL_MODE
# (../python/scenario.py says what each means). Arguments are names of scenarios to run; `--list` prints them all.
# A scenario is a function; it runs in a subshell with errexit, and says what is wrong on its standard error.

set -uo pipefail

expect=${EXPECT_TENANT_VALUE-}
other_expect=${OTHER_EXPECT_TENANT_VALUE-}
schema=${SCENARIO_SCHEMA:-public}
timeout_seconds=${SCENARIO_TIMEOUT:-120}
context="current_setting('app.current_org_id', true)"
export PGCONNECT_TIMEOUT=30 PGAPPNAME="pgw scenario"
unset PGOPTIONS PGTZ PGDATESTYLE PGCLIENTENCODING
export LC_ALL=C.UTF-8

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
table_number=0
skip_code=77

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

skip() {
    printf '%s\n' "$1" >&2
    exit "$skip_code"
}

# equal GOT WANT WHAT
equal() {
    [[ $1 == "$2" ]] && return
    fail "$3" "$(diff -u --label expected --label got <(printf '%s\n' "$2") <(printf '%s\n' "$1") | cut -c1-400 | head -40)"
}

# contains TEXT PART WHAT
contains() {
    [[ $1 == *"$2"* ]] || fail "$3" "    expected to find: $2" "    in: ${1:0:2000}"
}

# psql as a scenario uses it: no start-up file, unaligned, rows only, stops at the first error.
sql() {
    sql_on "$DATABASE_URL" "$@"
}

sql_on() {
    local url=$1
    shift
    timeout "$timeout_seconds" psql -X -q -A -t -v ON_ERROR_STOP=1 -d "$url" "$@"
}

# in_context GOT WHAT: checks a value of the context that a statement returned.
in_context() {
    [[ -z $expect ]] || equal "$1" "$expect" "$2"
}

# check_tenants TABLE COUNT WHAT: checks that a table holds COUNT rows, all written for the expected tenant.
check_tenants() {
    equal "$(sql -c "SELECT count(*) FROM $1")" "$2" "$3: rows"
    if [[ -n $expect && $2 != 0 ]]; then
        equal "$(sql -c "SELECT DISTINCT tenant FROM $1")" "$expect" "$3: tenants of the rows"
    fi
}

# new_name: sets `name` to a qualified name that nobody else uses.
new_name() {
    table_number=$((table_number + 1))
    name="$schema.pgw_$$_$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')_$table_number"
}

# new_table COLUMNS: creates a table, sets `name`, and drops it when the scenario ends. Rows note by themselves which
# tenant they were written for.
new_table() {
    new_name
    sql -c "CREATE TABLE $name ($1, tenant text DEFAULT $context)"
    # shellcheck disable=SC2064  # the name of now
    trap "PGOPTIONS= sql -c 'DROP TABLE IF EXISTS $name CASCADE' 2>/dev/null || echo 'cannot drop $name' >&2" EXIT
}

# run_scenarios ARGUMENTS… -- SCENARIOS…: runs the scenarios named by the arguments, or all; ends the program.
run_scenarios() {
    local wanted=() passed=0 failed=0 each code
    while [[ $1 != -- ]]; do
        wanted+=("$1")
        shift
    done
    shift
    if [[ ${wanted[*]-} == --list ]]; then
        printf '%s\n' "$@"
        exit 0
    fi
    if [[ -z ${DATABASE_URL-} ]]; then
        echo "DATABASE_URL is not set" >&2
        exit 2
    fi
    for each in "${wanted[@]}"; do
        if [[ " $* " != *" $each "* ]]; then
            echo "unknown scenario: $each" >&2
            exit 2
        fi
    done
    for each in "$@"; do
        [[ ${#wanted[@]} == 0 || " ${wanted[*]} " == *" $each "* ]] || continue
        (
            trap - EXIT
            set -e
            "$each"
        ) >"$work/out" 2>&1
        code=$?
        if [[ $code == 0 ]]; then
            echo "ok $each"
            passed=$((passed + 1))
        elif [[ $code == "$skip_code" ]]; then
            echo "skip $each: $(tail -n 1 "$work/out")"
        else
            echo "FAILED $each (status $code):"
            head -c 8000 "$work/out" | sed 's/^/    /'
            failed=$((failed + 1))
        fi
    done
    echo "$passed passed, $failed failed"
    [[ $failed == 0 ]]
    exit
}
