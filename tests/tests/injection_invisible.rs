//! Nothing of pgwarden's work shows: not to clients, and next to nothing to those who look after the server.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, run, value, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, Server, Version, for_each_version, versions};

#[test]
fn no_warning_gets_into_the_servers_log() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mark = stage.mark();
        for user in ["acme", "globex", "nobody"] {
            let mut wire = stage.client(user);
            for sql in [
                "SELECT org()",
                "BEGIN",
                "SELECT org()",
                "SAVEPOINT s",
                "ROLLBACK TO s",
                "SELECT org()",
                "COMMIT",
                "BEGIN; SELECT org(); COMMIT; SELECT org()",
                "DO $$ BEGIN COMMIT; END $$",
                "SET search_path = public",
                "SHOW app.current_org_id",
                "SELECT org(); SELECT 1/0",
                "DISCARD ALL",
            ] {
                wire.query(sql);
            }
            wire.send(&run("SELECT org()").sync().raw(run("DO $$ BEGIN COMMIT; END $$").sync().bytes()));
            wire.until_ready();
            wire.until_ready();
        }
        assert_eq!(stage.warnings(mark), [""; 0]);
    });
}

#[test]
fn the_clients_own_warnings_are_the_only_ones() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mark = stage.mark();
        let mut acme = stage.client("acme");
        for sql in ["COMMIT", "ROLLBACK", "SET LOCAL work_mem = '5MB'", "SELECT org(); COMMIT; SELECT org()"]
        {
            acme.query(sql);
        }
        assert_eq!(stage.warnings(mark).len(), 4, "{:?}", stage.warnings(mark));
    });
}

#[test]
fn startup_replies_have_no_trace_of_the_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (proxied, direct) = (stage.client("acme"), stage.direct("acme"));
        let names = |wire: &pgwarden_tests::Wire| {
            let mut names: Vec<_> = wire.parameters.iter().map(|(name, _)| name.clone()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&proxied), names(&direct));
    });
}

#[test]
fn command_tags_and_counts_are_the_clients() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for sql in [
            "BEGIN; INSERT INTO notes VALUES ('a'), ('b'); UPDATE notes SET name = 'c'; DELETE FROM notes; ROLLBACK",
            "INSERT INTO notes VALUES ('a'), ('b')",
            "UPDATE notes SET name = 'c' WHERE false",
            "CREATE TABLE made AS SELECT 1; DROP TABLE made",
            "EXPLAIN (COSTS OFF) SELECT 1",
            "SELECT 1; SELECT 2, 3; SELECT 4 WHERE false",
            "VALUES (1), (2)",
        ] {
            let mut replies = Vec::new();
            for mut wire in [stage.client("acme"), stage.direct("acme")] {
                let mut answers = wire.query(sql);
                answers.extend(wire.query("SELECT 1"));
                replies.push(answers);
            }
            assert_eq!(replies[0], replies[1], "{sql}");
        }
    });
}

/// A server with pg_stat_statements, and how many entries it has for the login of pgwarden.
fn counting(version: Version) -> Server {
    let server = Server::builder(version).set("shared_preload_libraries", "pg_stat_statements").start();
    server.psql("CREATE EXTENSION pg_stat_statements");
    server
}

fn entries(server: &Server) -> Vec<String> {
    let sql = "SELECT query FROM pg_stat_statements JOIN pg_roles r ON r.oid = userid WHERE rolname = 'app' ORDER BY 1";
    server.psql(sql).lines().map(str::to_owned).collect()
}

