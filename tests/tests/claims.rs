//! Applications that say themselves whom they act for: `SET LOCAL app.current_org_id = …` and `set_config`, by users that
//! may, and checked by the membership query.

use pgwarden_tests::identities::{self, ACME, ANN, ANNS, GLOBEX, NOBODY, SAM, client};
use pgwarden_tests::tenants::{error_code, run, value, values};
use pgwarden_tests::wire::{Fields, tags};
use pgwarden_tests::{Frontend, Message, Pgwarden, Server, Wire, for_each_version};

const PROJECTS: &str = "SELECT DISTINCT organization_id FROM platform.projects";
const ORG: &str = "SELECT current_setting('app.current_org_id', true)";
const BOTH: &str =
    "SELECT set_config('app.current_org_id', $1, true), set_config('app.current_user_id', $2, true)";
const DISAGREES: &str = "pgwarden_findings_total{kind=\"claim_disagrees\",mode=\"MODE\"}";

/// One backend; `web` may say whom it acts for, `sam` only in which organisation, and nobody else anything.
#[track_caller]
fn start(server: &Server) -> Pgwarden {
    start_in(server, "enforce")
}

#[track_caller]
fn start_in(server: &Server, mode: &str) -> Pgwarden {
    identities::load(server);
    let claims = "[context.claim]\nusers = [\"web\", \"sam\"]\n";
    let configuration = identities::configuration("ttl = \"1h\"") + claims;
    let builder = identities::builder(server, &configuration).env("PGWARDEN_POOL_SIZE", "1");
    builder.env("PGWARDEN_MODE", mode).start()
}

fn set(variable: &str, value: &str) -> String {
    format!("SET LOCAL app.current_{variable}_id = '{value}'")
}

fn bound(sql: &str, values: &[&str]) -> Frontend {
    let values: Vec<Option<&str>> = values.iter().map(|value| Some(*value)).collect();
    Frontend::new().parse("", sql, &[]).bind("", "", &values).execute("", 0)
}

/// The organisations whose projects a client sees.
#[track_caller]
fn seen(wire: &mut Wire) -> Vec<String> {
    let answer = wire.query(PROJECTS);
    assert_eq!(error_code(&answer), "", "{answer:?}");
    values(&answer)
}

#[track_caller]
fn runs(wire: &mut Wire, sql: &str) {
    let answer = wire.query(sql);
    assert_eq!(error_code(&answer), "", "{sql}: {answer:?}");
}

#[track_caller]
fn error(messages: &[Message]) -> Fields {
    let error = messages.iter().find(|message| message.tag == b'E');
    error.unwrap_or_else(|| panic!("no error: {messages:?}")).fields()
}

/// Nothing of what was refused is left: not for this client, and not on the backend.
#[track_caller]
fn nothing_is_left(pgwarden: &Pgwarden, wire: &mut Wire) {
    assert_eq!(error_code(&wire.query("ROLLBACK")), "");
    assert_eq!(value(&wire.query(ORG)).as_deref(), Some(""));
    assert_eq!(error_code(&wire.query(PROJECTS)), "42501");
    let mut other = client(pgwarden, "somebody else");
    assert_eq!(value(&other.query(ORG)).as_deref(), Some(""));
    assert_eq!(error_code(&other.query(PROJECTS)), "42501");
}

#[test]
fn a_claim_of_a_member_counts_for_its_transaction_in_whatever_order_it_is_made() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client(&pgwarden, "web");
        let (org, user) = (set("org", ACME), set("user", ANN));
        let by_call =
            |name: &str, value: &str| format!("SELECT set_config('app.current_{name}_id', '{value}', true)");
        let two = |one: &str, other: &str| format!("{one}, {}", other.trim_start_matches("SELECT "));
        let (org_call, user_call) = (by_call("org", ACME), by_call("user", ANN));
        for claims in [
            vec![org.clone(), user.clone()],
            vec![user.clone(), org.clone()],
            vec![org_call.clone(), user],
            vec![user_call.clone(), org],
            vec![two(&org_call, &user_call)],
            vec![two(&user_call, &org_call)],
            vec![format!("SET LOCAL App.Current_Org_Id TO '{ACME}'"), format!("{user_call} AS \"user\"")],
        ] {
            runs(&mut wire, "BEGIN");
            for claim in &claims {
                runs(&mut wire, claim);
            }
            assert_eq!(seen(&mut wire), [ACME], "{claims:?}");
            runs(&mut wire, "COMMIT");
            nothing_is_left(&pgwarden, &mut wire);
        }
    });
}

