#!/usr/bin/env bash
# Fuzzing with libFuzzer, coverage-guided, on the one stable toolchain.
#
#   fuzz.sh                       every target for five minutes
#   fuzz.sh TARGET [SECONDS]      one target
#   fuzz.sh all [SECONDS]         every target, this long in all
#   fuzz.sh TARGET FILE           one input again, with a backtrace; PGWARDEN_FUZZ_TELL=1 tells each step of `session`
#   fuzz.sh TARGET FILE SECONDS   looks for a smaller input that shows the same
#
# What libFuzzer finds interesting is kept in .cache/fuzz/TARGET. An input that shows a defect is written below
# .cache/fuzz/findings, as the last lines say. FUZZ_SEED and FUZZ_RUNS make a run repeatable, FUZZ_TARGET_DIR is where it is built, FUZZ_DIR stands for .cache/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."

targets=(startup sql scram oauth frontend backend session)
choice=${1:-all}
argument=${2:-300}
host=$(rustc -vV | sed -n 's/^host: //p')
build=${FUZZ_TARGET_DIR:-target/fuzz}
work=${FUZZ_DIR:-.cache/fuzz}

case " all ${targets[*]} " in
*" $choice "*) ;;
*) printf 'no such target: %s; there are: %s\n' "$choice" "${targets[*]}" >&2 && exit 64 ;;
esac

# The passes that `-Z sanitizer` would switch on, for which nightly is not needed. With --target they do not reach
# build scripts, which have no libFuzzer to link with.
flags=(
    --cfg fuzzing
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    -Cdebug-assertions=on
    -Coverflow-checks=on
    -Ccodegen-units=16
)
RUSTFLAGS="${flags[*]}" CARGO_PROFILE_RELEASE_LTO=off \
    cargo build --quiet --locked --release --target "$host" --target-dir "$build" -p pgwarden-fuzz --features libfuzzer
fuzzer=$build/$host/release/pgwarden-fuzz

# Deeply nested texts: the product gives libpg_query a thread with a deep stack.
ulimit -s 65536 2>/dev/null || true
mkdir -p "$work/findings"

if [ -f "$argument" ] && [ -n "${3:-}" ]; then
    PGWARDEN_FUZZ_TARGET=$choice "$fuzzer" -minimize_crash=1 -max_total_time="$3" \
        -exact_artifact_path="$argument.min" "$argument" >"$work/minimise.log" 2>&1 || true
    printf 'fuzz %-9s the smallest that shows it: %s\n' "$choice" "$argument.min"
    exit
fi
if [ -f "$argument" ]; then
    PGWARDEN_FUZZ_TARGET=$choice RUST_BACKTRACE=1 exec "$fuzzer" "$argument"
fi

run() {
    local target=$1 seconds=$2 log=$work/$1.log
    local options=(
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=2048 -use_value_profile=1 -print_final_stats=1
        -artifact_prefix="$work/findings/$target-" -dict=tests/fuzz/postgres.dict
    )
    [ -z "${FUZZ_SEED:-}" ] || options+=(-seed="$FUZZ_SEED")
    [ -z "${FUZZ_RUNS:-}" ] || options+=(-runs="$FUZZ_RUNS")
    mkdir -p "$work/$target"
    if PGWARDEN_FUZZ_TARGET=$target "$fuzzer" "${options[@]}" "$work/$target" "tests/fuzz/corpus/$target" >"$log" 2>&1; then
        printf 'fuzz %-9s ok  %s\n' "$target" "$(tr '\r' '\n' <"$log" | sed -n 's/^Done \(.*\)/\1/p' | tail -1)"
    else
        tail -n 60 "$log"
        printf 'fuzz %-9s FAILED; replay it with ./run fuzz %s FILE, the file is named above\n' "$target" "$target"
        return 1
    fi
}

failed=0
if [ "$choice" = all ]; then
    each=$((argument / ${#targets[@]}))
    for target in "${targets[@]}"; do run "$target" $((each > 0 ? each : 1)) || failed=1; done
else
    run "$choice" "$argument" || failed=1
fi
exit "$failed"
