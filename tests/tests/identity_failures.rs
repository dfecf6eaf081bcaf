//! When the database cannot be asked, answers too late, or answers what cannot be used: what a client reads, what the log
//! says, and what goes on meanwhile.

use pgwarden_tests::identities::{
    self, ACME, ANNS, GLOBEX, HEARD, LISTENING, SAM, SAMS, answer_with, client, org_with, switch,
};
use pgwarden_tests::tenants::error_code;
use pgwarden_tests::wire::Fields;
use pgwarden_tests::{Message, Pgwarden, Server, Wire, for_each_version, until};

/// The line of the log that says that changes are not told any more.
const LOST: &str = "changes of identities are not heard of";
/// The connection that hears of changes, in pg_stat_activity.
const LISTENER: &str = "application_name = 'pgwarden notifications'";
/// The connections for look-ups, there as well.
const ASKERS: &str = "usename = 'pgwarden_lookup' AND application_name = 'pgwarden'";

/// The error among messages.
#[track_caller]
fn error(messages: &[Message]) -> Fields {
    let found = messages.iter().find(|message| message.tag == b'E');
    found.unwrap_or_else(|| panic!("no error: {messages:?}")).fields()
}

/// Keeps the login for look-ups from opening more connections than it has.
fn shut_the_door(server: &Server, connections: &str) {
    server.psql(&format!("ALTER ROLE pgwarden_lookup CONNECTION LIMIT {connections}"));
}

fn stage(server: &Server, lookup: &str) -> (Pgwarden, Wire) {
    identities::load(server);
    let pgwarden = identities::start(server, lookup);
    let wire = client(&pgwarden, "anybody");
    (pgwarden, wire)
}

/// Loses the connection that hears of changes, and waits until pgwarden knows.
#[track_caller]
fn lose(server: &Server, pgwarden: &Pgwarden) {
    server.terminate(LISTENER);
    pgwarden.until_logged(LOST, 0);
    until("the gauge shows it", || (pgwarden.metric(LISTENING) == Some(0.0)).then_some(()));
}

#[test]
fn what_is_remembered_holds_for_a_short_time_while_no_change_is_heard_of() {
    for_each_version(async |server| {
        let (pgwarden, mut wire) = stage(server, "ttl = \"1h\"\nunnotified_ttl = \"1s\"");
        assert_eq!(org_with(&mut wire, SAMS), GLOBEX);
        shut_the_door(server, "1");
        lose(server, &pgwarden);
        switch(server, SAM, ACME);
        until("it is looked up again all the same", || (org_with(&mut wire, SAMS) == ACME).then_some(()));
        shut_the_door(server, "-1");
        identities::until_listening(&pgwarden);
        pgwarden.until_logged(HEARD, 1);
        assert_eq!(pgwarden.logged(LOST), 1, "{}", pgwarden.stderr());
        switch(server, SAM, GLOBEX);
        until("changes are told again", || (org_with(&mut wire, SAMS) == GLOBEX).then_some(()));
    });
}

#[test]
fn what_was_missed_is_made_up_for_when_changes_are_heard_of_again() {
    for_each_version(async |server| {
        let (pgwarden, mut wire) = stage(server, "ttl = \"1h\"\nunnotified_ttl = \"1h\"");
        assert_eq!(org_with(&mut wire, SAMS), GLOBEX);
        shut_the_door(server, "1");
        lose(server, &pgwarden);
        switch(server, SAM, ACME);
        assert_eq!(org_with(&mut wire, SAMS), GLOBEX, "an hour is not over");
        shut_the_door(server, "-1");
        identities::until_listening(&pgwarden);
        assert_eq!(org_with(&mut wire, SAMS), ACME);
    });
}

#[test]
fn a_connection_that_is_silent_is_found_to_be_dead() {
    for_each_version(async |server| {
        let (pgwarden, mut wire) = stage(server, "ttl = \"1h\"\nunnotified_ttl = \"1s\"");
        assert_eq!(org_with(&mut wire, SAMS), GLOBEX);
        let process = server.psql(&format!("SELECT pid FROM pg_stat_activity WHERE {LISTENER}"));
        server.signal_backend(&process, pgwarden_tests::Signal::STOP);
        pgwarden.until_logged(LOST, 0);
        until("another one listens", || (pgwarden.logged(HEARD) == 2).then_some(()));
        server.signal_backend(&process, pgwarden_tests::Signal::CONT);
        switch(server, SAM, ACME);
        until("changes are told", || (org_with(&mut wire, SAMS) == ACME).then_some(()));
    });
}

