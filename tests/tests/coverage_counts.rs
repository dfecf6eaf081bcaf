//! How much was looked at: by query and detector, exact to the last execution.

use pgwarden_tests::shadow::{SETTINGS, Watched};
use pgwarden_tests::tenants::ACME;
use pgwarden_tests::{Frontend, Signal, for_each_version, until};

type Counts = Vec<(String, Vec<String>, u64)>;

fn counted(reason: &str, tables: &[&str], count: u64) -> (String, Vec<String>, u64) {
    (reason.to_owned(), tables.iter().map(|table| (*table).to_owned()).collect(), count)
}

#[track_caller]
fn until_counted(stage: &Watched, detector: &str, words: &str, expected: &Counts) {
    let mut found = Counts::new();
    let counted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until("it is counted", || {
            found = stage.coverage(detector, words);
            (found == *expected).then_some(())
        });
    }));
    assert!(counted.is_ok(), "{detector} of {words:?}: {found:?} instead of {expected:?}");
}

#[test]
fn every_execution_is_counted_once_whoever_runs_it_and_however() {
    for_each_version(async |server| {
        let stage = Watched::start(server, "");
        let sql = |id: usize| format!("SELECT org_id FROM things WHERE id = {id} AND org_id = '{ACME}'");
        let mut clients: Vec<_> = (0..3).map(|_| stage.client("acme")).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            for id in 0..7 {
                client.query(&sql(id + number));
            }
            client.send(
                &Frontend::new()
                    .parse("s", &sql(1).replace("= 1", "= $1"), &[])
                    .describe_statement("s")
                    .sync(),
            );
            client.until_ready();
            for id in ["1", "2", "9"] {
                client.send(&Frontend::new().bind("", "s", &[Some(id)]).execute("", 0).sync());
                client.until_ready();
            }
        }
        let words = "select org_id from things where id = $1";
        let expected = vec![counted("", &["public.things"], 30)];
        for detector in ["context", "denied", "rows"] {
            until_counted(&stage, detector, words, &expected);
        }
    });
}

#[test]
fn of_a_join_only_the_tables_are_covered_whose_rows_can_be_told() {
    for_each_version(async |server| {
        let schema = "CREATE TABLE parts (thing int, org_id uuid); GRANT ALL ON parts TO PUBLIC";
        let stage = Watched::start(server, schema);
        let mut client = stage.client("acme");
        client.query("SELECT t.org_id FROM things t JOIN parts p ON p.thing = t.id");
        let words = "from things t join parts";
        let both =
            vec![counted("", &["public.things"], 1), counted("no_tenant_column", &["public.parts"], 1)];
        until_counted(&stage, "rows", words, &both);
        until_counted(&stage, "context", words, &vec![counted("", &["public.parts", "public.things"], 1)]);
    });
}

#[test]
fn a_statement_that_fails_or_returns_nothing_is_counted_too() {
    for_each_version(async |server| {
        let stage = Watched::start(server, "");
        let mut client = stage.client("acme");
        client.query("SELECT org_id, 1 / 0 AS fails FROM things");
        client.query("INSERT INTO things VALUES (100)");
        client.query("SELECT 1; INSERT INTO things VALUES (101); SELECT 2");
        until_counted(&stage, "context", "as fails", &vec![counted("", &["public.things"], 1)]);
        until_counted(&stage, "context", "insert into things", &vec![counted("", &["public.things"], 2)]);
        until_counted(&stage, "context", "select $1", &vec![counted("", &[], 2)]);
        assert_eq!(stage.coverage("rows", "insert into things"), []);
    });
}

#[test]
fn a_function_that_is_called_by_its_number_is_counted_too() {
    for_each_version(async |server| {
        let stage = Watched::start(server, "");
        server.psql("CREATE FUNCTION total() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM things'");
        let total = server.psql("SELECT 'total'::regproc::oid").parse().expect("an OID");
        let mut client = stage.client("acme");
        for _ in 0..3 {
            client.send(&Frontend::new().function_call(total, &[]));
            let replies = client.until_ready();
            assert_eq!(replies[0].tag, b'V', "{replies:?}");
        }
        until_counted(&stage, "context", "functioncall", &vec![counted("", &[], 3)]);
        for detector in ["rows", "writes"] {
            until_counted(&stage, detector, "functioncall", &vec![counted("unread", &[], 3)]);
        }
    });
}

#[test]
fn what_does_not_say_what_it_does_is_not_evaluated() {
    for_each_version(async |server| {
        let stage = Watched::start(server, "");
        let mut client = stage.client("acme");
        client.query("PREPARE later AS SELECT count(*) FROM things");
        client.query("EXECUTE later");
        client.query("EXECUTE later");
        client.query("DO $$ BEGIN PERFORM FROM things; END $$");
        client.query("DO $$ BEGIN PERFORM 1 / 0; END $$");
        until_counted(&stage, "rows", "execute later", &vec![counted("computed_columns", &[], 2)]);
        until_counted(&stage, "writes", "execute later", &vec![counted("unread", &[], 2)]);
        let of_blocks = vec![counted("failed", &[], 1), counted("unread", &[], 1)];
        until_counted(&stage, "writes", "do $1", &of_blocks);
    });
}

#[test]
fn the_end_tells_what_the_last_window_has_seen() {
    for_each_version(async |server| {
        let late = |builder: pgwarden_tests::PgwardenBuilder| {
            builder.file("pgwarden.toml", &SETTINGS.replace("window = \"100ms\"", "window = \"1h\""))
        };
        let stage = Watched::start_with(server, "", "shadow", late);
        stage.client("acme").query("SELECT name AS last_words FROM things");
        stage.pgwarden.signal(Signal::TERM);
        assert_eq!(stage.pgwarden.wait_exit().code(), Some(0), "{}", stage.pgwarden.stderr());
        let expected = vec![counted("", &["public.things"], 1)];
        assert_eq!(stage.coverage("context", "last_words"), expected);
    });
}
