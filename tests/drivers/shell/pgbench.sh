#!/usr/bin/env bash
# Scenarios for pgbench. How to run them, and what the environment means: scenario.sh.
#
# Every transaction checks the context by itself: it divides by zero when the value is not the expected one, and the
# client stops. Besides, PGBENCH_INIT=1 also runs `pgbench -i` and its built-in scripts: they use tables with fixed names
# (pgbench_accounts, …) in SCENARIO_SCHEMA, which are dropped afterwards.
# PGBENCH_CLIENTS (default 16) and PGBENCH_TRANSACTIONS (per client, default 100) say how much.

# shellcheck source=scenario.sh
source "$(dirname "${BASH_SOURCE[0]}")/scenario.sh"

clients=${PGBENCH_CLIENTS:-16}
# A thread for each client: pgbench prepares a statement and connects anew without letting the other clients of the thread
# go on. One that waits for a backend would hold up those that have one in an open block, until the wait times out.
threads=$clients
transactions=${PGBENCH_TRANSACTIONS:-100}
check_on() { # check_on EXPECTED
    [[ -z $1 ]] && echo "SELECT $context;" || echo "SELECT 1 / ($context IS NOT DISTINCT FROM '$1')::int;"
}
check=$(check_on "$expect")

# bench WHAT COUNT ARGUMENTS…: runs pgbench and checks that COUNT transactions were made and none failed.
bench() {
    local what=$1 count=$2 out
    shift 2
    out=$(timeout "$timeout_seconds" pgbench -n -j "$threads" "$@" "$DATABASE_URL" 2>&1) || fail "$what: pgbench failed" "$out"
    contains "$out" "number of transactions actually processed: $count/$count" "$what"
    [[ $out != *"number of failed transactions"* ]] || contains "$out" "number of failed transactions: 0 " "$what"
}

reads_in() { # reads_in MODE
    new_table "id int PRIMARY KEY, balance bigint DEFAULT 0"
    sql -c "INSERT INTO $name SELECT generate_series(1, 1000)"
    cat >"$work/read.sql" <<SCRIPT
\\set id random(1, 1000)
SELECT id, balance FROM $name WHERE id = :id;
$check
SCRIPT
    bench "reads, $1" $((clients * transactions)) -M "$1" -c "$clients" -t "$transactions" -f "$work/read.sql"
}

reads_simple() { reads_in simple; }
reads_extended() { reads_in extended; }
reads_prepared() { reads_in prepared; }

# Each transaction moves an amount and notes it; in the end every balance must be the sum of what was noted.
transfers_in() { # transfers_in MODE
    new_table "id int, amount bigint, kind text"
    sql -c "INSERT INTO $name SELECT n, 0, 'balance' FROM generate_series(1, 20) n" -c "CREATE INDEX ON $name (id) WHERE kind = 'balance'"
    cat >"$work/transfer.sql" <<SCRIPT
\\set id random(1, 20)
\\set amount random(-5000, 5000)
BEGIN;
UPDATE $name SET amount = amount + :amount WHERE id = :id AND kind = 'balance';
$check
INSERT INTO $name VALUES (:id, :amount, 'entry');
END;
SCRIPT
    bench "transfers, $1" $((clients * transactions)) -M "$1" -c "$clients" -t "$transactions" -f "$work/transfer.sql"
    equal "$(sql -c "SELECT count(*) FROM $name WHERE kind = 'entry'")" $((clients * transactions)) "entries, $1"
    equal "$(sql -c "SELECT count(*) FROM (SELECT id FROM $name GROUP BY id
        HAVING sum(amount) FILTER (WHERE kind = 'balance') <> coalesce(sum(amount) FILTER (WHERE kind = 'entry'), 0)) AS wrong")" 0 "wrong balances, $1"
    check_tenants "$name" $((clients * transactions + 20)) "transfers, $1"
}

transfers_simple() { transfers_in simple; }
transfers_extended() { transfers_in extended; }
transfers_prepared() { transfers_in prepared; }

autocommit_inserts() {
    new_table "id int"
    echo "INSERT INTO $name VALUES (:client_id);" >"$work/insert.sql"
    local mode made=0
    for mode in simple extended prepared; do
        bench "inserts, $mode" $((clients * transactions)) -M "$mode" -c "$clients" -t "$transactions" -f "$work/insert.sql"
        made=$((made + clients * transactions))
        check_tenants "$name" "$made" "inserts, $mode"
    done
}

pipelines() {
    new_table "id int"
    cat >"$work/pipeline.sql" <<SCRIPT
\\startpipeline
$check
INSERT INTO $name VALUES (1);
BEGIN;
INSERT INTO $name VALUES (2);
$check
COMMIT;
INSERT INTO $name VALUES (3);
$check
\\endpipeline
SCRIPT
    local mode made=0
    for mode in extended prepared; do
        bench "pipeline, $mode" $((clients * transactions)) -M "$mode" -c "$clients" -t "$transactions" -f "$work/pipeline.sql"
        made=$((made + 3 * clients * transactions))
        check_tenants "$name" "$made" "pipeline, $mode"
    done
}

