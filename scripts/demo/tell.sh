# How the demo talks, and the expectations behind what it says: sourced by demo.sh.

bold='' dim='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
fi

scene_number=0
scene() {
    scene_number=$((scene_number + 1))
    printf '\n%s%d. %s%s\n' "$bold" "$scene_number" "$1" "$plain"
}
tell() { printf '   %s\n' "$@"; }
indented() { sed 's/^/      /' <<<"$1"; }
holds() { printf '   %s[ok] %s%s\n' "$dim" "$1" "$plain"; }

# What was expected did not happen: the demo ends here.
fail() {
    printf '\nDEMO FAILED: %s\n' "$1" >&2
    [ -z "${answer:-}" ] || { printf 'the last answer was:\n' && indented "$answer"; } >&2
    exit 1
}

# ask WHERE USER SQL...: runs the statements in one psql session. WHERE is `pgwarden` or `postgres` (past pgwarden).
# Leaves the output in $answer and psql's exit code in $status.
ask() {
    local where=$1 user=$2 port=$pgwarden_port commands=() sql
    shift 2
    [ "$where" = pgwarden ] || port=$postgres_port
    for sql in "$@"; do
        printf '   %s%s@%s=>%s %s\n' "$bold" "$user" "$where" "$plain" "$sql"
        commands+=(-c "$sql")
    done
    status=0
    answer=$("$postgres_bin/psql" -X -v ON_ERROR_STOP=1 -v VERBOSITY=verbose \
        -d "host=127.0.0.1 port=$port user=$user dbname=platform${options:+ options='$options'}" \
        "${commands[@]}" 2>&1) || status=$?
    # Where in PostgreSQL's source an error was raised is of no interest here.
    answer=$(sed '/^LOCATION:/d' <<<"$answer")
    indented "$answer"
}

# worked WHAT TEXT...: the statements worked, and the answer holds each text.
worked() {
    local what=$1 text
    shift
    [ "$status" = 0 ] || fail "$what: psql ended with exit code $status"
    for text in "$@"; do
        [[ $answer == *"$text"* ]] || fail "$what: the answer does not hold \"$text\""
    done
    holds "$what"
}

# hidden TEXT...: the last answer holds none of the texts.
hidden() {
    local text
    for text in "$@"; do
        [[ $answer != *"$text"* ]] || fail "the answer holds \"$text\", which belongs to the other tenant"
    done
}

# refused WHAT SQLSTATE TEXT: the statement failed with this SQLSTATE, and the message holds the text. When a
# connection fails, psql shows no SQLSTATE: then it is FATAL.
refused() {
    [ "$status" != 0 ] || fail "$1: expected $2, but it went through"
    [[ $answer == *"$2: "* ]] || fail "$1: expected $2"
    [[ $answer == *"$3"* ]] || fail "$1: expected a message with \"$3\""
    holds "$1"
}