#[test]
fn a_claim_by_parameters_counts_for_what_follows_it() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client(&pgwarden, "web");
        // In one batch, in one pipeline, and with a statement that is prepared once.
        wire.send(&bound(BOTH, &[GLOBEX, SAM]).raw(run(PROJECTS).bytes()).sync());
        let answer = wire.until_ready();
        assert_eq!(values(&answer), [GLOBEX, GLOBEX], "{answer:?}");
        let pipeline = run("BEGIN").sync().raw(bound(BOTH, &[ACME, ANN]).sync().bytes());
        wire.send(&pipeline.raw(run(PROJECTS).sync().bytes()).raw(run("COMMIT").sync().bytes()));
        let answers: Vec<Vec<Message>> = (0..4).map(|_| wire.until_ready()).collect();
        assert_eq!(values(&answers[2]), [ACME], "{answers:?}");
        wire.send(&Frontend::new().parse("claim", BOTH, &[]).describe_statement("claim").sync());
        assert_eq!(tags(&wire.until_ready()), "1tTZ");
        for (org, user) in [(ACME, ANN), (GLOBEX, SAM), (ACME, SAM)] {
            let claimed = Frontend::new().bind("", "claim", &[Some(org), Some(user)]).execute("", 0);
            wire.send(&claimed.raw(run(PROJECTS).bytes()).sync());
            let answer = wire.until_ready();
            assert_eq!(values(&answer), [org, org], "{answer:?}");
        }
        nothing_is_left(&pgwarden, &mut wire);
    });
}

#[test]
fn who_has_logged_in_as_a_user_claims_only_the_organisation() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client(&pgwarden, "sam");
        assert_eq!(seen(&mut wire), [GLOBEX], "where he works");
        runs(&mut wire, "BEGIN");
        runs(&mut wire, &set("org", ACME));
        assert_eq!(seen(&mut wire), [ACME]);
        runs(&mut wire, "COMMIT");
        assert_eq!(seen(&mut wire), [GLOBEX]);
    });
}

#[test]
fn a_claim_of_somebody_who_is_no_member_is_refused_and_nothing_leaks() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        for (org, user) in [(GLOBEX, ANN), (ACME, NOBODY), (NOBODY, ANN)] {
            let mut wire = client(&pgwarden, "web");
            runs(&mut wire, "BEGIN");
            runs(&mut wire, &set("user", user));
            let refused = error(&wire.query(&set("org", org)));
            assert_eq!(refused.code(), "42501", "{refused}");
            assert!(!refused.to_string().contains(org), "{refused}");
            assert_eq!(error_code(&wire.query("SELECT 1")), "25P02", "the block has failed");
            nothing_is_left(&pgwarden, &mut wire);
            wire.send(&bound(BOTH, &[org, user]).raw(run(PROJECTS).bytes()).sync());
            let answer = wire.until_ready();
            assert_eq!((error_code(&answer), values(&answer)), ("42501".to_owned(), vec![]));
            nothing_is_left(&pgwarden, &mut wire);
        }
        for value in ["no uuid", "' OR true"] {
            let mut wire = client(&pgwarden, "web");
            wire.send(&bound(BOTH, &[value, ANN]).raw(run(PROJECTS).bytes()).sync());
            let answer = wire.until_ready();
            assert!(
                ["28000", "42501", "57P03"].contains(&error_code(&answer).as_str()),
                "{value}: {answer:?}"
            );
            assert_eq!(values(&answer), [""; 0], "{value}");
            nothing_is_left(&pgwarden, &mut wire);
        }
    });
}

#[test]
fn half_a_claim_is_nobodys() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client(&pgwarden, "web");
        for half in [set("org", ACME), set("user", ANN)] {
            runs(&mut wire, "BEGIN");
            runs(&mut wire, &half);
            assert_eq!(error_code(&wire.query(PROJECTS)), "42501", "{half}");
            nothing_is_left(&pgwarden, &mut wire);
        }
    });
}

#[test]
fn who_may_not_claim_is_stopped_by_the_guard() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        for user in ["acme", "ann", "somebody else"] {
            let mut wire = client(&pgwarden, user);
            for text in [
                set("org", GLOBEX),
                format!("SET app.current_user_id = '{SAM}'"),
                "RESET app.current_org_id".into(),
            ] {
                let refused = error(&wire.query(&text));
                let about = "permission denied to change the tenant context";
                assert_eq!((refused.code(), refused.message()), ("42501", about), "{user}: {text}");
            }
            wire.send(&bound(BOTH, &[GLOBEX, SAM]).sync());
            assert_eq!(error_code(&wire.until_ready()), "42501", "{user}");
        }
        let mut wire = client(&pgwarden, "acme");
        assert_eq!(seen(&mut wire), [ACME]);
    });
}

