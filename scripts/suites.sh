#!/usr/bin/env bash
# The test suites of asyncpg and of Django's database layer on PostgreSQL 15: direct, and through pgwarden in session and in
# transaction mode, without a context. What fails through pgwarden must fail direct as well, or stand in
# tests/suites/expected-differences.md.
#
# Arguments: `session`, `transaction`, or both (the default).
set -euo pipefail
. "$(dirname "$0")/stage.sh"

[ $# -gt 0 ] || set -- session transaction
results=$cache/suites/results
expected=$root/tests/suites/expected-differences.md
# Tests that look for files of their source tree, or start clusters, are left out.
asyncpg=(execute prepare transaction cursor copy codecs cancellation timeout cache_invalidation listeners introspection
    exceptions logging record utils pool adversity)
django=(backends transactions transaction_hooks select_for_update get_or_create bulk_create schema introspection timezones
    delete basic queries.test_bulk_update)

# run_asyncpg PORT OUTPUT
run_asyncpg() (
    cd "$cache/suites/asyncpg"
    PGHOST=127.0.0.1 PGPORT=$1 PGUSER=postgres PGDATABASE=postgres timeout 600 \
        "$cache/venv/bin/python" -m unittest "${asyncpg[@]/#/tests.test_}" >"$2" 2>&1
)

# run_django PORT OUTPUT
run_django() (
    cd "$cache/suites/django/tests"
    cat >"$work/pgwarden_settings.py" <<PYTHON
def database(name):
    address = {"HOST": "127.0.0.1", "PORT": $1, "USER": "postgres", "NAME": "postgres"}
    return {"ENGINE": "django.db.backends.postgresql", "TEST": {"NAME": f"django_{name}"}} | address

DATABASES = {"default": database("default"), "other": database("other")}
SECRET_KEY = "of the tests"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
PYTHON
    PYTHONPATH=$work timeout 900 "$cache/venv/bin/python" runtests.py --settings=pgwarden_settings --parallel=1 --noinput \
        "${django[@]}" >"$2" 2>&1
)

# run_suites NAME PORT: the names of the tests that fail, in results/NAME.failed.
run_suites() {
    local suite started
    for suite in asyncpg django; do
        started=$SECONDS
        "run_$suite" "$2" "$results/$1.$suite.txt" || true
        grep -q '^Ran [0-9]* tests' "$results/$1.$suite.txt" ||
            { tail -20 "$results/$1.$suite.txt" >&2; die "$1: the tests of $suite did not run"; }
        say "$1: $suite: $(grep '^Ran ' "$results/$1.$suite.txt" | cut -d ' ' -f 2) tests, $(tail -n 40 "$results/$1.$suite.txt" | grep -E '^(OK|FAILED)'), $((SECONDS - started)) s"
    done
    sed -nE 's/^(ERROR|FAIL): ([[:alnum:]_]+) .*/\2/p' "$results/$1".*.txt | sort -u >"$results/$1.failed"
}

# compare NAME: 1 when a test fails that may not.
compare() {
    local name outcome=0
    while read -r name; do
        if grep -q "^| \`$name\` | [a-z, ]*$1" "$expected"; then
            say "$1: $name fails, as it is known to"
        else
            say "$1: $name fails: $results/$1.*.txt"
            outcome=1
        fi
    done < <(comm -13 "$results/direct.failed" "$results/$1.failed")
    return $outcome
}

build_pgwarden
mkdir -p "$results"
start_server direct
run_suites direct "$server"
failed=0
for mode in "$@"; do
    start_server "$mode"
    start_pgwarden "$mode" "$results/$mode.pgwarden.log"
    run_suites "$mode" "$proxy"
    compare "$mode" || failed=1
done
exit $failed
