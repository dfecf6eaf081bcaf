//! Statements that pgwarden itself refuses: the client reads an error that says what to do, the transaction ends up as
//! PostgreSQL would leave it, and nothing of it reached the server.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, run, value, values};
use pgwarden_tests::wire::{Fields, PROTOCOL_3_0, tags};
use pgwarden_tests::{Frontend, Message, PgwardenBuilder, Wire, for_each_version, until};

const SET_CONFIG: u32 = 2078;

/// The fields of the only error.
#[track_caller]
fn the_error(messages: &[Message]) -> Fields {
    let errors: Vec<_> = messages.iter().filter(|message| message.tag == b'E').collect();
    assert_eq!(errors.len(), 1, "{messages:?}");
    errors[0].fields()
}

#[track_caller]
fn assert_refused(messages: &[Message], message: &str) {
    let error = the_error(messages);
    assert_eq!((error.severity(), error.code(), error.message()), ("ERROR", "42501", message));
    for text in [error.detail(), error.hint()] {
        assert!(text.ends_with('.') && text.starts_with(char::is_uppercase), "whole sentences: {error}");
    }
}

/// Says `statement` as `user` outside of a block, in one, and in a failed one; by both protocols.
#[track_caller]
fn is_refused_everywhere(stage: &Tenants<'_>, user: &str, statement: &str, message: &str) {
    for form in [Frontend::new().query(statement), run(statement).sync()] {
        let mut wire = stage.client(user);
        wire.send(&form);
        let answers = wire.until_ready();
        assert_refused(&answers, message);
        assert_eq!((tags(&answers).as_str(), answers.last().unwrap().status()), ("EZ", 'I'), "{statement}");

        assert_eq!(wire.query("BEGIN").last().unwrap().status(), 'T');
        assert_eq!(values(&wire.query("SELECT 1")), ["1"]);
        wire.send(&form);
        let answers = wire.until_ready();
        assert_refused(&answers, message);
        assert_eq!((tags(&answers).as_str(), answers.last().unwrap().status()), ("EZ", 'E'), "{statement}");
        assert_eq!(error_code(&wire.query("SELECT 1")), "25P02", "the block has failed");
        let ended = wire.query("COMMIT");
        assert_eq!((ended[0].command().as_str(), ended[1].status()), ("ROLLBACK", 'I'), "{statement}");

        wire.query("BEGIN");
        wire.send(&form);
        wire.until_ready();
        assert_eq!(wire.query("ROLLBACK").last().unwrap().status(), 'I');
        assert_eq!(values(&wire.query("SELECT 1")), ["1"], "the session goes on");
    }
}

#[test]
fn a_statement_without_a_context_is_refused_and_never_sent() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let message = "no tenant context for a statement that names a table";
        for statement in
            ["SELECT * FROM items", "INSERT INTO notes VALUES ('never')", "TABLE items", "DELETE FROM notes"]
        {
            let mark = stage.mark();
            is_refused_everywhere(&stage, "nobody", statement, message);
            let sent: Vec<_> = stage.ran(mark).into_iter().filter(|text| text.contains(statement)).collect();
            assert_eq!(sent, [""; 0]);
        }
        assert_eq!(server.psql("SELECT count(*) FROM notes"), "0");
        assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX]);
    });
}

#[test]
fn touching_a_protected_setting_is_refused_and_never_sent() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let message = "permission denied to change the tenant context";
        let other = GLOBEX;
        for statement in [
            format!("SET app.current_org_id = '{other}'"),
            format!("SET LOCAL app.current_org_id TO '{other}'"),
            format!("SET SESSION APP.\"current_org_id\" = '{other}'"),
            "RESET app.current_org_id".to_owned(),
            format!("SELECT set_config('app.current_org_id', '{other}', false)"),
            format!("SELECT pg_catalog.set_config('APP.Current_User_Id', '{other}', true)"),
            format!(
                "WITH x AS (SELECT set_config('app.' || 'current_org_id', '{other}', true)) SELECT * FROM x"
            ),
        ] {
            let mark = stage.mark();
            is_refused_everywhere(&stage, "acme", &statement, message);
            let sent: Vec<_> = stage.ran(mark).into_iter().filter(|text| text.contains(&statement)).collect();
            assert_eq!(sent, [""; 0]);
            assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
        }
        let role = "permission denied to change the role or row security";
        for statement in ["SET ROLE globex", "SET LOCAL ROLE tenants", "SET SESSION AUTHORIZATION globex"] {
            is_refused_everywhere(&stage, "acme", statement, role);
        }
    });
}