#[test]
fn a_claim_that_is_no_statement_of_its_own_is_refused() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client(&pgwarden, "web");
        let claim = format!("set_config('app.current_org_id', '{ACME}', true)");
        for text in [
            format!("{}; {}; {PROJECTS}", set("org", ACME), set("user", ANN)),
            format!("SELECT {claim}, 1"),
            format!("SELECT {claim} FROM platform.projects"),
            format!("SELECT set_config('app.current_org_id', '{ACME}' || '', true)"),
            format!("SELECT set_config('app.' || 'current_org_id', '{ACME}', true)"),
            format!("SELECT {claim}, set_config('app.role', 'owner', true)"),
            "SET LOCAL app.role = 'owner'".to_owned(),
            format!("DO $$ BEGIN PERFORM {claim}; END $$"),
        ] {
            assert_eq!(error_code(&wire.query(&text)), "42501", "{text}");
            nothing_is_left(&pgwarden, &mut wire);
        }
    });
}

#[test]
fn a_claim_cannot_change_in_a_transaction_that_has_run_something() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client(&pgwarden, "sam");
        runs(&mut wire, "BEGIN");
        runs(&mut wire, &set("org", GLOBEX));
        runs(&mut wire, &set("org", ACME));
        assert_eq!(seen(&mut wire), [ACME], "nothing had run");
        runs(&mut wire, &set("org", ACME));
        assert_eq!(seen(&mut wire), [ACME], "the same again");
        for change in [set("org", GLOBEX), "RESET app.current_org_id".to_owned(), set("org", "")] {
            runs(&mut wire, "ROLLBACK");
            runs(&mut wire, "BEGIN");
            runs(&mut wire, &set("org", ACME));
            assert_eq!(seen(&mut wire), [ACME]);
            let refused = error(&wire.query(&change));
            let about = "the tenant cannot change within a transaction";
            assert_eq!((refused.code(), refused.message()), ("42501", about), "{change}");
            assert_eq!(error_code(&wire.query(PROJECTS)), "25P02", "{change}");
        }
        runs(&mut wire, "ROLLBACK");
        assert_eq!(seen(&mut wire), [GLOBEX]);
    });
}

#[test]
fn a_claim_for_the_session_lasts_until_it_is_taken_back_and_stays_with_its_client() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut others = [client(&pgwarden, "sam"), client(&pgwarden, "acme")];
        for back in
            ["RESET app.current_org_id", "SET app.current_org_id TO DEFAULT", "RESET ALL", "DISCARD ALL"]
        {
            let mut wire = client(&pgwarden, "web");
            runs(&mut wire, &format!("SET app.current_user_id = '{SAM}'"));
            runs(&mut wire, &format!("SELECT set_config('app.current_org_id', '{ACME}', false)"));
            for _ in 0..3 {
                assert_eq!(seen(&mut wire), [ACME], "{back}");
                assert_eq!(seen(&mut others[0]), [GLOBEX]);
                assert_eq!(seen(&mut others[1]), [ACME]);
            }
            // The transaction's own comes first.
            runs(&mut wire, "BEGIN");
            runs(&mut wire, &set("org", GLOBEX));
            assert_eq!(seen(&mut wire), [GLOBEX]);
            runs(&mut wire, "COMMIT");
            assert_eq!(seen(&mut wire), [ACME]);
            runs(&mut wire, back);
            nothing_is_left(&pgwarden, &mut wire);
        }
        assert_eq!(pgwarden.metric("pgwarden_backends"), Some(1.0));
        assert_eq!(pgwarden.metric("pgwarden_desyncs_total"), Some(0.0));
    });
}

#[test]
fn claims_of_one_statement_have_to_count_equally_long() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client(&pgwarden, "web");
        for (org, user) in [(true, false), (false, true)] {
            let text = format!(
                "SELECT set_config('app.current_org_id', '{ACME}', {org}), set_config('app.current_user_id', '{ANN}', {user})"
            );
            assert_eq!(error_code(&wire.query(&text)), "0A000", "{text}");
            nothing_is_left(&pgwarden, &mut wire);
        }
    });
}

