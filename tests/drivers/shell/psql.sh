#!/usr/bin/env bash
# Scenarios for psql. How to run them, and what the environment means: scenario.sh.

# shellcheck source=scenario.sh
source "$(dirname "${BASH_SOURCE[0]}")/scenario.sh"

# older_client MAJOR: whether psql is older than MAJOR, and the server is not.
older_client() {
    local client server
    client=$(psql --version | grep -o '[0-9]*' | head -n 1)
    server=$(sql -c 'SHOW server_version_num')
    [[ $client -lt $1 && $((server / 10000)) -ge $1 ]]
}

connects() {
    equal "$(sql -c 'SELECT 1')" 1 "first query"
    in_context "$(sql -c "SELECT $context")" "first transaction"
    local number
    for number in 1 2 3 4 5 6 7 8; do
        sql -c "SELECT $context" >"$work/connection.$number" &
    done
    wait
    for number in 1 2 3 4 5 6 7 8; do
        in_context "$(cat "$work/connection.$number")" "one of eight, at once"
    done
}

server_parameters() {
    equal "$(sql <<<"\\echo :SERVER_VERSION_NUM")" "$(sql -c 'SHOW server_version_num')" "server version"
    equal "$(sql <<<"\\echo :ENCODING")" "$(sql -c 'SHOW client_encoding')" "client encoding"
    equal "$(sql -c 'SHOW application_name')" "pgw scenario" "application name"
    equal "$(PGAPPNAME=another sql -c 'SHOW application_name')" another "another's application name"
    equal "$(PGTZ=Asia/Tokyo sql -c "SELECT '2024-07-01 12:00+00'::timestamptz")" "2024-07-01 21:00:00+09" "PGTZ"
    equal "$(PGDATESTYLE='German, DMY' PGTZ=UTC sql -c "SELECT '2024-07-01 12:00+00'::timestamptz")" "01.07.2024 12:00:00 UTC" "PGDATESTYLE"
    in_context "$(PGTZ=Asia/Tokyo sql -c "SELECT $context")" "with start-up parameters"
}

startup_options() {
    local got
    got=$(PGOPTIONS='-c statement_timeout=12345 -c extra_float_digits=0 -c search_path=pg_catalog' sql \
        -c 'SHOW statement_timeout' -c 'SELECT 0.1::float8 + 0.2::float8' -c 'SHOW search_path' -c "SELECT $context")
    equal "$(head -n 3 <<<"$got")" $'12345ms\n0.3\npg_catalog' "options of the start-up packet"
    in_context "$(sed -n 4p <<<"$got")" "with options"
    equal "$(sql -c 'SELECT 0.1::float8 + 0.2::float8')" 0.30000000000000004 "the next one has its own"
}

types() {
    local row
    while IFS='|' read -r type text; do
        row=$(sql -F '|' -c "SET TIME ZONE 'UTC'" -c "SELECT '$text'::$type, $context")
        equal "${row%|*}" "$text" "$type"
        in_context "${row##*|}" "$type"
    done <<'VALUES'
bool|t
int8|-9223372036854775808
numeric|12345678901234567890.0123456789
text|Grüße, 世界 🐘 "double" back\slash $1 %s
bytea|\x0001027f80ff
jsonb|{"a": [1, null, "ü"], "b": {"c": 1.5}}
int4[]|{1,NULL,3}
text[]|{"a,b","c\"d",NULL,""}
timestamptz|2024-02-29 23:59:59.123456+00
uuid|a0000000-0000-4000-8000-000000000001
VALUES
    equal "$(sql -P null=NULL -c 'SELECT NULL::int')" NULL "NULL"
    row=$(sql -c "SET standard_conforming_strings = off" -c "SELECT 'a\\\\b\\'c;', $context" 2>/dev/null)
    equal "${row%|*}" "a\\b'c;" "standard_conforming_strings = off"
    in_context "${row##*|}" "standard_conforming_strings = off"
}