#[test]
fn while_nobody_can_be_asked_what_is_known_goes_on_and_the_rest_is_told_to_try_again() {
    for_each_version(async |server| {
        let (pgwarden, mut wire) = stage(server, "ttl = \"1h\"\nunnotified_ttl = \"1h\"");
        assert_eq!(org_with(&mut wire, SAMS), GLOBEX);
        server.psql("ALTER ROLE pgwarden_lookup NOLOGIN");
        server.terminate(ASKERS);
        for _ in 0..2 {
            let refused = error(&answer_with(&mut wire, ANNS));
            assert_eq!((refused.code(), refused.message()), ("57P03", "the tenant cannot be looked up now"));
            assert!(refused.hint().contains("Try again"), "{refused}");
        }
        assert_eq!(org_with(&mut wire, SAMS), GLOBEX, "what is known goes on");
        let line = pgwarden.until_logged("a look-up failed", 0);
        assert!(line.contains("context.session_token"), "{line}");
        server.psql("ALTER ROLE pgwarden_lookup LOGIN");
        assert_eq!(org_with(&mut wire, ANNS), ACME, "a failure is not remembered");
        pgwarden.until_logged("look-ups work again", 0);
        assert_eq!(pgwarden.logged("a look-up failed"), 1, "the first of a streak is worth a line");
    });
}

/// A session that logged in well and cannot be looked up again is asked about at each transaction, not given up.
#[test]
fn a_login_whose_look_up_fails_once_goes_on_when_it_works_again() {
    for_each_version(async |server| {
        let (_pgwarden, _) = stage(server, "ttl = \"1h\"\nunnotified_ttl = \"1h\"");
        let mut sam = client(&_pgwarden, "sam");
        assert_eq!(identities::org(&mut sam), GLOBEX);
        server.psql("ALTER ROLE pgwarden_lookup NOLOGIN");
        server.psql("NOTIFY pgwarden, 'all'");
        until("everything is forgotten", || {
            server.terminate(ASKERS);
            (error_code(&sam.query("SELECT 1")) == "57P03").then_some(())
        });
        server.psql("ALTER ROLE pgwarden_lookup LOGIN");
        assert_eq!(identities::org(&mut sam), GLOBEX);
    });
}

#[test]
fn a_look_up_that_takes_too_long_is_given_up_on_both_sides() {
    for_each_version(async |server| {
        identities::load(server);
        server.psql(
            "CREATE TABLE public.pace (seconds float8); GRANT SELECT ON public.pace TO pgwarden_lookup; \
                     INSERT INTO public.pace VALUES (600)",
        );
        let slow = "SELECT s.user_id AS user FROM platform.user_sessions s, public.pace p \
             WHERE s.token_hash = $1 AND pg_catalog.pg_sleep(p.seconds) IS NOT NULL";
        let configuration = identities::configuration_with_session_token("timeout = \"250ms\"", slow);
        let pgwarden = identities::builder(server, &configuration).start();
        let mut wire = client(&pgwarden, "anybody");
        let refused = error(&answer_with(&mut wire, ANNS));
        assert_eq!((refused.code(), refused.message()), ("57P03", "the look-up of the tenant took too long"));
        let late = "pgwarden_identity_lookups_total{outcome=\"timed_out\"}";
        assert_eq!(pgwarden.metric(late), Some(1.0));
        until("the server does not go on with it", || {
            let running =
                format!("SELECT count(*) FROM pg_stat_activity WHERE {ASKERS} AND state = 'active'");
            (server.psql(&running) == "0").then_some(())
        });
        server.psql("UPDATE public.pace SET seconds = 0");
        until("it works again", || (error_code(&answer_with(&mut wire, ANNS)).is_empty()).then_some(()));
    });
}

