# The second act, from policies that nobody dares to apply to policies in force, and back: sourced by demo.sh.

# The tables that the application works with.
worked_with=platform.projects
page=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")/demo/report.html

act_two() {
    local database=today pgwarden_port=$watching_port admin_port=$watching_admin_port
    local owner trail live public_key findings=()
    act 'ACT TWO: what would the policies break? Shadow mode finds out while the application runs'
    load_today
    open_watching
    scene_staged
    scene_faulty
    scene_found
    scene_not_yet
    scene_mended
    scene_promoted
    scene_attacked
    scene_demoted
    scene_trail
}

scene_staged() {
    scene 'The policies are staged'
    tell 'Another database of the same platform, where they are not applied, for nobody knows what they would break. Staged,' \
        'PostgreSQL evaluates them for a role that the application never has. $OWNER is the URL of who owns the tables.' ''
    run stage --url "$owner" --from "$examples/04-restrictive-policies.sql" --drops 'permissive_all_*' --app app \
        --observer pgwarden_observer --writes
    said "$(grep -E 'line 83|platform.(projects|api_keys)|^note: as' <<<"$answer")"
    worked 'one transaction a table; each compares the plans of the application before and after'
    [ "$(grep -c '^platform\..*: staged$' <<<"$answer")" = 25 ] || fail 'all 25 tables should be staged'
    [[ $answer == *'platform.projects: installed'* ]] || fail 'the triggers should be installed'
    holds 'and triggers will ask the policies about each row that is written'
    tell '' 'pgwarden goes in front of it, with mode = "shadow" and'
    indented "$(shadow_settings | sed "s|$stage/||")"
    start_watching
    answer=$(cat "$stage/watching.log")
    [[ $answer != *' WARN '* ]] || fail 'pgwarden should have nothing to complain about'
}

# application STATE: one run of it, shown.
application() {
    status=0
    answer=$("$cache/venv/bin/python" "$here/demo/application.py" \
        "host=127.0.0.1 port=$pgwarden_port dbname=$database" "$1" 2>&1) || status=$?
    said
}

scene_faulty() {
    scene 'The application works, and has three mistakes'
    tell 'scripts/demo/application.py. A WHERE was forgotten on /projects, /projects/move believes what a form says, and the' \
        'nightly job says nowhere for whom it works. With one tenant, as in its tests, nobody notices.'
    application faulty
    worked 'Acme reads what belongs to Globex, and gives it a project. Nothing is refused, for it only watches' \
        'acme_app    /projects shows Acme Blog, Acme Lab, Acme Shop, Globex Data, Globex Portal' 'move: done'
}

# Whether a finding of this kind, from this place, is in the report.
is_found() {
    "$pgwarden" report --url "$owner" --format csv 2>/dev/null | grep "$1" | grep -q "$2"
}

# Whether so many executions of its statements were compared, and so all that there were.
are_compared() { "$pgwarden" verdict "$worked_with" --admin "$live" | grep " $1 of $1 "; }

scene_found() {
    scene 'What the policies would have done'
    until_true 'rows of another tenant are found' is_found rows_foreign /projects
    until_true 'the replay differs' is_found result_differs /projects
    until_true 'the write is found' is_found write_refused /projects/move
    until_true 'the job is found' is_found context_missing 'nightly usage'
    until_true 'every statement is compared' are_compared 22
    run report --url "$owner"
    said
    worked 'the forgotten WHERE: foreign rows on their way, and another result with the policies' rows_foreign result_differs
    worked 'the move: PostgreSQL would refuse it' write_refused '/projects/move'
    worked 'the job: no tenant, so the policies would leave it nothing' context_missing 'nightly usage'
    mkdir -p "${page%/*}"
    run report --url "$owner" --format html -o "$page"
    worked 'the same as a page, which is there when the demo has ended:'
    grep -q 'pages/projects.py:88' "$page" || fail 'the page should name where the move was written'
    tell "file://$page"
}

scene_not_yet() {
    scene 'May they be put in force? Not yet'
    tell '$LIVE is the admin listener of pgwarden, which knows the verdict, and will hold the traffic for the moment.'
    run promote "$worked_with" --url "$owner" --through "$live"
    said
    [ "$status" = 1 ] || fail "promote should be refused, and ended with $status"
    [[ $answer == *"the verdict on $worked_with is NOT READY"* ]] || fail 'promote should say why'
    holds 'refused, with the reason; --force --reason would be recorded'
}