script_in_one_transaction() {
    new_table "id int"
    printf 'INSERT INTO %s VALUES (1);\nINSERT INTO %s VALUES (2);\nSELECT %s;\n' "$name" "$name" "$context" >"$work/script"
    in_context "$(sql -1 -f "$work/script")" "psql -1"
    check_tenants "$name" 2 "psql -1"
    echo 'SELECT 1 / 0;' >>"$work/script"
    sql -1 -f "$work/script" >/dev/null 2>"$work/error" && fail "the failing script went through"
    contains "$(cat "$work/error")" "division by zero" "error"
    check_tenants "$name" 2 "rolled back"
}

several_statements_in_one_query() {
    new_table "id int"
    local got
    got=$(sql -c "SELECT $context; BEGIN; INSERT INTO $name VALUES (1); SELECT $context; COMMIT; SELECT $context;
        BEGIN; INSERT INTO $name VALUES (2); ROLLBACK; SELECT $context; SELECT 'a;b'")
    equal "$(tail -n 1 <<<"$got")" "a;b" "last result"
    equal "$(wc -l <<<"$got")" 5 "results"
    local number
    for number in 1 2 3 4; do
        in_context "$(sed -n "${number}p" <<<"$got")" "SELECT $number of the string"
    done
    check_tenants "$name" 1 "after the string"
    equal "$(timeout 60 psql -X -A -t -d "$DATABASE_URL" -c "BEGIN; INSERT INTO $name VALUES (3); COMMIT; INSERT INTO $name VALUES (4)")" \
        $'BEGIN\nINSERT 0 1\nCOMMIT\nINSERT 0 1' "tags"
    check_tenants "$name" 3 "in the end"
}

isolation_levels() {
    local level got
    for level in "read uncommitted" "read committed" "repeatable read" "serializable"; do
        got=$(sql -c "BEGIN ISOLATION LEVEL $level" -c 'SHOW transaction_isolation' -c "SELECT $context" -c COMMIT)
        equal "$(head -n 1 <<<"$got")" "$level" "BEGIN ISOLATION LEVEL"
        in_context "$(tail -n 1 <<<"$got")" "$level"
    done
    got=$(sql -c BEGIN -c 'SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE' -c 'SHOW transaction_isolation' \
        -c 'SHOW transaction_read_only' -c "SELECT $context" -c COMMIT)
    equal "$(head -n 2 <<<"$got")" $'serializable\non' "SET TRANSACTION"
    in_context "$(tail -n 1 <<<"$got")" "after SET TRANSACTION"
    new_table "id int"
    got=$(sql -v VERBOSITY=sqlstate -c 'BEGIN READ ONLY' -c "INSERT INTO $name VALUES (1)" 2>&1) && fail "write in a read-only transaction"
    contains "$got" 25006 "write in a read-only transaction"
}

savepoints() {
    new_table "id int"
    local got
    got=$(sql -v ON_ERROR_STOP=0 2>&1 <<SCRIPT
BEGIN;
SAVEPOINT first;
SELECT $context;
ROLLBACK TO first;
SELECT $context;
INSERT INTO $name VALUES (1);
SAVEPOINT second;
INSERT INTO $name VALUES (2);
SELECT 1 / 0;
SELECT 1;
ROLLBACK TO second;
SELECT $context;
INSERT INTO $name VALUES (3);
COMMIT;
SCRIPT
    )
    equal "$(grep ERROR <<<"$got")" $'ERROR:  division by zero\nERROR:  current transaction is aborted, commands ignored until end of transaction block' "errors"
    [[ -z $expect ]] || equal "$(grep -cxF "$expect" <<<"$got")" 3 "contexts in: $got"
    equal "$(sql -c "SELECT id FROM $name ORDER BY id")" $'1\n3' "rows"
    check_tenants "$name" 2 "savepoints"
}

on_error_rollback() {
    # psql sets a savepoint in front of each statement, and goes back to it after an error.
    new_table "id int"
    local got
    got=$(sql -v ON_ERROR_STOP=0 -v ON_ERROR_ROLLBACK=on 2>&1 <<SCRIPT
BEGIN;
SELECT 1 / 0;
INSERT INTO $name VALUES (1);
SELECT nothing;
INSERT INTO $name VALUES (2);
SELECT $context;
COMMIT;
SCRIPT
    )
    equal "$(grep -c ERROR <<<"$got")" 2 "errors in: $got"
    in_context "$(tail -n 1 <<<"$got")" "after ON_ERROR_ROLLBACK"
    check_tenants "$name" 2 "ON_ERROR_ROLLBACK"
}

autocommit_off() {
    new_table "id int"
    sql -v AUTOCOMMIT=off <<<"INSERT INTO $name VALUES (1); COMMIT; INSERT INTO $name VALUES (2); ROLLBACK; SELECT $context;" >"$work/got"
    in_context "$(cat "$work/got")" "AUTOCOMMIT off"
    check_tenants "$name" 1 "AUTOCOMMIT off"
}

meta_commands() {
    new_table "id int PRIMARY KEY, words text NOT NULL"
    local got command
    got=$(sql -P tuples_only=off -c "\\d $name")
    contains "$got" "words|text||not null|" "\\d"
    contains "$got" "PRIMARY KEY, btree (id)" "\\d"
    for command in "\\dt $name" "\\dn" "\\du" "\\l" "\\df pg_catalog.pg_sleep" "\\dp $name" "\\dT int4" "\\sf pg_catalog.pg_relation_size(regclass)"; do
        # psql before 17 reads pg_database.daticulocale, which PostgreSQL 17 renamed.
        if [[ $command == "\\l" ]] && older_client 17; then continue; fi
        got=$(sql -c "$command") || fail "$command"
        [[ -n $got ]] || fail "$command shows nothing"
        [[ -z ${DIRECT_URL-} ]] || equal "$got" "$(sql_on "$DIRECT_URL" -c "$command")" "$command, against direct"
    done
    # The statement is parsed and described, but not executed.
    equal "$(sql <<<"SELECT 1 AS one, $context AS context \\gdesc")" $'one|integer\ncontext|text' "\\gdesc"
    equal "$(sql <<<$'SELECT 7 AS seven \\gset\n\\echo :seven')" 7 "\\gset"
    sql <<<"SELECT format('INSERT INTO $name VALUES (%s, %L)', n, 'w') FROM generate_series(1, 3) n \\gexec"
    check_tenants "$name" 3 "\\gexec"
    if [[ $(psql --version | grep -o '[0-9]*' | head -n 1) -ge 16 ]]; then
        equal "$(sql <<<$'SELECT $1::int + $2::int \\bind 3 4 \\g')" 7 "\\bind"
    fi
}

cursors() {
    local got
    got=$(sql -v FETCH_COUNT=100 -c "SELECT n, $context FROM generate_series(1, 1000) n")
    equal "$(cut -d '|' -f 1 <<<"$got" | md5sum)" "$(seq 1000 | md5sum)" "rows"
    [[ -z $expect ]] || equal "$(cut -d '|' -f 2 <<<"$got" | sort -u)" "$expect" "context of every row"
    got=$(sql -c BEGIN -c "DECLARE c SCROLL CURSOR FOR SELECT n, $context FROM generate_series(1, 10) n" -c 'MOVE 3 IN c' \
        -c "SELECT $context" -c 'FETCH 2 FROM c' -c 'FETCH LAST FROM c' -c COMMIT)
    equal "$(sed -n '2,$p' <<<"$got" | cut -d '|' -f 1)" $'4\n5\n10' "rows of the cursor"
    in_context "$(head -n 1 <<<"$got")" "beside an open cursor"
    in_context "$(tail -n 1 <<<"$got" | cut -d '|' -f 2)" "in the cursor"
}

copy_in_and_out() {
    new_table "id int, words text"
    printf '1\tGrüße 🐘\n2\t\\N\n3\t\n4\ta\\tb\n' >"$work/lines"
    sql -c "\\copy $name (id, words) FROM '$work/lines'"
    equal "$(sql -c "COPY (SELECT id, words FROM $name ORDER BY id) TO STDOUT")" "$(cat "$work/lines")" "COPY OUT gives what COPY IN took"
    in_context "$(sql -c "COPY (SELECT $context) TO STDOUT (FORMAT csv)")" "context in COPY OUT"
    check_tenants "$name" 4 "COPY IN"
    sql -c "\\copy (SELECT id, words FROM $name) TO '$work/binary' (FORMAT binary)"
    sql -c "TRUNCATE $name" -c "\\copy $name (id, words) FROM '$work/binary' (FORMAT binary)"
    equal "$(sql -c "COPY (SELECT id, words FROM $name ORDER BY id) TO STDOUT")" "$(cat "$work/lines")" "binary, out and in again"
    check_tenants "$name" 4 "binary COPY IN"
    # Data in the script, two COPY statements and others in one session. psql before 18 sends the line that ends CSV in a
    # script along with the data, where PostgreSQL 18 takes it for a row.
    local format="csv" six='6,"six"'
    if older_client 18; then format="text, DELIMITER ','" six=6,six; fi
    sql <<SCRIPT
COPY $name (id, words) FROM STDIN;
5	five
\\.
BEGIN;
COPY $name (id, words) FROM STDIN (FORMAT $format);
$six
\\.
COMMIT;
SCRIPT
    check_tenants "$name" 6 "COPY in a script"
}

copy_large() {
    new_table "id int, filler text"
    seq 300000 | sed "s/\$/\t$(printf 'x%.0s' {1..100})/" >"$work/large"
    sql -c "COPY $name (id, filler) FROM STDIN" <"$work/large"
    check_tenants "$name" 300000 "large COPY IN"
    equal "$(sql -c "COPY (SELECT id, filler FROM $name ORDER BY id) TO STDOUT" | md5sum)" "$(md5sum <"$work/large")" "large COPY OUT"
}

copy_fails() {
    new_table "id int"
    local got
    got=$( (seq 10000; echo "not a number"; seq 10000) | sql -v VERBOSITY=verbose -c "COPY $name (id) FROM STDIN" 2>&1) && fail "went through"
    contains "$got" '22P02: invalid input syntax for type integer: "not a number"' "error"
    contains "$got" "line 10001, column id" "where"
    check_tenants "$name" 0 "nothing was copied"
    # The session goes on after the error.
    got=$(sql -v ON_ERROR_STOP=0 2>/dev/null <<SCRIPT
COPY $name (id) FROM STDIN;
1
x
2
\\.
SELECT $context;
COPY (SELECT 1 / (5000 - n) FROM generate_series(1, 10000) n) TO STDOUT \\g /dev/null
SELECT $context;
SCRIPT
    )
    in_context "$(sed -n 1p <<<"$got")" "after the failed COPY IN"
    in_context "$(sed -n 2p <<<"$got")" "after the failed COPY OUT"
    check_tenants "$name" 0 "nothing was copied"
}

cancel() {
    # psql sends a CancelRequest when it is interrupted. With job control, so that a background job may be.
    set -m
    local mark=pgw_cancel_$$_$RANDOM pid before deadline=$((SECONDS + 30))
    before=$(sql -c 'SHOW statement_timeout')
    psql -X -q -A -t -v VERBOSITY=verbose -d "$DATABASE_URL" -c "SELECT pg_sleep(60) /* $mark */" >"$work/got" 2>"$work/error" &
    pid=$!
    # The marker in two parts: this query does not match itself.
    until [[ $(sql -c "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%' || '${mark:0:8}' || '${mark:8}' || '%'") == 1 ]]; do
        [[ $SECONDS -lt $deadline ]] || fail "the query was not seen to sleep"
    done
    kill -INT "$pid"
    wait "$pid" || true
    contains "$(cat "$work/error")" "57014: canceling statement due to user request" "error"
    equal "$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%' || '${mark:0:8}' || '${mark:8}' || '%'")" 0 "still running at the server"
    local got
    got=$(sql -v ON_ERROR_STOP=0 -c "SET statement_timeout = '50ms'" -c 'SELECT pg_sleep(60)' -c "SELECT $context" 2>"$work/error")
    contains "$(cat "$work/error")" "canceling statement due to statement timeout" "timeout"
    in_context "$got" "after a timeout"
    # The next session has its own settings, whatever this one left behind.
    equal "$(sql -c 'SHOW statement_timeout')" "$before" "statement_timeout of the next session"
}