/// The query for session tokens, what the client reads, and what the log has to say about it.
const WRONG: [(&str, &str, &str, &str); 8] = [
    (
        "SELECT user_id AS user FROM platform.user_sessions WHERE $1 <> ''",
        "58000",
        "look-up of the tenant failed",
        "there is more than one row",
    ),
    (
        "SELECT 'u' AS user, 'soon' AS expires_at WHERE $1 <> ''",
        "58000",
        "look-up of the tenant failed",
        "expires_at is neither",
    ),
    (
        "SELECT 'u' AS user, now()::timestamp AS expires_at WHERE $1 <> ''",
        "58000",
        "look-up of the tenant failed",
        "expires_at is neither",
    ),
    (
        "SELECT 'u' AS user_id, 1 AS more WHERE $1 <> ''",
        "58000",
        "look-up of the tenant failed",
        "no column is called tenant or user",
    ),
    (
        "SELECT 'u' AS user, 'v' AS user WHERE $1 <> ''",
        "58000",
        "look-up of the tenant failed",
        "two columns are called",
    ),
    (
        "SELECT tenant FROM platform.no_such_table WHERE $1 <> ''",
        "58000",
        "look-up of the tenant failed",
        "no_such_table",
    ),
    (
        "SELECT user_id AS user FROM platform.user_sessions WHERE id = $1",
        "28000",
        "the token is not known",
        "",
    ),
    ("SELECT 'not-a-uuid' AS user, 'x' AS tenant WHERE $1 <> ''", "42501", "not a member of the tenant", ""),
];

#[test]
fn an_answer_that_cannot_be_used_is_refused_and_named_in_the_log() {
    for_each_version(async |server| {
        identities::load(server);
        for (query, code, message, line) in WRONG {
            let configuration = identities::configuration_with_session_token("", query);
            let pgwarden = identities::builder(server, &configuration).start();
            let mut wire = client(&pgwarden, "anybody");
            let refused = error(&answer_with(&mut wire, "secret-token"));
            assert_eq!(refused.code(), code, "{query}: {refused}");
            assert!(refused.message().contains(message), "{query}: {refused}");
            let log = if line.is_empty() { pgwarden.stderr() } else { pgwarden.until_logged(line, 0) };
            for hidden in ["secret-token", "not-a-uuid", "soon", "user_sessions"] {
                assert!(!log.contains(hidden), "{query}: {log}");
                assert!(!refused.to_string().contains(hidden), "{query}: {refused}");
            }
            assert_eq!(error_code(&wire.query("SELECT 1")), "", "the session goes on");
        }
    });
}

#[test]
fn a_value_that_is_not_utf_8_is_refused() {
    for_each_version(async |server| {
        identities::load(server);
        server.psql(
            "CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
        );
        let query = "SELECT E'\\\\xff' AS user WHERE $1 <> ''";
        let configuration = identities::configuration_with_session_token("database = \"bytes\"", query);
        let pgwarden = identities::builder(server, &configuration).start();
        let mut wire = client(&pgwarden, "anybody");
        assert_eq!(error_code(&answer_with(&mut wire, ANNS)), "58000");
        pgwarden.until_logged("SQLSTATE 22021", 0);
    });
}

#[test]
fn a_yes_or_no_decides_about_a_membership() {
    for_each_version(async |server| {
        identities::load(server);
        let exists = "SELECT EXISTS (SELECT FROM platform.organization_members m \
             WHERE m.user_id = $1 AND m.organization_id = $2 AND m.role = 'owner')";
        let configuration = identities::configuration_with_membership("", exists);
        let pgwarden = identities::builder(server, &configuration).start();
        let mut wire = client(&pgwarden, "anybody");
        assert_eq!(error_code(&answer_with(&mut wire, ANNS)), "");
        assert_eq!(error_code(&answer_with(&mut wire, SAMS)), "42501", "a row that says no is none");
    });
}

#[test]
fn through_a_pooler_nothing_is_listened_to_and_answers_hold_for_a_short_time() {
    for_each_version(async |server| {
        identities::load(server);
        let configuration = identities::configuration("ttl = \"1h\"");
        let configuration = format!("upstream.downstream_pooler = \"transaction\"\n{configuration}");
        let pgwarden = identities::builder(server, &configuration).start();
        let mut wire = client(&pgwarden, "anybody");
        assert_eq!(org_with(&mut wire, SAMS), GLOBEX);
        assert_eq!(server.psql(&format!("SELECT count(*) FROM pg_stat_activity WHERE {LISTENER}")), "0");
        switch(server, SAM, ACME);
        until("it is looked up again", || (org_with(&mut wire, SAMS) == ACME).then_some(()));
    });
}
