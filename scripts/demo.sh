#!/usr/bin/env bash
# ./run demo [--keep]: two tenants on a throw-away PostgreSQL, told step by step: the policies in force, and before that.
#
# It is also a test: the first expectation that does not hold ends it with exit code 1. Everything lives in one
# temporary directory and is gone at the end, also after Ctrl-C. `--keep` leaves it running and says how to use and
# how to stop it; `--stop DIRECTORY` is that.
#
# PGWARDEN_BIN=FILE takes that program instead of building one.
set -euo pipefail

build_is_unknown=${PGWARDEN_BIN:-}
pgwarden=${PGWARDEN_BIN:+$(realpath -m "$PGWARDEN_BIN")}
# Nothing from outside may change what the programs do: no PGHOST, no PGOPTIONS, no PGWARDEN_MODE.
for name in "${!PG@}"; do unset "$name"; done
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
. "$here/setup/lib.sh"
. "$here/demo/tell.sh"
. "$here/demo/stage.sh"
. "$here/demo/scenes.sh"
. "$here/demo/cost.sh"
. "$here/demo/watching.sh"
. "$here/demo/shadow.sh"

keep=no
case ${1:-} in
"") ;;
--keep) keep=yes ;;
--stop) [ -n "${2:-}" ] && stop_kept "$2" && exit ;;
*) printf 'usage: ./run demo [--keep]\n' >&2 && exit 64 ;;
esac

cd "$root"
"$here/setup/apt.sh"
trap 'clean_up $?' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM
[ -n "$pgwarden" ] || build

SECONDS=0
open_stage
start_postgres
load_platform
start_pgwarden

act 'ACT ONE: the policies are in force, and pgwarden brings the context'
scene_before
scene_policies
scene_two_tenants
scene_without_context
scene_crossing
scene_shared_backends
scene_driver
scene_direct
scene_cost
scene_metrics

act_two

epilogue