#[test]
fn pg_stat_statements_does_not_grow_with_the_number_of_tenants() {
    for version in versions() {
        let server = counting(version);
        let tenants: Vec<String> = (0..10)
            .map(|n| format!("t{n}=tenant:0000000{n}-0000-4000-8000-000000000000;user:{ACME}"))
            .collect();
        let stage =
            Tenants::start_with(&server, |builder| builder.env("PGWARDEN_FIXED", &tenants.join(", ")));
        let mut counts = Vec::new();
        for number in 0..10 {
            let mut wire = stage.client(&format!("t{number}"));
            wire.rows("SELECT org()");
            wire.query("BEGIN");
            wire.rows("SELECT who()");
            wire.query("COMMIT");
            wire.send(&run("SELECT name FROM items").sync());
            wire.until_ready();
            wire.query("DO $$ BEGIN COMMIT; END $$");
            counts.push(entries(&server).len());
        }
        assert_eq!(counts[9], counts[1], "PostgreSQL {version}: {counts:?} {:?}", entries(&server));
    }
}

#[test]
fn strings_with_transaction_control_show_their_values_only_before_18() {
    for version in versions() {
        let server = counting(version);
        let stage = Tenants::start(&server);
        for user in ["acme", "globex"] {
            stage.client(user).rows("BEGIN; SELECT org(); COMMIT");
        }
        let seen = entries(&server).join("\n");
        if version >= Version(18) {
            assert!(!seen.contains(ACME) && !seen.contains(GLOBEX), "{seen}");
        }
    }
}

#[test]
fn the_clients_statement_is_the_one_that_pg_stat_activity_shows() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        let sql = "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()";
        acme.send(&run(sql).sync());
        assert_eq!(values(&acme.until_ready()), [sql]);
        acme.query("BEGIN");
        assert_eq!(value(&acme.query(sql)).as_deref(), Some(sql));
        acme.query("COMMIT");
    });
}

#[test]
fn there_is_no_extra_transaction_and_no_extra_command() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.rows("SELECT 1");
        // What the client writes and what it reads carry one transaction id each, with no gap between them.
        let next = |wire: &mut pgwarden_tests::Wire| {
            let id = value(&wire.query("INSERT INTO notes VALUES ('x') RETURNING xmin")).expect("an id");
            id.parse::<u64>().expect("a number")
        };
        let first = next(&mut acme);
        assert_eq!([next(&mut acme), next(&mut acme)], [first + 1, first + 2]);
        let now = "SELECT now() = statement_timestamp() OR now() <= statement_timestamp()";
        assert_eq!(values(&acme.query(now)), ["t"]);
    });
}

#[test]
fn notifications_and_parameter_status_keep_their_order() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut seen = Vec::new();
        for mut wire in [stage.direct("acme"), stage.client("acme")] {
            let mut answers = wire.query("LISTEN news");
            for sql in [
                "SELECT org(); NOTIFY news, 'one'",
                "BEGIN; NOTIFY news, 'two'; SELECT org(); COMMIT",
                "SET TimeZone = 'Europe/Rome'",
                "SET application_name = 'me'; SELECT org()",
                "BEGIN; SET LOCAL DateStyle = 'German'; SELECT org(); COMMIT",
            ] {
                answers.extend(wire.query(sql));
            }
            let batch = run("SELECT org()").raw(run("SELECT pg_notify('news', 'three')").bytes());
            wire.send(&batch.sync().raw(run("SET TimeZone = 'UTC'").sync().bytes()));
            answers.extend(wire.until_ready());
            answers.extend(wire.until_ready());
            let payloads = answers.iter().filter(|message| message.tag == b'A');
            let payloads: Vec<_> = payloads.map(|message| message.notification()).collect();
            seen.push((tags(&answers), payloads));
        }
        assert_eq!(seen[1], seen[0], "pgwarden's on the left");
    });
}

#[test]
fn a_batch_travels_in_one_write_with_its_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.send(&run("SELECT org()").sync());
        acme.until_ready();
        // One Sync of the client's is one ReadyForQuery; the context adds none, however many batches fly.
        let mut messages = Frontend::new();
        for _ in 0..20 {
            messages = messages.raw(run("SELECT org()").sync().bytes());
        }
        acme.send(&messages);
        for _ in 0..20 {
            assert_eq!(tags(&acme.until_ready()), "12DCZ");
        }
        assert_eq!(acme.receive_at_once(), None);
    });
}