#[test]
fn a_function_call_of_set_config_is_refused() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let arguments: [Option<&[u8]>; 3] =
            [Some(b"app.current_org_id"), Some(GLOBEX.as_bytes()), Some(b"false")];
        let call = Frontend::new().function_call(SET_CONFIG, &arguments);
        for (begin, status) in [("SELECT 1", 'I'), ("BEGIN", 'E')] {
            let mut acme = stage.client("acme");
            acme.query(begin);
            acme.send(&call);
            let answers = acme.until_ready();
            assert_refused(&answers, "permission denied to change the tenant context");
            assert_eq!((tags(&answers).as_str(), answers.last().unwrap().status()), ("EZ", status));
            acme.query("ROLLBACK");
            assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
        }
    });
}

#[test]
fn a_startup_that_touches_a_protected_setting_is_no_login() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let option = format!("-c app.current_org_id={GLOBEX}");
        for (name, given) in [
            ("options", option.as_str()),
            ("options", "--app.current-org-id=x"),
            ("options", "-c role=globex"),
            ("app.current_org_id", GLOBEX),
            ("APP.CURRENT_ORG_ID", GLOBEX),
            ("role", "globex"),
            ("session_authorization", "globex"),
        ] {
            let mut wire = Wire::connect(stage.pgwarden.port());
            let parameters = [("user", "acme"), ("database", "postgres"), (name, given)];
            let error = wire.fatal(&Frontend::new().startup(PROTOCOL_3_0, &parameters));
            assert_eq!(error.code(), "42501", "{name}={given}: {error}");
            assert!(!error.detail().is_empty() && !error.hint().is_empty(), "{error}");
            assert!(!error.to_string().contains(GLOBEX), "the value is not shown: {error}");
        }
        assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
    });
}

#[test]
fn the_rest_of_a_refused_batch_is_skipped_and_the_next_batch_runs() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut nobody = stage.client("nobody");
        let batch = run("SELECT 'before'")
            .raw(run("SELECT * FROM items").bytes())
            .raw(run("SELECT 'behind'").bytes());
        nobody.send(&batch.sync().raw(run("SELECT 'next'").sync().bytes()).query("SELECT 'last'"));
        let first = nobody.until_ready();
        assert_refused(&first, "no tenant context for a statement that names a table");
        assert!(tags(&first).ends_with("EZ"), "{first:?}");
        assert_eq!(values(&first), ["before"]);
        assert_eq!(values(&nobody.until_ready()), ["next"]);
        assert_eq!(values(&nobody.until_ready()), ["last"]);
    });
}

#[test]
fn errors_of_pgwarden_leave_the_transaction_as_the_servers_own_would() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        server.psql("CREATE TABLE closed (a int)");
        let conversation = |wire: &mut Wire, statement: &str| -> Vec<String> {
            let steps = [
                "BEGIN",
                "SAVEPOINT a",
                statement,
                "ROLLBACK TO a",
                "SELECT 1",
                statement,
                "SELECT 1",
                "COMMIT",
            ];
            let shown = |sql: &&str| {
                let answers = wire.query(sql);
                format!(
                    "{sql}: {} {} {}",
                    tags(&answers),
                    error_code(&answers),
                    answers.last().unwrap().status()
                )
            };
            let shown: Vec<_> = steps.iter().map(shown).collect();
            shown.into_iter().map(|line| line.replace(statement, "…")).collect()
        };
        // The server answers 42501 itself where a table is not granted.
        let expected = conversation(&mut stage.direct("acme"), "SELECT a FROM closed");
        assert!(expected[2].ends_with("EZ 42501 E"), "{expected:?}");
        assert_eq!(conversation(&mut stage.client("nobody"), "SELECT name FROM items"), expected);
        assert_eq!(conversation(&mut stage.client("acme"), "SET app.current_org_id = ''"), expected);
    });
}

