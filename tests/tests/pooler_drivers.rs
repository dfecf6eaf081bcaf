//! Drivers and their prepared statements through pgwarden and a PgBouncer in transaction mode, one that knows nothing of
//! prepared statements itself.

#[path = "pooler/stage.rs"]
mod stage;

use std::process::{Command, Output, Stdio};

use pgwarden_tests::tenants::{ACME, GLOBEX, error_code, run, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, connect, for_each_version};
use stage::Behind;

const TENANTS: [(&str, &str); 2] = [("acme", ACME), ("globex", GLOBEX)];

fn url(behind: &Behind<'_>, user: &str) -> String {
    behind.tenants.pgwarden.url(user, "", "postgres")
}

/// A program that ends with this test, should it be killed.
fn program(name: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", name]).env("PYTHONDONTWRITEBYTECODE", "1");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn pgbench_in_each_of_its_modes() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 2);
        let directory = behind.tenants.pgwarden.directory();
        for mode in ["simple", "extended", "prepared"] {
            let running = TENANTS.map(|(user, org)| {
                let script = directory.join(format!("{user}.sql"));
                // Divides by zero where the context is another's.
                let check = format!("SELECT 1 / (org() = '{org}')::int;\n");
                let text = format!(
                    "\\set id random(1, 9)\n{check}BEGIN;\nSELECT :id;\n{check}SAVEPOINT s;\n{check}COMMIT;\n"
                );
                std::fs::write(&script, text).expect("a file can be written");
                let mut pgbench = program("pgbench");
                pgbench.args(["-n", "-c", "3", "-j", "3", "-t", "40", "-M", mode, "-f"]).arg(script);
                pgbench.arg(url(&behind, user)).stdout(Stdio::piped()).stderr(Stdio::piped());
                pgbench.spawn().expect("pgbench is installed")
            });
            for pgbench in running {
                let output = pgbench.wait_with_output().expect("it has been started");
                let said = said(&output);
                assert!(output.status.success() && said.contains("processed: 120/120"), "{mode}: {said}");
            }
            behind.assert_nothing_left(mode);
        }
    });
}

#[test]
fn psycopg_with_prepared_statements_and_pipelines() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 2);
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let mut python = program(&format!("{root}/.cache/venv/bin/python"));
        python.arg(format!("{root}/tests/tests/pooler/interleaved.py"));
        for (user, org) in TENANTS {
            python.args([url(&behind, user).as_str(), org]);
        }
        let output = python.output().expect("setpriv is installed");
        assert!(output.status.success(), "`./run setup` installs what this needs: {}", said(&output));
        behind.assert_nothing_left("psycopg");
    });
}

#[test]
fn tokio_postgres_with_prepared_statements_and_transactions() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 2);
        let mut clients = Vec::new();
        for (user, org) in TENANTS {
            let client = connect(&url(&behind, user)).await;
            let ask = client.prepare("SELECT org(), $1::int").await.expect("it can be prepared");
            let all = client.prepare("SELECT org FROM items").await.expect("it can be prepared");
            clients.push((client, [ask, all], org));
        }
        for turn in 0..5_i32 {
            for (client, [ask, all], org) in &mut clients {
                let row = client.query_one(&*ask, &[&turn]).await.expect("a row");
                assert_eq!((row.get::<_, &str>(0), row.get::<_, i32>(1)), (*org, turn));
                let mut transaction = client.transaction().await.expect("a transaction");
                let inner = transaction.savepoint("s").await.expect("a savepoint");
                let row = inner.query_one(&*all, &[]).await.expect("its own row alone");
                assert_eq!(row.get::<_, &str>(0), *org);
                inner.rollback().await.expect("ROLLBACK TO");
                let both = tokio::join!(transaction.query(&*ask, &[&1]), transaction.query(&*all, &[]));
                let values = [both.0, both.1].map(|rows| rows.expect("rows")[0].get::<_, String>(0));
                assert_eq!(values, [*org, *org]);
                transaction.commit().await.expect("COMMIT");
            }
        }
        drop(clients);
        behind.assert_nothing_left("tokio-postgres");
    });
}

#[test]
fn many_clients_at_once_see_each_their_own() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 2);
        let mut tasks = Vec::new();
        for number in 0..12 {
            let (user, org) = TENANTS[number % 2];
            let client = connect(&url(&behind, user)).await;
            tasks.push(tokio::spawn(async move {
                let ask = client.prepare("SELECT org() FROM items").await.expect("it can be prepared");
                for turn in 0..20 {
                    let rows = client.query(&ask, &[]).await.expect("rows");
                    let seen: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
                    assert_eq!(seen, [org], "turn {turn}");
                    let sql = format!(
                        "BEGIN; SELECT 1 / (org() = '{org}')::int; COMMIT; SELECT 1 / (org() = '{org}')::int"
                    );
                    client.batch_execute(&sql).await.expect("its own context");
                }
            }));
        }
        for task in tasks {
            task.await.expect("no client saw another's context");
        }
        behind.assert_nothing_left("them all");
    });
}