scene_mended() {
    scene 'The application is mended'
    tell 'The WHERE is back, a form cannot name another organisation, the job works for one organisation after the other.' \
        'And the project that went astray is brought back.'
    as_superuser -c "UPDATE platform.projects SET organization_id = '$acme' WHERE ref = 'acme-lab'"
    application mended
    worked 'each tenant sees its own' 'acme_app    /projects shows Acme Blog, Acme Lab, Acme Shop' 'move: refused'
    hidden 'Acme Shop, Globex'
    until_true 'every statement is compared' are_compared 44
    mapfile -t findings < <("$pgwarden" report --url "$owner" --format json |
        python3 -c 'import json, sys
for one in json.load(sys.stdin)["findings"]:
    if one["standing"]["is"] == "open": print(one["id"])')
    run resolve "${findings[@]}" --reason 'mended in 4.2' --owner 'platform team' --url "$owner"
    said
    worked 'what was found counts again as soon as it is met again' 'is resolved, until it is met again'
    until_true 'the verdict is READY' "$pgwarden" verdict "$worked_with" --admin "$live" --exit-code
    run verdict "$worked_with" --url "$owner"
    said
    worked 'READY, and how much may differ all the same' READY
    [[ $answer != *INSUFFICIENT* ]] || fail 'the verdict should be READY'
}

scene_promoted() {
    scene 'In force'
    run promote "$worked_with" --url "$owner" --through "$live"
    said
    worked 'one transaction; pgwarden lets new transactions wait for it, so that nobody fails' "$worked_with: in force"
    application mended
    worked 'the application does not notice' 'acme_app    /projects shows Acme Blog, Acme Lab, Acme Shop' \
        'globex_app  /projects shows Globex Data, Globex Portal'
}

scene_attacked() {
    scene 'The mistakes once more: PostgreSQL itself stands in the way'
    tell 'pgwarden only watches still; nothing of this is refused by it.'
    ask pgwarden acme_app "$projects"
    worked 'the forgotten WHERE shows what is Acme'\''s' 'Acme Shop' '(3 rows)'
    hidden Globex
    ask pgwarden acme_app "UPDATE platform.projects SET organization_id = '$globex' WHERE slug = 'lab'"
    refused 'the move' 42501 'new row violates row-level security policy for table "projects"'
    ask pgwarden guest_app 'SELECT count(*) FROM platform.projects'
    worked 'no tenant, no rows' ' 0'
    ask pgwarden acme_app "SET app.current_org_id = '$globex'" "SELECT name FROM platform.projects WHERE ref LIKE 'globex%'"
    worked 'and who says that it is Globex is Acme in the next transaction all the same' '(0 rows)'
}

scene_demoted() {
    scene 'And back, if it has to be'
    run demote "$worked_with" --url "$owner" --through "$live" --reason 'the demo is over'
    said
    worked 'what was before is exactly there again, and the policies stay staged' 'not in force any more, staged'
    ask pgwarden acme_app "$projects"
    worked 'everybody sees everything, as at the beginning' 'Globex Portal' '(5 rows)'
}

# Each step of the journal as the trail has it.
steps() {
    "$pgwarden" audit export "$trail" --format jsonl | python3 -c 'import json, sys
for record in map(json.loads, sys.stdin):
    step = record.get("staging")
    if step and step["step"] != "stage":
        said = (step["step"], *step["tables"], "by", step["by"], step.get("reason") or "")
        print(record["time"][:19].replace("T", " "), *said)'
}
is_step() { steps | grep "$1"; }

scene_trail() {
    scene 'What the auditor gets'
    until_true 'the last step is in the trail' is_step 'demote platform.projects by postgres the demo is over'
    stop_pgwarden "$(<"$stage/watching.pid")"
    tell 'JSON Lines: every finding, how much was looked at, and every step:'
    said "$(steps)"
    run audit verify "$trail" --public-key "$public_key" --checkpoints "$stage/checkpoints"
    said
    worked 'each record covers the one before, and the end is signed' intact
    cp -r "$trail" "$stage/forged"
    sed -i 's/"owner":"platform team"/"owner":"somebody else"/' "$stage"/forged/trail-*
    run audit verify "$stage/forged" --public-key "$public_key" --checkpoints "$stage/checkpoints"
    said
    [ "$status" = 1 ] && [[ $answer == *'NOT INTACT'* ]] || fail 'a forged trail should be noticed'
    holds 'in a copy, somebody else answers for what was found: verify says where'
}
