//! The audit trail as a table: every record once, whatever happens to the server, and nobody changes one afterwards.

use pgwarden_tests::earlier_trail::{EarlierTrail, finding};
use pgwarden_tests::seal::run as run_script;
use pgwarden_tests::{Pgwarden, PgwardenBuilder, Server, Signal, for_each_version, psql, until};
use serde_json::Value;

const WRITER: &str =
    "CREATE ROLE audit_writer LOGIN PASSWORD 'append'; GRANT pgwarden_audit_writer TO audit_writer";
const BEHIND: &str = "pgwarden_sink_behind_records{sink=\"postgres\"}";
const DELIVERED: &str = "pgwarden_sink_records_total{sink=\"postgres\"}";
const FAILING: &str = "pgwarden_sink_failing{sink=\"postgres\"}";
/// A backend of the sink that waits for a lock.
const WAITS: &str = "usename = 'audit_writer' AND wait_event_type = 'Lock'";

fn script() -> String {
    let printed = Pgwarden::builder().run(&["sql", "audit"]);
    assert_eq!(printed.status.code(), Some(0), "{}", printed.stderr);
    printed.stderr
}

#[track_caller]
fn install(server: &Server) {
    run_script(server, &server.url(), &script());
    server.psql(WRITER);
}

fn told(server: &Server, trail: &EarlierTrail) -> PgwardenBuilder {
    let url = server.url_for("audit_writer", "", "postgres");
    let config = format!(
        "listen = \"127.0.0.1:{{port}}\"\nauth.method = \"trust\"\nadmin.listen = \"127.0.0.1:{{admin_port}}\"\n\
         upstream.url = \"{}\"\n[audit]\ndirectory = \"{}\"\n[audit.postgres]\nurl = \"{url}\"\n\
         password = \"env:AUDIT_SECRET\"\nbatch = 50\ntimeout = \"2s\"\n",
        server.url(),
        trail.path().display()
    );
    Pgwarden::builder().given_nothing().config(&config).env("AUDIT_SECRET", "append")
}

/// How many records are in the table.
fn count(server: &Server) -> usize {
    server.psql("SELECT count(*) FROM pgwarden.audit").parse().expect("a number")
}

/// Ends pgwarden, and compares the table with the files, letter by letter.
#[track_caller]
fn the_table_is_the_trail(server: &Server, trail: &EarlierTrail, pgwarden: Pgwarden) {
    pgwarden.signal(Signal::TERM);
    assert!(pgwarden.wait_exit().success(), "{}", pgwarden.stderr());
    let stored = server.psql("SELECT record FROM pgwarden.audit ORDER BY seq");
    let (stored, lines) = (stored.lines().collect::<Vec<_>>(), trail.all_lines());
    assert_eq!(stored.len(), lines.len(), "{}", pgwarden.stderr());
    for (stored, line) in stored.iter().zip(&lines) {
        assert_eq!(stored, line);
    }
}

fn status(pgwarden: &Pgwarden) -> Value {
    let (code, body) = pgwarden.admin("/status");
    assert_eq!(code, 200, "{body}");
    let status: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    status["sinks"][0].clone()
}

#[track_caller]
fn until_delivered(pgwarden: &Pgwarden) {
    until("everything is delivered", || {
        let is = |name: &str| pgwarden.metric(name).expect("it is counted");
        (is(DELIVERED) > 0.0 && is(BEHIND) == 0.0 && is(FAILING) == 0.0).then_some(())
    });
}

