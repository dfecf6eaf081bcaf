#!/usr/bin/env bash
# Scenarios for pg_dump and pg_restore. How to run them, and what the environment means: scenario.sh.
#
# Dumps through DATABASE_URL must equal those through DIRECT_URL, byte for byte. Each scenario makes its own tables in
# SCENARIO_SCHEMA; DUMP_SCHEMA names a whole schema whose definition is compared as well.

# shellcheck source=scenario.sh
source "$(dirname "${BASH_SOURCE[0]}")/scenario.sh"

# Makes two tables with most of what a dump has to carry; sets `name`, and `pattern` that matches both.
new_tables() {
    new_table "id int PRIMARY KEY, words text NOT NULL DEFAULT 'ü', data bytea, at timestamptz, amount numeric(12,2), tags text[]"
    pattern="${name}*"
    sql <<SCRIPT
INSERT INTO $name (id, words, data, at, amount, tags)
    SELECT n, 'Grüße 🐘 \\ ' || n, decode(md5(n::text), 'hex'), '2024-02-29 12:00Z'::timestamptz + n * interval '1 hour',
           n / 100.0, ARRAY['a,b', NULL, n::text] FROM generate_series(1, 1000) n;
CREATE TABLE ${name}_child (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, parent int REFERENCES $name (id), small float8 DEFAULT 0.1);
INSERT INTO ${name}_child (parent, small) SELECT n, n / 3.0 FROM generate_series(1, 100) n;
CREATE INDEX ON ${name}_child (parent) WHERE small > 1;
CREATE VIEW ${name}_view AS SELECT id, words, amount * 2 AS double FROM $name;
COMMENT ON TABLE $name IS 'it''s a comment; with a semicolon';
ALTER TABLE $name ADD CONSTRAINT positive CHECK (amount > 0);
SCRIPT
    # shellcheck disable=SC2064
    trap "sql -c 'DROP TABLE IF EXISTS $name, ${name}_child CASCADE' 2>/dev/null || echo 'cannot drop $name' >&2" EXIT
}

# dump_on URL ARGUMENTS…: a dump without the random key that newer versions write.
dump_on() {
    local url=$1
    shift
    timeout "$timeout_seconds" pg_dump -d "$url" "$@" | sed -E '/^\\(un)?restrict /d'
}

needs_direct() {
    [[ -n ${DIRECT_URL-} ]] || skip "DIRECT_URL is not set"
}

# same_dump WHAT ARGUMENTS…: compares a dump through both; sets `dump`.
same_dump() {
    local what=$1
    shift
    dump=$(dump_on "$DATABASE_URL" "$@")
    equal "$dump" "$(dump_on "$DIRECT_URL" "$@")" "$what, against direct"
}

definition() {
    needs_direct
    new_tables
    same_dump "definition" -s -t "$pattern"
    contains "$dump" "CREATE VIEW ${name}_view" "the view is in it"
    contains "$dump" "FOREIGN KEY (parent) REFERENCES $name(id)" "the foreign key is in it"
    contains "$dump" "it''s a comment; with a semicolon" "the comment is in it"
}

definition_of_a_schema() {
    needs_direct
    [[ -n ${DUMP_SCHEMA-} ]] || skip "DUMP_SCHEMA is not set"
    same_dump "schema $DUMP_SCHEMA" -s -n "$DUMP_SCHEMA"
    contains "$dump" "CREATE SCHEMA $DUMP_SCHEMA" "the schema is in it"
}

data() {
    needs_direct
    new_tables
    same_dump "COPY" -t "$pattern"
    equal "$(grep -c $'^[0-9]*\tGrüße 🐘' <<<"$dump")" 1000 "rows"
    same_dump "INSERT" --inserts --column-inserts --rows-per-insert=50 -a -t "$pattern"
    same_dump "serializable" --serializable-deferrable -a -t "$name"
    same_dump "LATIN1" -E LATIN1 -t "${name}_child"
    if [[ -n $expect ]]; then
        equal "$(dump_on "$DATABASE_URL" -a -t "$name" | grep -cF "$expect")" 1000 "rows noted their tenant"
    fi
}

