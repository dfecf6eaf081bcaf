//! Whose error is it: the client's comes back as it is, pgwarden's says that it is pgwarden's.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, run, value, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, Server, for_each_version, until};

#[test]
fn the_clients_errors_come_back_to_the_last_byte() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for sql in [
            "SELEC",
            "SELECT nope",
            "SELECT 1/0",
            "SELECT * FROM nowhere",
            "SELECT 'x'::int",
            "INSERT INTO items VALUES ('x', 'another tenant')",
            "DROP TABLE items",
            "SELECT \u{1}",
            "DO $$ BEGIN RAISE 'mine' USING HINT = 'a hint', DETAIL = 'a detail'; END $$",
        ] {
            for messages in [Frontend::new().query(sql), run(sql).sync()] {
                let answers = stage.like_direct(&messages, 1);
                assert_eq!(tags(&answers).matches('E').count(), 1, "{sql}");
            }
            let block = stage.queries_like_direct(&["BEGIN", sql, "COMMIT", "SELECT org()"]);
            assert_eq!(values(&block[3]), [ACME], "{sql}");
        }
    });
}

#[test]
fn an_error_in_the_first_bind_is_the_clients() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let messages =
            Frontend::new().parse("", "SELECT $1::int", &[]).bind("", "", &[Some("x")]).execute("", 0);
        let answers = stage.like_direct(&messages.sync(), 1);
        assert_eq!((tags(&answers).as_str(), error_code(&answers).as_str()), ("1EZ", "22P02"));
        let messages = Frontend::new().bind("", "missing", &[]).execute("", 0).sync();
        assert_eq!(error_code(&stage.like_direct(&messages, 1)), "26000");
        let messages =
            Frontend::new().parse("", "SELECT $1::int", &[]).bind("", "", &[]).execute("", 0).sync();
        assert_eq!(error_code(&stage.like_direct(&messages, 1)), "08P01");
    });
}

#[test]
fn an_encoding_error_is_the_clients() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let broken = Frontend::new().message(b'Q', b"SELECT '\xff\xfe', org()\0");
        assert_eq!(error_code(&stage.like_direct(&broken, 1)), "22021");
        let fine = Frontend::new().raw(broken.bytes()).query("SELECT org()");
        assert_eq!(values(&stage.like_direct(&fine, 2)), [ACME]);
        let broken = Frontend::new().message(b'P', b"\0SELECT '\xff'\0\0\0").sync();
        assert_eq!(error_code(&stage.like_direct(&broken, 1)), "22021");
    });
}

#[test]
fn statement_timeout_and_lock_timeout_are_the_clients() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for messages in [Frontend::new().query("SELECT pg_sleep(9)"), run("SELECT pg_sleep(9)").sync()] {
            let mut acme = stage.client("acme");
            acme.query("SET statement_timeout = '50ms'");
            acme.send(&messages);
            assert_eq!(error_code(&acme.until_ready()), "57014");
            assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
        }
        let mut owner = stage.direct("postgres");
        owner.query("BEGIN; LOCK TABLE notes");
        for messages in
            [Frontend::new().query("SELECT name FROM notes"), run("SELECT name FROM notes").sync()]
        {
            let mut acme = stage.client("acme");
            acme.query("BEGIN");
            acme.query("SET LOCAL lock_timeout = '50ms'");
            acme.send(&messages);
            assert_eq!(error_code(&acme.until_ready()), "55P03");
            acme.query("ROLLBACK");
            assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
        }
    });
}

#[test]
fn a_cancelled_statement_fails_as_the_clients_own() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        for messages in [Frontend::new().query("SELECT pg_sleep(9)"), run("SELECT pg_sleep(9)").sync()] {
            acme.send(&messages);
            let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            until("the statement runs", || (server.psql(asleep) == "1").then_some(()));
            acme.cancel();
            let answers = acme.until_ready();
            assert_eq!(error_code(&answers), "57014");
            assert!(tags(&answers).ends_with("EZ"), "{answers:?}");
            assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
        }
    });
}

#[test]
fn a_serialization_failure_passes_through() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "2"));
        server.psql("CREATE TABLE counter AS SELECT 0 AS n; GRANT ALL ON counter TO tenants");
        let (mut one, mut two) = (stage.client("acme"), stage.client("acme"));
        for wire in [&mut one, &mut two] {
            wire.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
            wire.query("SELECT n FROM counter");
        }
        assert_eq!(one.query("UPDATE counter SET n = n + 1")[0].command(), "UPDATE 1");
        one.query("COMMIT");
        let failed = two.query("UPDATE counter SET n = n + 1");
        assert_eq!((tags(&failed).as_str(), error_code(&failed).as_str()), ("EZ", "40001"));
    });
}