#[test]
fn every_record_is_in_the_table_once_whatever_happens_to_the_server() {
    for_each_version(async |server| {
        install(server);
        let mut trail = EarlierTrail::new();
        for _ in 0..3 {
            trail.segment();
            trail.findings(700);
        }
        // Somebody holds the table: the sink waits, and its connection is lost meanwhile.
        let holder = server.connect().await;
        holder
            .batch_execute("BEGIN; LOCK TABLE pgwarden.audit IN ACCESS EXCLUSIVE MODE")
            .await
            .expect("held");
        let pgwarden = told(server, &trail).start();
        let waits = format!("SELECT count(*) FROM pg_stat_activity WHERE {WAITS}");
        until("the sink waits for the lock", || (server.psql(&waits) == "1").then_some(()));
        server.terminate(WAITS);
        until("it has failed", || (pgwarden.metric(FAILING) == Some(1.0)).then_some(()));
        assert_eq!(pgwarden.admin("/readyz").0, 200, "clients are served all the same");
        assert!(status(&pgwarden)["behind"].as_u64() >= Some(2_103), "{}", status(&pgwarden));
        holder.batch_execute("ROLLBACK").await.expect("given back");
        // The server goes down in the middle, as after a crash, and comes back.
        until("the first records are there", || (count(server) > 0).then_some(()));
        server.stop_immediate();
        until("it has failed", || (pgwarden.metric(FAILING) == Some(1.0)).then_some(()));
        server.start_again();
        until("all records are there", || (count(server) >= 2_103).then_some(()));
        until_delivered(&pgwarden);
        let report = status(&pgwarden);
        assert!(report["retries"].as_u64() >= Some(2), "{report}");
        assert_eq!((&report["rejected"], &report["skipped"]), (&Value::from(0), &Value::from(0)));
        the_table_is_the_trail(server, &trail, pgwarden);
    });
}

#[test]
fn a_sink_goes_on_where_it_was_after_a_start() {
    for_each_version(async |server| {
        install(server);
        let mut trail = EarlierTrail::new();
        trail.segment();
        trail.findings(20);
        let pgwarden = told(server, &trail).start();
        until_delivered(&pgwarden);
        the_table_is_the_trail(server, &trail, pgwarden);
        let before = count(server);
        // What is gone from the table does not come back: nothing is delivered twice.
        server.psql("ALTER TABLE pgwarden.audit RENAME TO audit_before");
        server.psql("DROP TABLE pgwarden.audit_before CASCADE");
        run_script(server, &server.url(), &script());
        let pgwarden = told(server, &trail).start();
        until("the start is recorded", || (trail.all_lines().len() > before).then_some(()));
        until_delivered(&pgwarden);
        pgwarden.signal(Signal::TERM);
        assert!(pgwarden.wait_exit().success(), "{}", pgwarden.stderr());
        assert_eq!(count(server), trail.all_lines().len() - before);
    });
}

#[test]
fn a_database_without_the_table_gets_everything_once_it_has_one() {
    for_each_version(async |server| {
        server.psql("CREATE ROLE audit_writer LOGIN");
        let mut trail = EarlierTrail::new();
        trail.segment();
        trail.findings(3);
        let pgwarden = told(server, &trail).start();
        let log = pgwarden.until_logged("pgwarden sql audit", 0);
        assert!(log.contains("does not take the audit trail"), "{log}");
        assert_eq!(status(&pgwarden)["last_failure"], "unprepared");
        run_script(server, &server.url(), &script());
        server.psql("GRANT pgwarden_audit_writer TO audit_writer");
        until_delivered(&pgwarden);
        the_table_is_the_trail(server, &trail, pgwarden);
    });
}

#[test]
fn the_login_may_append_and_nothing_else() {
    for_each_version(async |server| {
        install(server);
        // Once more: what is there stays.
        let record = r#"[{"id":"018bcfe5-687b-7fff-bfff-000000000001","time":"2026-01-31T23:59:59.5Z","seq":1,"kind":"started"}]"#;
        let append = format!("SELECT pgwarden.audit_append('{record}')");
        let url = server.url_for("audit_writer", "", "postgres");
        let appended = psql(&url, &["-c", &append, "-c", &append]);
        assert_eq!(
            String::from_utf8_lossy(&appended.stdout),
            "1\n0\n",
            "the second time it is there already"
        );
        run_script(server, &server.url(), &script());
        assert_eq!(count(server), 1);
        for statement in [
            "SELECT * FROM pgwarden.audit",
            "INSERT INTO pgwarden.audit (time, id, seq, kind, record) VALUES (now(), gen_random_uuid(), 1, 'x', '{}')",
            "UPDATE pgwarden.audit SET kind = 'x'",
            "DELETE FROM pgwarden.audit",
            "TRUNCATE pgwarden.audit",
            "SELECT pgwarden.audit_drop_before('2100-01-01')",
            "SELECT pgwarden.audit_month('2100-01-01')",
            "SELECT pgwarden.audit_guard('pgwarden.audit')",
        ] {
            let refused = psql(&url, &["-c", statement]);
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(said.contains("permission denied"), "{statement}: {said}");
        }
    });
}