savepoints() {
    new_table "id int"
    cat >"$work/savepoint.sql" <<SCRIPT
BEGIN;
SAVEPOINT s;
INSERT INTO $name VALUES (1);
ROLLBACK TO s;
$check
INSERT INTO $name VALUES (2);
COMMIT;
SCRIPT
    local mode made=0
    for mode in simple extended prepared; do
        bench "savepoints, $mode" $((clients * transactions)) -M "$mode" -c "$clients" -t "$transactions" -f "$work/savepoint.sql"
        made=$((made + clients * transactions))
        check_tenants "$name" "$made" "savepoints, $mode"
    done
    equal "$(sql -c "SELECT DISTINCT id FROM $name")" 2 "only what came behind ROLLBACK TO"
}

serializable_with_retries() {
    [[ $(pgbench --version | grep -o '[0-9]*' | head -n 1) -ge 15 ]] || skip "needs pgbench 15 for --max-tries"
    new_table "id int, counter bigint"
    sql -c "INSERT INTO $name VALUES (1, 0)"
    cat >"$work/increment.sql" <<SCRIPT
BEGIN ISOLATION LEVEL SERIALIZABLE;
UPDATE $name SET counter = counter + 1 WHERE id = 1;
$check
COMMIT;
SCRIPT
    local mode made=0
    for mode in simple extended prepared; do
        bench "serializable, $mode" 200 -M "$mode" -c 4 -t 50 --max-tries=10000 -f "$work/increment.sql"
        made=$((made + 200))
        equal "$(sql -c "SELECT counter FROM $name")" "$made" "no increment lost, $mode"
    done
}

connection_churn() {
    echo "$check" >"$work/churn.sql"
    local mode
    for mode in simple prepared; do
        bench "one connection per transaction, $mode" 200 -C -M "$mode" -c 8 -t 25 -f "$work/churn.sql"
    done
}

wrong_context_is_noticed() {
    # The check itself: with another value expected, every client must stop.
    local out
    check_on "not a tenant" >"$work/wrong.sql"
    out=$(timeout 60 pgbench -n -c 2 -t 2 -f "$work/wrong.sql" "$DATABASE_URL" 2>&1) && fail "went through" "$out"
    contains "$out" "division by zero" "error"
}

two_tenants_at_once() {
    [[ -n ${OTHER_URL-} ]] || skip "OTHER_URL is not set"
    check_on "$expect" >"$work/first.sql"
    check_on "$other_expect" >"$work/second.sql"
    local mode
    for mode in simple extended prepared; do
        (DATABASE_URL=$OTHER_URL; bench "second tenant, $mode" $((clients * transactions)) -M "$mode" -c "$clients" -t "$transactions" -f "$work/second.sql") &
        bench "first tenant, $mode" $((clients * transactions)) -M "$mode" -c "$clients" -t "$transactions" -f "$work/first.sql"
        wait $! || fail "second tenant, $mode"
    done
}

built_in_scripts() {
    [[ ${PGBENCH_INIT-} == 1 ]] || skip "needs PGBENCH_INIT=1"
    export PGOPTIONS="-c search_path=$schema"
    # shellcheck disable=SC2064
    trap "timeout 60 pgbench -i -I d '$DATABASE_URL' >/dev/null 2>&1" EXIT
    local out mode made=0
    for steps in dtgvp dtGvp; do # rows sent by COPY, then rows made by the server
        out=$(timeout "$timeout_seconds" pgbench -i -q -I "$steps" -s 2 "$DATABASE_URL" 2>&1) || fail "pgbench -i -I $steps" "$out"
        equal "$(sql -c 'SELECT count(*) FROM pgbench_accounts')" 200000 "accounts after $steps"
    done
    for mode in simple extended prepared; do
        bench "tpcb-like, $mode" 400 -M "$mode" -c 8 -t 50 -b tpcb-like
        bench "simple-update, $mode" 400 -M "$mode" -c 8 -t 50 -b simple-update
        bench "select-only, $mode" 400 -M "$mode" -c 8 -t 50 -b select-only
        made=$((made + 800))
        equal "$(sql -c 'SELECT count(*) FROM pgbench_history')" "$made" "history, $mode"
        equal "$(sql -c 'SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history)')" t "balances, $mode"
    done
}

run_scenarios "$@" -- reads_simple reads_extended reads_prepared transfers_simple transfers_extended transfers_prepared \
    autocommit_inserts pipelines savepoints serializable_with_retries connection_churn wrong_context_is_noticed two_tenants_at_once \
    built_in_scripts