#[test]
fn clients_that_claim_take_turns_on_one_backend() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut clients = [client(&pgwarden, "web"), client(&pgwarden, "web"), client(&pgwarden, "sam")];
        for round in 0..12 {
            let (org, user) = [(ACME, ANN), (GLOBEX, SAM), (ACME, SAM)][round % 3];
            for wire in &mut clients[..2] {
                wire.send(
                    &run("BEGIN").raw(bound(BOTH, &[org, user]).bytes()).raw(run(PROJECTS).bytes()).sync(),
                );
                assert_eq!(values(&wire.until_ready()), [org, org]);
                runs(wire, "COMMIT");
            }
            assert_eq!(seen(&mut clients[2]), [GLOBEX]);
        }
        assert_eq!(pgwarden.metric("pgwarden_backends"), Some(1.0));
    });
}

#[test]
fn a_claim_that_disagrees_with_a_token_is_refused_and_one_that_agrees_is_not() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client(&pgwarden, "web");
        let token = format!("SET LOCAL pgwarden.token = '{ANNS}'");
        runs(&mut wire, "BEGIN");
        runs(&mut wire, &token);
        runs(&mut wire, &set("org", ACME));
        runs(&mut wire, &set("user", ANN));
        assert_eq!(seen(&mut wire), [ACME]);
        let refused = error(&wire.query(&set("org", GLOBEX)));
        let about = "the application claims another tenant or user than its token says";
        assert_eq!((refused.code(), refused.message()), ("42501", about));
        nothing_is_left(&pgwarden, &mut wire);
        for claim in [set("org", GLOBEX), set("user", SAM), set("org", "")] {
            runs(&mut wire, "BEGIN");
            runs(&mut wire, &token);
            assert_eq!(error_code(&wire.query(&claim)), "42501", "{claim}");
            nothing_is_left(&pgwarden, &mut wire);
        }
        assert_eq!(pgwarden.metric(&DISAGREES.replace("MODE", "enforce")), Some(4.0));
        // The other way round, the token comes last and counts.
        runs(&mut wire, "BEGIN");
        wire.send(&bound(BOTH, &[GLOBEX, SAM]).sync());
        assert_eq!(error_code(&wire.until_ready()), "");
        runs(&mut wire, &token);
        assert_eq!(seen(&mut wire), [ACME]);
        runs(&mut wire, "COMMIT");
        nothing_is_left(&pgwarden, &mut wire);
    });
}

#[test]
fn shadow_records_what_disagrees_and_who_is_no_member_and_blocks_nothing() {
    for_each_version(async |server| {
        let pgwarden = start_in(server, "shadow");
        let mut wire = client(&pgwarden, "web");
        runs(&mut wire, "BEGIN");
        runs(&mut wire, &format!("SET LOCAL pgwarden.token = '{ANNS}'"));
        runs(&mut wire, &set("org", GLOBEX));
        runs(&mut wire, PROJECTS);
        runs(&mut wire, "COMMIT");
        assert_eq!(pgwarden.metric(&DISAGREES.replace("MODE", "shadow")), Some(1.0));
        runs(&mut wire, "BEGIN");
        wire.send(&bound(BOTH, &[GLOBEX, ANN]).sync());
        assert_eq!(error_code(&wire.until_ready()), "");
        runs(&mut wire, PROJECTS);
        runs(&mut wire, "COMMIT");
        let denied = "pgwarden_findings_total{kind=\"context_denied\",mode=\"shadow\"}";
        assert_eq!(pgwarden.metric(denied), Some(1.0), "{}", pgwarden.admin("/metrics").1);
        assert_eq!(value(&wire.query(ORG)).as_deref(), Some(""));
    });
}

#[test]
fn what_the_client_reads_of_its_claim_is_what_the_server_says() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client(&pgwarden, "web");
        runs(&mut wire, "BEGIN");
        let answer = wire.query(&set("user", SAM));
        assert_eq!((tags(&answer), answer[0].command()), ("CZ".to_owned(), "SET".to_owned()));
        let answer = wire.query(&format!("SELECT set_config('app.current_org_id', '{ACME}', true) AS mine"));
        assert_eq!((tags(&answer), answer[0].columns()), ("TDCZ".to_owned(), vec!["mine".to_owned()]));
        assert_eq!(values(&answer), [ACME]);
        wire.send(&bound(BOTH, &[ACME, SAM]).describe_portal("").sync());
        let answer = wire.until_ready();
        assert_eq!(tags(&answer), "12DCTZ");
        assert_eq!(answer[2].row(), [Some(ACME.to_owned()), Some(SAM.to_owned())]);
        runs(&mut wire, "COMMIT");
    });
}