#[test]
fn nobody_changes_a_record_without_taking_the_table_apart() {
    for_each_version(async |server| {
        install(server);
        let record = r#"[{"id":"018bcfe5-687b-7fff-bfff-000000000001","time":"2026-01-31T23:59:59.5Z","seq":1,"kind":"started"},
            {"id":"018bcfe5-687b-7fff-bfff-000000000002","time":"1999-01-01T00:00:00Z","seq":2,"kind":"started"}]"#;
        server.psql(&format!("SELECT pgwarden.audit_append('{record}')"));
        for role in ["postgres", "pgwarden_audit"] {
            for table in ["pgwarden.audit", "pgwarden.audit_2026_01", "pgwarden.audit_other"] {
                for statement in ["UPDATE {} SET kind = 'x'", "DELETE FROM {}", "TRUNCATE {}"] {
                    let statement = statement.replace("{}", table);
                    let refused = psql(&server.url(), &["-c", &format!("SET ROLE {role}"), "-c", &statement]);
                    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
                    assert!(said.contains("can only be appended to"), "{role}: {statement}: {said}");
                }
            }
        }
        // As replication applies changes.
        let replica = psql(
            &server.url(),
            &["-c", "SET session_replication_role = replica", "-c", "DELETE FROM pgwarden.audit"],
        );
        assert!(String::from_utf8_lossy(&replica.stderr).contains("can only be appended to"));
        assert_eq!(count(server), 2);
    });
}

#[test]
fn each_month_has_its_partition_and_goes_as_a_whole() {
    for_each_version(async |server| {
        install(server);
        let mut trail = EarlierTrail::new();
        trail.segment();
        // One a second, over the end of January 2026.
        trail.findings(700);
        let pgwarden = told(server, &trail).start();
        until_delivered(&pgwarden);
        let counts = "SELECT (SELECT count(*) FROM pgwarden.audit_2026_01), (SELECT count(*) FROM pgwarden.audit_2026_02)";
        assert_eq!(server.psql(counts), "600|101");
        assert_eq!(server.psql("SELECT * FROM pgwarden.audit_drop_before('2026-02-28')"), "audit_2026_01");
        let left = "SELECT min(time) AT TIME ZONE 'UTC', bool_and(record IS NOT NULL) FROM pgwarden.audit";
        assert_eq!(server.psql(left), "2026-02-01 00:00:00|t");
        drop(pgwarden);
    });
}

#[test]
fn a_character_that_postgresql_cannot_hold_keeps_no_record_back() {
    for_each_version(async |server| {
        install(server);
        let mut trail = EarlierTrail::new();
        trail.segment();
        let mut odd = finding(1);
        let mut actor = (*odd.actor).clone();
        actor.application_name = Some("a\0b\\u0000 ü\u{1F980}".to_owned());
        odd.actor = actor.into();
        trail.finding(&odd);
        trail.findings(2);
        let pgwarden = told(server, &trail).start();
        until_delivered(&pgwarden);
        assert_eq!(status(&pgwarden)["rejected"], 0);
        let name = "SELECT record #>> '{actor,application_name}' FROM pgwarden.audit WHERE seq = 2";
        assert_eq!(server.psql(name), "a\u{fffd}b\\u0000 ü\u{1F980}");
        let stored = server.psql("SELECT record FROM pgwarden.audit WHERE seq = 2");
        assert_eq!(stored, trail.lines()[1], "as the file has it, so that it verifies");
        let columns = "SELECT kind, severity, mode, decision, count, tenant, actor, database, schema_name, table_name, \
                       command, fingerprint, instance FROM pgwarden.audit WHERE seq = 3";
        assert_eq!(
            server.psql(columns),
            "rows_foreign|blocker|shadow|allowed|2|acme|app|shop|app|items|SELECT|0000000000000003|proxy-1"
        );
        drop(pgwarden);
    });
}