restore_custom_format() {
    new_tables
    local before
    before=$(dump_on "$DATABASE_URL" -t "$pattern")
    timeout "$timeout_seconds" pg_dump -Fc -f "$work/dump" -d "$DATABASE_URL" -t "$pattern"
    timeout "$timeout_seconds" pg_restore -e --clean --if-exists -d "$DATABASE_URL" "$work/dump"
    equal "$(dump_on "$DATABASE_URL" -t "$pattern")" "$before" "dumped, restored, dumped"
    timeout "$timeout_seconds" pg_restore -e -1 --clean -d "$DATABASE_URL" "$work/dump"
    check_tenants "$name" 1000 "restored in one transaction"
    sql -c "INSERT INTO ${name}_child (parent) VALUES (1)"
    equal "$(sql -c "SELECT max(id) FROM ${name}_child")" 101 "the sequence goes on"
}

restore_with_psql() {
    new_tables
    local before
    before=$(dump_on "$DATABASE_URL" -c --if-exists -t "$pattern")
    # Its first lines set search_path to nothing for the session; later sessions must not notice.
    sql >/dev/null <<<"$before"
    equal "$(dump_on "$DATABASE_URL" -c --if-exists -t "$pattern")" "$before" "dumped, restored, dumped"
    check_tenants "$name" 1000 "restored"
    [[ -n $(sql -c 'SHOW search_path') ]] || fail "search_path of the restoring session is left behind"
}

parallel_dump() {
    new_tables
    # Workers take over the snapshot of the first connection: three transactions at once, so three backends.
    timeout "$timeout_seconds" pg_dump -Fd -j 2 -f "$work/directory" -d "$DATABASE_URL" -t "$pattern"
    local before
    before=$(dump_on "$DATABASE_URL" -t "$pattern")
    sql -c "DROP TABLE $name, ${name}_child CASCADE"
    timeout "$timeout_seconds" pg_restore -e -j 2 -d "$DATABASE_URL" "$work/directory"
    equal "$(dump_on "$DATABASE_URL" -t "$pattern")" "$before" "dumped and restored in parallel"
    check_tenants "$name" 1000 "restored"
}

row_security() {
    new_table "id int"
    sql -c "INSERT INTO $name SELECT generate_series(1, 10)" -c "INSERT INTO $name VALUES (99, 'somebody else')" \
        -c "ALTER TABLE $name ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY" \
        -c "CREATE POLICY own ON $name USING (tenant = nullif($context, ''))"
    [[ $(sql -c "SELECT row_security_active('$name')") == t ]] || skip "the role is not bound by policies"
    local got
    # By default pg_dump refuses a dump that would be incomplete.
    got=$(dump_on "$DATABASE_URL" -a -t "$name" 2>&1) && fail "dumped although rows are hidden" "$got"
    contains "$got" "query would be affected by row-level security policy" "error"
    got=$(dump_on "$DATABASE_URL" -a --enable-row-security -t "$name")
    [[ $got != *"somebody else"* ]] || fail "the row of another tenant is in the dump"
    [[ -z $expect ]] || equal "$(grep -cF "$expect" <<<"$got")" 10 "own rows in the dump"
}

after_a_dump() {
    new_tables
    dump_on "$DATABASE_URL" -t "$pattern" >/dev/null
    in_context "$(sql -c "SELECT $context")" "after a dump"
    if [[ -n ${DIRECT_URL-} ]]; then
        local setting
        for setting in search_path row_security statement_timeout extra_float_digits DateStyle default_transaction_isolation; do
            equal "$(sql -c "SHOW $setting")" "$(sql_on "$DIRECT_URL" -c "SHOW $setting")" "$setting is not left behind"
        done
    fi
}

run_scenarios "$@" -- definition definition_of_a_schema data restore_custom_format restore_with_psql parallel_dump row_security after_a_dump