large_values() {
    local size=$((20 * 1024 * 1024))
    new_table "words text"
    # In: a statement of 20 MB. Out: a row of 20 MB.
    { printf "INSERT INTO %s VALUES ('" "$name"; head -c "$size" /dev/zero | tr '\0' y; printf "');\n"; } | sql
    equal "$(sql -c "SELECT length(words), md5(words) FROM $name")" "$size|$(head -c "$size" /dev/zero | tr '\0' y | md5sum | cut -d ' ' -f 1)" "what arrived"
    equal "$(sql -c "SELECT words FROM $name" | md5sum)" "$( { head -c "$size" /dev/zero | tr '\0' y; echo; } | md5sum)" "what came back"
    check_tenants "$name" 1 "large"
}

large_objects() {
    # \lo_import and \lo_export use FunctionCall messages.
    head -c 300000 /dev/urandom >"$work/object"
    local got oid
    got=$(sql <<SCRIPT
\\lo_import '$work/object'
\\echo :LASTOID
\\lo_export :LASTOID '$work/copy'
\\lo_unlink :LASTOID
SELECT $context;
SCRIPT
    )
    cmp "$work/object" "$work/copy" || fail "the large object came back different"
    in_context "$(tail -n 1 <<<"$got")" "after large objects"
    oid=$(grep -oE '^[0-9]+$' <<<"$got" | head -n 1)
    equal "$(sql -c "SELECT count(*) FROM pg_largeobject_metadata WHERE oid = $oid")" 0 "unlinked"
}