#[test]
fn a_backend_that_is_terminated_says_so() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.send(&Frontend::new().query("SELECT pg_terminate_backend(pg_backend_pid())"));
        let answers = acme.until_closed();
        assert_eq!(error_code(&answers), "57P01", "{answers:?}");
        assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
    });
}

/// The right to run set_config is taken away while backends hold a prepared context statement.
fn revoke(server: &Server) {
    server.psql("REVOKE EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) FROM PUBLIC");
}

#[test]
fn an_injection_that_fails_is_pgwardens_error_and_the_statement_never_runs() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let insert = "INSERT INTO notes VALUES ('never', 'x')";
        for (number, messages) in [Frontend::new().query(insert), run(insert).sync()].into_iter().enumerate()
        {
            let mut acme = stage.client("acme");
            acme.query("BEGIN");
            revoke(server);
            acme.send(&messages);
            let answers = acme.until_ready();
            let errors: Vec<_> = answers.iter().filter(|message| message.tag == b'E').collect();
            assert_eq!(errors.len(), 1, "{number}: {answers:?}");
            assert!(errors[0].fields().message().contains("tenant context"), "{number}: {answers:?}");
            assert_eq!(errors[0].fields().position(), None);
            assert_eq!(answers.last().unwrap().status(), 'E');
            assert_eq!(acme.query("ROLLBACK").last().unwrap().status(), 'I');
            server.psql("GRANT EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) TO PUBLIC");
            assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
        }
        assert_eq!(server.psql("SELECT count(*) FROM notes"), "0");
    });
}

#[test]
fn a_session_scope_that_cannot_be_set_keeps_the_message_from_the_server() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let body = "DO $$ BEGIN INSERT INTO notes VALUES ('never', 'x'); END $$";
        for messages in [Frontend::new().query(body), run(body).sync()] {
            let mut acme = stage.client("acme");
            acme.rows("SELECT 1");
            revoke(server);
            acme.send(&messages);
            let answers = acme.until_ready();
            assert!(tags(&answers).ends_with("EZ"), "{answers:?}");
            assert_ne!(error_code(&answers), "");
            server.psql("GRANT EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) TO PUBLIC");
            assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
        }
        assert_eq!(server.psql("SELECT count(*) FROM notes"), "0");
    });
}

#[test]
fn on_a_hardened_server_the_context_travels_as_set_local() {
    for_each_version(async |server| {
        revoke(server);
        let stage = Tenants::start(server);
        let mark = stage.mark();
        for messages in [
            Frontend::new().query("SELECT org()"),
            run("SELECT org()").sync(),
            Frontend::new()
                .query("DO $$ BEGIN IF org() = '' THEN RAISE 'no context'; END IF; COMMIT; END $$"),
            Frontend::new().query("BEGIN; SELECT org(); COMMIT; SELECT org()"),
            run("SELECT org()").raw(run("COMMIT").bytes()).raw(run("SELECT org()").bytes()).sync(),
            Frontend::new().query("SELECT 'é', nope"),
        ] {
            stage.like_direct(&messages, 1);
        }
        stage.queries_like_direct(&[
            "BEGIN",
            "SELECT org()",
            "SAVEPOINT s",
            "SELECT nope",
            "ROLLBACK TO s",
            "COMMIT",
        ]);
        assert!(!stage.ran(mark).iter().any(|text| text.contains("SELECT pg_catalog.set_config")));
        assert_eq!(value(&stage.client("nobody").query("SELECT org()")).as_deref(), Some(""));
    });
}

#[test]
fn notices_do_not_disturb_the_order_of_replies() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let noisy = "DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END $$";
        for messages in [
            Frontend::new().query(noisy).query("SELECT org()"),
            run(noisy).sync().query("SELECT org()"),
            Frontend::new().query("DROP TABLE IF EXISTS nowhere; SELECT org()").query("COMMIT"),
            Frontend::new().query("SET TimeZone = 'Europe/Rome'; SELECT org()").query("ROLLBACK"),
        ] {
            stage.like_direct(&messages, 2);
        }
    });
}

#[test]
fn a_query_behind_a_batch_that_failed_is_skipped_with_it() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let failing = || Frontend::new().execute("nothing", 0);
        stage.like_direct(&failing().query("SELECT 1").sync().sync().query("ROLLBACK"), 3);
        stage.like_direct(&failing().query("SELECT 1").query("SELECT 2").sync().query("SELECT 3"), 2);
        let mut acme = stage.client("acme");
        acme.send(&failing().query("SELECT org()"));
        assert_eq!(acme.receive().fields().code(), "34000");
        acme.send(&Frontend::new().query("SELECT org()").sync());
        assert_eq!(error_code(&acme.until_ready()), "", "nothing but ReadyForQuery");
        assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
        assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX]);
    });
}
