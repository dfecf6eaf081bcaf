//! Who may be what: a client cannot change its role, a token names only what it may, and no backend keeps one.

use crate::stage::{answer, client, client_as, of, start, start_configured};
use pgwarden_tests::tenants::{error_code, run, values};
use pgwarden_tests::{Frontend, Message, Wire, for_each_version};

/// Something that a client does.
type Step<'a> = &'a dyn Fn(&mut Wire) -> Vec<Message>;

const WHO: &str = "SELECT current_user";

#[test]
fn who_has_no_context_is_the_anonymous_role() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client(&pgwarden);
        assert_eq!(values(&wire.query(WHO)), ["anon"]);
        assert_eq!(values(&wire.query("SHOW role")), ["anon"]);
        assert_eq!(values(&answer(&mut wire, run(WHO))), ["anon"]);
        assert_eq!(values(&client_as(&pgwarden, None).query("SHOW role")), ["member"]);
    });
}

#[test]
fn a_token_cannot_name_a_role_that_is_not_listed() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client(&pgwarden);
        for role in ["postgres", "none", "", "authenticator"] {
            let messages = wire.query(&format!("{WHO} /*pgwarden_token='{}'*/", of(Some(role))));
            assert_eq!(error_code(&messages), "28000", "{role:?}");
        }
        assert_eq!(values(&wire.query(WHO)), ["anon"]);
    });
}

#[test]
fn a_client_cannot_change_its_role() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client_as(&pgwarden, None);
        for sql in [
            "SET ROLE support",
            "SET LOCAL ROLE support",
            "SET ROLE NONE",
            "SET role = 'support'",
            "SET \"role\" TO support",
            "RESET ROLE",
            "RESET role",
            "SET SESSION AUTHORIZATION DEFAULT",
            "RESET SESSION AUTHORIZATION",
            "SELECT set_config('role', 'support', true)",
            "SELECT set_config('ROLE', 'none', false)",
        ] {
            assert_eq!(error_code(&wire.query(sql)), "42501", "{sql}");
            assert_eq!(error_code(&answer(&mut wire, run(sql))), "42501", "{sql}");
            wire.query("BEGIN");
            wire.query("SELECT 1");
            assert_eq!(error_code(&wire.query(sql)), "42501", "{sql}");
            wire.query("ROLLBACK");
            assert_eq!(error_code(&wire.query(&format!("SELECT 1; {sql}; {WHO}"))), "42501", "{sql}");
        }
        for sql in ["RESET ALL", "DISCARD ALL"] {
            assert_eq!(error_code(&wire.query(sql)), "", "{sql}");
        }
        assert_eq!(values(&wire.query(WHO)), ["anon"], "the token of the session is gone with its settings");
    });
}

#[test]
fn the_role_is_there_again_after_a_savepoint_was_rolled_back() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client_as(&pgwarden, None);
        wire.query("BEGIN");
        wire.query("SAVEPOINT early");
        assert_eq!(values(&wire.query(WHO)), ["member"]);
        wire.query("ROLLBACK TO early");
        assert_eq!(values(&wire.query(WHO)), ["member"]);
        wire.query("COMMIT AND CHAIN");
        assert_eq!(values(&answer(&mut wire, run(WHO))), ["member"]);
        wire.query("ROLLBACK");
    });
}

#[test]
fn the_role_cannot_change_within_a_transaction() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client_as(&pgwarden, None);
        wire.query("BEGIN");
        assert_eq!(values(&wire.query(WHO)), ["member"]);
        let changed = wire.query(&format!("SET LOCAL pgwarden.token = '{}'", of(Some("support"))));
        assert_eq!(error_code(&changed), "42501");
        wire.query("ROLLBACK");
    });
}

#[test]
fn no_backend_keeps_a_role() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        // A superuser: is_superuser is read without a context, from the one backend there is.
        let mut support = client_as(&pgwarden, Some("support"));
        let mut other = client(&pgwarden);
        let steps: [Step<'_>; 9] = [
            &|wire| wire.query(WHO),
            &|wire| answer(wire, run(WHO)),
            &|wire| answer(wire, Frontend::new().parse("s", WHO, &[])),
            &|wire| answer(wire, Frontend::new().describe_statement("s")),
            &|wire| wire.query("BEGIN; SELECT 1; COMMIT"),
            &|wire| wire.query("VACUUM whose"),
            &|wire| wire.query("DO $$ BEGIN COMMIT; END $$"),
            &|wire| answer(wire, run("CALL sign()")),
            &|wire| wire.query("SELECT 1/0"),
        ];
        for (number, step) in steps.iter().enumerate() {
            step(&mut support);
            assert_eq!(values(&other.query("SHOW is_superuser")), ["off"], "after step {number}");
        }
        for sql in ["DO $$ BEGIN PERFORM 1/0; END $$", "VACUUM nothing", "CALL nothing()"] {
            assert_ne!(error_code(&support.query(sql)), "", "{sql}");
            assert_eq!(values(&other.query("SHOW is_superuser")), ["off"], "after {sql}");
            assert_ne!(error_code(&answer(&mut support, run(sql))), "", "{sql}");
            assert_eq!(values(&other.query("SHOW is_superuser")), ["off"], "after {sql}");
        }
    });
}

#[test]
fn a_role_that_the_login_cannot_become_is_an_error_of_pgwardens_own() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client_as(&pgwarden, Some("nobody"));
        for messages in [wire.query(WHO), answer(&mut wire, run(WHO))] {
            let error = messages.iter().find(|message| message.tag == b'E').expect("an error").fields();
            assert_eq!(error.code(), "58000");
            assert!(error.detail().contains("role \"nobody\" does not exist"), "{error:?}");
        }
        assert_eq!(values(&client(&pgwarden).query(WHO)), ["anon"]);
    });
}

#[test]
fn a_service_runs_as_its_own_role() {
    for_each_version(async |server| {
        server.psql("CREATE ROLE jobs LOGIN IN ROLE pg_monitor");
        for pooling in ["session", "transaction"] {
            let service =
                format!("[service.jobs]\nuser = \"jobs\"\nupstream_user = \"jobs\"\npooling = \"{pooling}\"");
            let with = |text: &str| format!("{text}\n{service}\n");
            let pgwarden = start_configured(server, with, |builder| builder);
            let mut jobs = Wire::open(pgwarden.port(), "jobs", "", "postgres");
            for _ in 0..2 {
                assert_eq!(values(&jobs.query(WHO)), ["jobs"], "{pooling}");
                assert_eq!(values(&answer(&mut jobs, run(WHO))), ["jobs"], "{pooling}");
                assert_eq!(
                    values(&jobs.query("BEGIN; SET LOCAL ROLE pg_monitor; SELECT current_user; COMMIT")),
                    ["pg_monitor"]
                );
            }
            assert_eq!(values(&client(&pgwarden).query(WHO)), ["anon"]);
        }
    });
}

#[test]
fn without_the_setting_everything_runs_as_the_login() {
    for_each_version(async |server| {
        let without =
            |text: &str| text.lines().filter(|line| !line.contains("role")).collect::<Vec<_>>().join("\n");
        let pgwarden = start_configured(server, without, |builder| builder);
        assert_eq!(values(&client_as(&pgwarden, Some("support")).query(WHO)), ["authenticator"]);
        assert_eq!(error_code(&client(&pgwarden).query("RESET ROLE")), "");
    });
}