errors() {
    local query got
    # The caret under the position, the SQLSTATE and the place in the source: as direct, character for character.
    got=$(sql -c "SELECT 'ü世🐘', nothing" 2>&1) && fail "went through"
    equal "$(head -n 1 <<<"$got")" 'ERROR:  column "nothing" does not exist' "message"
    equal "$(sed -n 2p <<<"$got")" "LINE 1: SELECT 'ü世🐘', nothing" "line"
    contains "$(sed -n 3p <<<"$got")" "^" "caret"
    new_table "id int PRIMARY KEY"
    sql -c "INSERT INTO $name VALUES (1)"
    for query in "SELECT 1 FORM x" "SELECT 'ü世🐘', nothing" "/* ü */ SELECT * FROM no_such_table" "SELECT no_such_function(1)" \
        "SELECT 'unterminated" "SELECT 1 / 0" "INSERT INTO $name VALUES (1)" "SELECT 1; SELECT 2; SELECT * FORM x" "SELECT 1; SELECT nothing" \
        "BEGIN; SELECT 1; COMMIT; SELECT nothing" "BEGIN; SELECT 1 / 0; COMMIT"; do
        got=$(sql -v VERBOSITY=verbose -c "$query" 2>&1) && fail "$query went through"
        contains "$got" "ERROR:" "$query"
        if [[ -n ${DIRECT_URL-} ]]; then
            equal "$got" "$(sql_on "$DIRECT_URL" -v VERBOSITY=verbose -c "$query" 2>&1)" "$query, against direct"
        fi
    done
    got=$(sql -v ON_ERROR_STOP=0 -v VERBOSITY=sqlstate -c BEGIN -c 'SELECT 1 / 0' -c 'SELECT 1' -c COMMIT -c "SELECT $context" 2>"$work/error")
    equal "$(cat "$work/error")" $'ERROR:  22012\nERROR:  25P02' "errors in a block"
    in_context "$got" "after the failed block"
}

