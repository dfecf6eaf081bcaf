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
# act TITLE: a line above the scenes of an act.
act() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }
tell() { printf '   %s\n' "$@"; }
indented() { sed 's/^/      /' <<<"$1"; }
said() { indented "$(fold -s -w 112 <<<"${1-$answer}")"; }
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
        -d "host=127.0.0.1 port=$port user=$user dbname=$database${options:+ options='$options'}" \
        "${commands[@]}" 2>&1) || status=$?
    # Where in PostgreSQL's source an error was raised is of no interest here.
    answer=$(sed '/^LOCATION:/d' <<<"$answer")
    indented "$answer"
}

# run WORD...: a command of pgwarden. What has a name in $named (a text, its name, the next text ...) is shown by it. Leaves
# the output in $answer and the exit code in $status; the scene shows of it what matters, with `said`.
run() {
    local word at line=''
    for word in "$@"; do
        for ((at = 0; at < ${#named[@]}; at += 2)); do word=${word//"${named[at]}"/"${named[at + 1]}"}; done
        [[ $word != *[!A-Za-z0-9_./:=\$-]* ]] || word="'$word'"
        line+=" $word"
    done
    printf '   %s$%s pgwarden%s\n' "$bold" "$plain" "$line"
    status=0
    answer=$("$pgwarden" "$@" 2>&1) || status=$?
}

# until_true WHAT COMMAND...: tries until the command succeeds; its output, the last one, is $answer.
until_true() {
    local what=$1
    shift
    for _ in {1..200}; do
        ! answer=$("$@" 2>&1) || return 0
        sleep 0.1
    done
    fail "waited in vain: $what"
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