#[test]
fn a_named_statement_is_known_on_connections_that_never_parsed_it() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 2);
        let mut acme = behind.client("acme");
        let mut other = behind.client("globex");
        // Two statements of the same name and of two clients.
        for (wire, sql) in [(&mut acme, "SELECT org(), $1::int"), (&mut other, "SELECT 'other', org()")] {
            wire.send(&Frontend::new().parse("s", sql, &[]).describe_statement("s").sync());
            assert_eq!(tags(&wire.until_ready()), "1tTZ");
        }
        for turn in 0..6 {
            let turn = turn.to_string();
            let portal = Frontend::new().bind("p", "s", &[Some(&turn)]).describe_portal("p").execute("p", 0);
            acme.send(&portal.close_portal("p").sync());
            let answers = acme.until_ready();
            assert_eq!(tags(&answers), "2TDC3Z", "{answers:?}");
            assert_eq!(answers[2].row(), [Some(ACME.to_owned()), Some(turn)]);
            other.send(&Frontend::new().bind("", "s", &[]).execute("", 0).sync());
            assert_eq!(other.until_ready()[1].row(), [Some("other".to_owned()), Some(GLOBEX.to_owned())]);
        }
        // Gone when closed, and the name is free for another.
        acme.send(&Frontend::new().close_statement("s").sync());
        assert_eq!(tags(&acme.until_ready()), "3Z");
        acme.send(&Frontend::new().bind("", "s", &[]).execute("", 0).sync());
        assert_eq!(error_code(&acme.until_ready()), "26000");
        acme.send(&Frontend::new().parse("s", "SELECT org()", &[]).bind("", "s", &[]).execute("", 0).sync());
        assert_eq!(values(&acme.until_ready()), [ACME]);
        behind.assert_nothing_left("named statements");
    });
}

#[test]
fn a_name_that_is_taken_is_refused_and_leaves_nothing() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 2);
        let mut acme = behind.client("acme");
        acme.send(&Frontend::new().parse("s", "SELECT org()", &[]).sync());
        assert_eq!(tags(&acme.until_ready()), "1Z");
        for sql in ["SELECT org()", "SELECT 1"] {
            acme.send(&Frontend::new().parse("s", sql, &[]).sync());
            assert_eq!(error_code(&acme.until_ready()), "42P05", "{sql}");
            behind.assert_nothing_left(sql);
        }
        acme.send(&Frontend::new().bind("", "s", &[]).execute("", 0).sync());
        assert_eq!(values(&acme.until_ready()), [ACME]);
    });
}

#[test]
fn deallocate_by_name_as_some_drivers_do_forgets_the_statement() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 2);
        let mut acme = behind.client("acme");
        for extended in [false, true] {
            acme.send(&Frontend::new().parse("s", "SELECT org()", &[]).sync());
            assert_eq!(tags(&acme.until_ready()), "1Z");
            let simple = Frontend::new().query("DEALLOCATE s");
            acme.send(&if extended { run("DEALLOCATE s").sync() } else { simple });
            let answers = acme.until_ready();
            let tag = answers.iter().find(|message| message.tag == b'C').map(|message| message.command());
            assert_eq!(tag.as_deref(), Some("DEALLOCATE"), "{answers:?}");
            acme.send(&Frontend::new().bind("", "s", &[]).execute("", 0).sync());
            assert_eq!(error_code(&acme.until_ready()), "26000");
            assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
            behind.assert_nothing_left("DEALLOCATE");
        }
    });
}

#[test]
fn the_context_is_right_after_ddl_and_a_statement_may_then_return_other_columns() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 2);
        server.psql("CREATE TABLE wide (a int); INSERT INTO wide VALUES (1); GRANT ALL ON wide TO tenants");
        let mut acme = behind.client("acme");
        acme.send(&Frontend::new().parse("s", "SELECT * FROM wide", &[]).describe_statement("s").sync());
        assert_eq!(tags(&acme.until_ready()), "1tTZ");
        server.psql("ALTER TABLE wide ADD b int");
        // A known limit: the client was told one column. With a server it would read 0A000.
        acme.send(&Frontend::new().bind("", "s", &[]).execute("", 0).sync());
        let answers = acme.until_ready();
        assert_eq!((tags(&answers).as_str(), answers[1].row().len()), ("2DCZ", 2), "{answers:?}");
        acme.send(&Frontend::new().close_statement("s").parse("s", "SELECT * FROM wide", &[]).sync());
        assert_eq!(tags(&acme.until_ready()), "31Z");
        for _ in 0..2 {
            acme.send(&Frontend::new().bind("", "s", &[]).describe_portal("").execute("", 0).sync());
            let answers = acme.until_ready();
            assert_eq!((tags(&answers).as_str(), answers[2].row().len()), ("2TDCZ", 2), "{answers:?}");
        }
        behind.assert_nothing_left("DDL");
    });
}

#[test]
fn transaction_control_under_a_name_commits_and_rolls_back() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 2);
        let mut acme = behind.client("acme");
        for sql in ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s"] {
            acme.send(&Frontend::new().parse(sql, sql, &[]).sync());
            assert_eq!(tags(&acme.until_ready()), "1Z");
        }
        let insert = "INSERT INTO notes VALUES ($1)";
        acme.send(&Frontend::new().parse("insert", insert, &[]).sync());
        assert_eq!(tags(&acme.until_ready()), "1Z");
        for (name, value) in [
            ("BEGIN", None),
            ("insert", Some("kept")),
            ("SAVEPOINT s", None),
            ("insert", Some("undone")),
            ("ROLLBACK TO s", None),
            ("insert", Some("kept")),
            ("COMMIT", None),
            ("BEGIN", None),
            ("insert", Some("undone")),
            ("ROLLBACK", None),
            ("insert", Some("kept")),
        ] {
            let parameters: Vec<_> = value.map(Some).into_iter().collect();
            acme.send(&Frontend::new().bind("", name, &parameters).execute("", 0).sync());
            let answers = acme.until_ready();
            assert_eq!(tags(&answers), "2CZ", "{name}: {answers:?}");
        }
        assert_eq!(
            server.psql("SELECT count(*), name, org FROM notes GROUP BY 2, 3"),
            format!("3|kept|{ACME}")
        );
        behind.assert_nothing_left("transaction control");
    });
}