notices() {
    new_table "id int"
    local got
    got=$(sql -c "DO \$\$ BEGIN RAISE NOTICE 'one %', 'ü'; INSERT INTO $name VALUES (1); RAISE WARNING 'two'; END \$\$" 2>&1)
    equal "$got" $'NOTICE:  one ü\nWARNING:  two' "notices"
    check_tenants "$name" 1 "DO"
    equal "$(sql -c COMMIT -c BEGIN -c BEGIN -c ROLLBACK 2>&1)" \
        $'WARNING:  there is no transaction in progress\nWARNING:  there is already a transaction in progress' "warnings about transactions"
    equal "$(sql -c "SELECT 1" -c "SELECT 2" 2>&1)" $'1\n2' "no notices of somebody else's"
}

discard() {
    local got
    got=$(sql <<SCRIPT
SET TIME ZONE 'Asia/Tokyo';
DISCARD ALL;
SHOW TimeZone;
SELECT $context;
DEALLOCATE ALL;
SELECT $context;
RESET ALL;
SELECT $context;
SCRIPT
    )
    equal "$(head -n 1 <<<"$got")" "$(sql -c 'SHOW TimeZone')" "time zone after DISCARD ALL"
    local number
    for number in 2 3 4; do
        in_context "$(sed -n "${number}p" <<<"$got")" "line $number"
    done
}