fn impatient(builder: PgwardenBuilder) -> PgwardenBuilder {
    let pool = "[pool]\ncheckout_timeout = \"300ms\"\n";
    builder.config(pool)
}

#[track_caller]
fn assert_exhausted(error: &Fields, severity: &str) {
    assert_eq!((error.severity(), error.code()), (severity, "53300"), "{error}");
    assert_eq!(error.message(), "no backend became free in time");
    for part in ["All 1 backends", "database \"postgres\"", "0.3 seconds"] {
        assert!(error.detail().contains(part), "{part} in {error}");
    }
    assert!(error.hint().contains("pool.size"), "{error}");
}

#[test]
fn a_pool_that_stays_exhausted_fails_the_statement_and_not_the_session() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, impatient);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        acme.query("BEGIN");
        for form in [Frontend::new().query("SELECT org()"), run("SELECT org()").sync()] {
            globex.send(&form);
            let answers = globex.until_ready();
            assert_exhausted(&the_error(&answers), "ERROR");
            assert_eq!((tags(&answers).as_str(), answers.last().unwrap().status()), ("EZ", 'I'));
        }
        globex.send(&run("SELECT 'skipped'").sync().query("SELECT 'waits again'"));
        assert_exhausted(&the_error(&globex.until_ready()), "ERROR");
        assert_exhausted(&the_error(&globex.until_ready()), "ERROR");
        acme.query("COMMIT");
        assert_eq!(values(&globex.query("SELECT org()")), [GLOBEX]);
        assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
        assert_eq!(stage.pgwarden.metric("pgwarden_waiting_clients"), Some(0.0));
    });
}

#[test]
fn who_waits_gets_the_backend_before_the_deadline() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        acme.query("BEGIN");
        globex.send(&Frontend::new().query("SELECT org()"));
        until("it waits", || (stage.pgwarden.metric("pgwarden_waiting_clients") == Some(1.0)).then_some(()));
        acme.query("COMMIT");
        assert_eq!(values(&globex.until_ready()), [GLOBEX]);
    });
}

#[test]
fn a_client_that_waits_and_goes_takes_no_backend_with_it() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        acme.query("BEGIN");
        globex.send(&Frontend::new().query("INSERT INTO notes VALUES ('never')"));
        until("it waits", || (stage.pgwarden.metric("pgwarden_waiting_clients") == Some(1.0)).then_some(()));
        drop(globex);
        until("it is gone", || (stage.pgwarden.metric("pgwarden_clients") == Some(1.0)).then_some(()));
        acme.query("COMMIT");
        assert_eq!(value(&stage.client("globex").query("SELECT org()")).as_deref(), Some(GLOBEX));
        assert_eq!(server.psql("SELECT count(*) FROM notes"), "0");
    });
}

#[test]
fn an_exhausted_pool_of_sessions_refuses_the_login() {
    for_each_version(async |server| {
        let stage =
            Tenants::start_with(server, |builder| impatient(builder).env("PGWARDEN_POOL_MODE", "session"));
        let acme = stage.client("acme");
        let mut wire = Wire::connect(stage.pgwarden.port());
        let parameters = [("user", "globex"), ("database", "postgres")];
        assert_exhausted(&wire.fatal(&Frontend::new().startup(PROTOCOL_3_0, &parameters)), "FATAL");
        drop(acme);
        assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX]);
    });
}
