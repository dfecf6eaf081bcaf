#!/usr/bin/env bash
# PostgreSQL's own regression tests on PostgreSQL 15: direct, and through pgwarden in session and in transaction mode,
# without a context. What a run through pgwarden gives must be what the direct one gave; with transaction pooling the
# tests named in tests/regress/expected-differences.md may differ.
#
# Each run has a cluster of its own: the tests leave roles and databases behind.
#
# Arguments: `session`, `transaction`, or both (the default).
set -euo pipefail
. "$(dirname "$0")/stage.sh"

[ $# -gt 0 ] || set -- session transaction
results=$cache/regress/results
expected=$root/tests/regress/expected-differences.md

# run_tests NAME PORT: results in .cache/regress/results/NAME.
run_tests() {
    local output=$work/$1 started=$SECONDS
    as_server_user mkdir "$output"
    # It fails where a test does, direct too: the comparison is what counts.
    as_server_user "/usr/lib/postgresql/15/lib/pgxs/src/test/regress/pg_regress" --bindir="$binaries" --dlpath="$work/lib" \
        --inputdir="$work/regress" --outputdir="$output" --host=127.0.0.1 --port="$2" --user=postgres \
        --schedule="$work/regress/parallel_schedule" --max-concurrent-tests=20 >"$results/$1.txt" 2>&1 || true
    rm -rf "${results:?}/$1"
    cp -r "$output/results" "$results/$1" || { tail -20 "$results/$1.txt" >&2; die "pg_regress did not run"; }
    # Clusters are told apart by nothing but their directories.
    sed -i "s#$output#OUTPUT#g" "$results/$1"/*.out
    say "$1: $(grep -cE '^(test| ) .*ok ' "$results/$1.txt") of $(find "$results/$1" -name '*.out' | wc -l) tests as PostgreSQL expects them, $((SECONDS - started)) s"
}

# compare NAME: 1 when a test differs that may not.
compare() {
    local each name outcome=0
    for each in "$results"/direct/*.out; do
        name=$(basename "$each" .out)
        if diff -u --label direct --label "$1" "$each" "$results/$1/$name.out" >"$results/$1/$name.diff" 2>&1; then
            rm "$results/$1/$name.diff"
        elif [ "$1" = transaction ] && grep -q "^| \`$name\` " "$expected"; then
            say "$1: $name differs, as it is known to"
        else
            say "$1: $name differs: $results/$1/$name.diff"
            outcome=1
        fi
    done
    return $outcome
}

build_pgwarden
cp -r "$cache/regress/regress" "$cache/regress/lib" "$work"
[ "$(id -u)" != 0 ] || chown -R postgres: "$work"
mkdir -p "$results"

start_server direct
run_tests direct "$server"
failed=0
for mode in "$@"; do
    start_server "$mode"
    start_pgwarden "$mode" "$results/$mode.pgwarden.log"
    run_tests "$mode" "$proxy"
    compare "$mode" || failed=1
done
exit $failed