client_encoding() {
    equal "$(PGCLIENTENCODING=LATIN1 sql -c "SELECT 'Gr' || chr(252) || chr(223) || 'e'" | od -An -tx1 | tr -d ' \n')" 4772fcdf650a "LATIN1 at start"
    equal "$(sql <<<$'SET client_encoding = \'LATIN1\';\nSELECT chr(252);' | od -An -tx1 | tr -d ' \n')" fc0a "LATIN1 by SET"
    in_context "$(PGCLIENTENCODING=LATIN1 sql -c "SELECT $context")" "in LATIN1"
    local got
    got=$(PGCLIENTENCODING=LATIN1 sql -v ON_ERROR_STOP=0 -v VERBOSITY=sqlstate -c 'SELECT chr(128024)' -c "SELECT $context" 2>"$work/error")
    equal "$(cat "$work/error")" "ERROR:  22P05" "no such character in LATIN1"
    in_context "$got" "after an encoding error"
}

two_tenants_interleaved() {
    [[ -n ${OTHER_URL-} ]] || skip "OTHER_URL is not set"
    local number
    for number in 1 2 3 4 5 6; do
        for side in first second; do
            [[ $side == first ]] && url=$DATABASE_URL || url=$OTHER_URL
            { for _ in {1..50}; do printf 'SELECT %s;\nBEGIN;\nSELECT %s;\nCOMMIT;\n' "$context" "$context"; done; } |
                sql_on "$url" >"$work/$side.$number" &
        done
    done
    wait
    for number in 1 2 3 4 5 6; do
        [[ -z $expect ]] || equal "$(sort "$work/first.$number" | uniq -c | tr -s ' ')" " 100 $expect" "first tenant, session $number"
        [[ -z $other_expect ]] || equal "$(sort "$work/second.$number" | uniq -c | tr -s ' ')" " 100 $other_expect" "second tenant, session $number"
    done
}

session_state() {
    [[ ${POOL_MODE-} == session ]] || skip "needs POOL_MODE=session"
    new_name
    local got temporary=${name##*.}
    got=$(sql 2>&1 <<SCRIPT
CREATE TEMPORARY TABLE $temporary AS SELECT 7 AS id;
SELECT id FROM $temporary;
LISTEN $temporary;
NOTIFY $temporary, 'hello';
SELECT pg_try_advisory_lock($$);
SELECT pg_advisory_unlock($$);
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT 8;
COMMIT;
FETCH ALL FROM held;
PREPARE by_sql (int) AS SELECT \$1 + 1;
EXECUTE by_sql (8);
SELECT $context;
SCRIPT
    )
    equal "$(grep -v Asynchronous <<<"$got" | head -n 5)" $'7\nt\nt\n8\n9' "session state"
    in_context "$(grep -v Asynchronous <<<"$got" | tail -n 1)" "in a session"
    contains "$got" "Asynchronous notification \"$temporary\" with payload \"hello\"" "notification"
}

run_scenarios "$@" -- connects server_parameters startup_options types script_in_one_transaction several_statements_in_one_query \
    isolation_levels savepoints on_error_rollback autocommit_off meta_commands cursors copy_in_and_out copy_large copy_fails cancel \
    large_values large_objects errors notices discard client_encoding two_tenants_interleaved session_state
