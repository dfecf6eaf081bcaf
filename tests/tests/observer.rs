//! What pgwarden knows of a database's tables, and how it notices that they change.

use pgwarden_tests::shadow::{SETTINGS, Watched};
use pgwarden_tests::staged::{SHADOW, own, stage};
use pgwarden_tests::tenants::GLOBEX;
use pgwarden_tests::trail::{directory, of_kind};
use pgwarden_tests::{Frontend, Server, Wire, for_each_version, until};
use serde_json::Value;

/// As the staging commands make it.
const JOURNAL: &str = "
CREATE SCHEMA IF NOT EXISTS pgwarden;
CREATE TABLE IF NOT EXISTS pgwarden.journal (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), step text NOT NULL,
    by_user text NOT NULL DEFAULT session_user, tables text[] NOT NULL, reason text, detail jsonb);
";

#[track_caller]
fn until_recorded(watched: &Watched, kind: &str, count: usize) -> Vec<Value> {
    let trail = directory(&watched.pgwarden);
    until(&format!("{count} records of {kind}"), || {
        Some(of_kind(&trail, kind)).filter(|all| all.len() >= count)
    })
}

/// The records of a step of the journal.
fn steps(watched: &Watched, step: &str) -> Vec<Value> {
    let mut records = of_kind(&directory(&watched.pgwarden), "staging");
    records.retain(|record| record["staging"]["step"] == step);
    records
}

#[track_caller]
fn until_handed_over(watched: &Watched, step: &str) -> Value {
    until(&format!("{step} is handed over"), || steps(watched, step).pop())
}

/// Whether a query's foreign row is noticed, with a text of its own each time.
fn notices_rows_of(watched: &Watched, table: &str) {
    let mut attempt = 0;
    until(&format!("rows of {table} are looked at"), || {
        attempt += 1;
        let alias = format!("attempt_{attempt}");
        watched.client("acme").query(&format!("SELECT org_id, 1 AS {alias} FROM {table}"));
        (watched.total("rows_foreign", &format!("from {table}")) > 0).then_some(())
    });
}

fn table(server: &Server, name: &str) {
    server.psql(&format!(
        "CREATE TABLE {name} (org_id uuid); GRANT ALL ON {name} TO tenants; INSERT INTO {name} VALUES ('{GLOBEX}')"
    ));
}

#[test]
fn a_new_table_and_a_new_column_are_noticed() {
    for_each_version(async |server| {
        let watched = Watched::start(server, "");
        table(server, "fresh");
        notices_rows_of(&watched, "fresh");
        server.psql("ALTER TABLE notes ADD COLUMN org_id uuid");
        server.psql(&format!("INSERT INTO notes (org_id) VALUES ('{GLOBEX}')"));
        notices_rows_of(&watched, "notes");
        server.psql("CREATE VIEW glance AS SELECT n.org_id FROM notes n WHERE true");
        server.psql("GRANT SELECT ON glance TO tenants");
        notices_rows_of(&watched, "glance");
    });
}

#[test]
fn a_table_with_a_policy_and_a_trigger_is_known_before_anything_is_staged() {
    for_each_version(async |server| {
        server.psql("CREATE TABLE early (org_id uuid)");
        server.psql("CREATE POLICY everybody ON early USING (true)");
        server.psql(
            "CREATE TRIGGER same BEFORE UPDATE ON early FOR EACH ROW
             EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        );
        let watched = Watched::start(server, "");
        server.psql(&format!("GRANT ALL ON early TO tenants; INSERT INTO early VALUES ('{GLOBEX}')"));
        notices_rows_of(&watched, "early");
    });
}

#[test]
fn a_notification_is_quicker_than_the_next_look() {
    for_each_version(async |server| {
        let watched = Watched::start_with(server, "", "shadow", |builder| {
            builder.file("pgwarden.toml", &SETTINGS.replace("interval = \"50ms\"", "interval = \"1h\""))
        });
        until("somebody listens", || {
            let listening =
                "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN \"pgwarden_shadow\"'";
            (server.psql(listening) == "1").then_some(())
        });
        table(server, "told");
        server.psql("NOTIFY pgwarden_shadow");
        notices_rows_of(&watched, "told");
    });
}

#[test]
fn each_change_of_policies_is_in_the_trail() {
    for_each_version(async |server| {
        let watched = Watched::start(server, "");
        let first = until_recorded(&watched, "policies_changed", 1);
        server.psql(SHADOW);
        server.psql(&stage("things", &own("org_id")));
        let second = until_recorded(&watched, "policies_changed", first.len() + 1);
        server.psql("ALTER TABLE things ADD COLUMN more int");
        server.psql("ALTER TABLE things FORCE ROW LEVEL SECURITY");
        until_recorded(&watched, "policies_changed", second.len() + 1);
    });
}

#[test]
fn the_journal_is_handed_over_once_whenever_pgwarden_starts() {
    for_each_version(async |server| {
        let entry = |step: &str| {
            server.psql(&format!(
                "INSERT INTO pgwarden.journal (step, tables, reason, detail)
                 VALUES ('{step}', '{{public.things,\"odd, one\"}}', 'because', '{{\"policies\": [\"p\"]}}')"
            ));
        };
        server.psql(JOURNAL);
        entry("stage");
        server.psql(
            "INSERT INTO pgwarden.journal (step, tables) SELECT 'unstage', '{}' FROM generate_series(2, 120)",
        );
        let watched = Watched::start(server, "");
        let text = until_handed_over(&watched, "stage").to_string();
        assert!(text.contains("odd, one") && text.contains("because"), "{text}");
        let numbers = until("all of the entries", || {
            let steps = steps(&watched, "unstage");
            (steps.len() >= 119)
                .then(|| steps.iter().map(|one| one["staging"]["id"].as_u64()).collect::<Vec<_>>())
        });
        assert_eq!(numbers, (2..=120).map(Some).collect::<Vec<_>>());
        entry("promote");
        until_handed_over(&watched, "promote");
        entry("demote");
        until_handed_over(&watched, "demote");
        for step in ["stage", "promote", "demote"] {
            assert_eq!(steps(&watched, step).len(), 1, "{step}");
        }
    });
}

#[test]
fn an_observer_that_may_not_read_the_journal_says_so() {
    for_each_version(async |server| {
        server.psql(JOURNAL);
        server.psql("CREATE ROLE stranger LOGIN");
        let watched = Watched::start_with(server, "", "shadow", |builder| {
            builder.file(
                "pgwarden.toml",
                &SETTINGS.replace("\"postgres\"\ndatabases", "\"stranger\"\ndatabases"),
            )
        });
        watched.pgwarden.until_logged("the observer may not read what is staged, promoted and resolved", 0);
    });
}

#[test]
fn an_entry_whose_transaction_ends_late_is_handed_over_too() {
    for_each_version(async |server| {
        server.psql(JOURNAL);
        let watched = Watched::start(server, "");
        let late = server.connect().await;
        late.batch_execute(
            "BEGIN; INSERT INTO pgwarden.journal (step, tables) VALUES ('promote', '{public.things}')",
        )
        .await
        .expect("an entry");
        server.psql("INSERT INTO pgwarden.journal (step, tables) VALUES ('stage', '{public.things}')");
        // Nothing of the second may be recorded before the first is.
        until_recorded(&watched, "policies_changed", 1);
        assert_eq!(steps(&watched, "stage"), Vec::<Value>::new());
        late.batch_execute("COMMIT").await.expect("its end");
        until_handed_over(&watched, "promote");
        until_handed_over(&watched, "stage");
    });
}

#[test]
fn a_database_that_cannot_be_looked_at_is_said_once_and_looked_at_again() {
    for_each_version(async |server| {
        let watched = Watched::start(server, "");
        server.stop_fast();
        watched.pgwarden.until_logged("the database cannot be looked at", 0);
        server.start_again();
        watched.pgwarden.until_logged("the tables of the database are known", 1);
        assert_eq!(watched.pgwarden.logged("the database cannot be looked at"), 1);
        table(server, "fresh");
        notices_rows_of(&watched, "fresh");
    });
}

/// The hash of the policies that the next finding goes by, and the table that it names.
#[track_caller]
fn finding_about(watched: &Watched, table: &str, is_awaited: impl Fn(&Value) -> bool) -> Value {
    let mut attempt = 0;
    until(&format!("what is expected of {table} is found"), || {
        attempt += 1;
        let alias =
            format!("look_{}_{attempt}", of_kind(&directory(&watched.pgwarden), "rows_foreign").len());
        watched.client("acme").query(&format!("SELECT org_id, 1 AS {alias} FROM {table}"));
        let all = of_kind(&directory(&watched.pgwarden), "rows_foreign");
        all.into_iter().rev().find(|finding| is_awaited(finding))
    })
}

#[test]
fn what_changes_while_it_runs_is_followed_and_records_say_by_which_policies() {
    for_each_version(async |server| {
        let watched = Watched::start(server, "");
        let hashes = || {
            let all = of_kind(&directory(&watched.pgwarden), "policies_changed");
            all.iter().map(|record| record["detail"]["policies_changed"][1].clone()).collect::<Vec<_>>()
        };
        // As one, so that it is one change.
        server.psql(&format!("BEGIN; {SHADOW} {} COMMIT", stage("things", &own("org_id"))));
        let staged = until("they are known", || hashes().pop().filter(|_| hashes().len() > 1));
        finding_about(&watched, "things", |finding| finding["proxy"]["policy_hash"] == staged);
        server.psql(&format!("ALTER POLICY pgwarden_select ON things USING (id > 0 AND {})", own("org_id")));
        let altered = until("the change is known", || hashes().pop().filter(|last| *last != staged));
        let found = finding_about(&watched, "things", |finding| finding["proxy"]["policy_hash"] == altered);
        assert_eq!(found["target"]["table"], "things");
        server.psql("ALTER TABLE things RENAME TO articles");
        finding_about(&watched, "articles", |finding| finding["target"]["table"] == "articles");
        // Another column of that name, and then another table.
        server.psql("DROP TABLE articles");
        table(server, "articles");
        server.psql("ALTER TABLE articles DROP COLUMN org_id");
        server.psql(&format!("ALTER TABLE articles ADD COLUMN org_id text DEFAULT '{GLOBEX}'"));
        let known = of_kind(&directory(&watched.pgwarden), "rows_foreign").len();
        until("the new one is looked at", || {
            finding_about(&watched, "articles", |finding| finding["target"]["table"] == "articles");
            (of_kind(&directory(&watched.pgwarden), "rows_foreign").len() > known).then_some(())
        });
    });
}

#[test]
fn a_table_that_is_locked_blinds_nobody_for_longer_than_the_lock() {
    for_each_version(async |server| {
        let watched = Watched::start(server, "");
        server.psql(SHADOW);
        server.psql(&stage("things", &own("org_id")));
        let holder = server.connect().await;
        holder.batch_execute("BEGIN; LOCK TABLE things IN ACCESS EXCLUSIVE MODE").await.expect("a lock");
        table(server, "fresh");
        // Whether expressions of policies are shown without the lock of their table depends on the minor version.
        until("a look has come to an end", || {
            watched.client("acme").query("SELECT org_id FROM fresh");
            let is_noticed = watched.total("rows_foreign", "from fresh") > 0;
            (is_noticed || watched.pgwarden.logged("canceling statement due to lock timeout") > 0)
                .then_some(())
        });
        holder.batch_execute("COMMIT").await.expect("its end");
        notices_rows_of(&watched, "fresh");
    });
}

#[test]
fn backends_are_exchanged_when_memberships_change_that_policies_depend_on() {
    for_each_version(async |server| {
        let schema = format!(
            "CREATE ROLE narrow; CREATE ROLE other; ALTER TABLE things ENABLE ROW LEVEL SECURITY;
             CREATE POLICY everything ON things USING (true);
             CREATE POLICY narrow ON things AS RESTRICTIVE TO narrow USING ({});",
            own("org_id")
        );
        let watched = Watched::start(server, &schema);
        let mut acme = watched.client("acme");
        acme.send(
            &Frontend::new().parse("count", "SELECT count(*), pg_backend_pid() FROM things", &[]).sync(),
        );
        acme.until_ready();
        let counted = |acme: &mut Wire| {
            acme.send(&Frontend::new().bind("", "count", &[]).execute("", 0).sync());
            let row = acme.until_ready().iter().find(|message| message.tag == b'D').expect("a row").row();
            (row[0].clone().expect("a count"), row[1].clone())
        };
        let before = counted(&mut acme);
        assert_eq!(before.0, "3");
        server.psql("GRANT other TO app");
        table(server, "fresh");
        notices_rows_of(&watched, "fresh");
        assert_eq!(counted(&mut acme), before, "nothing depends on it");
        server.psql("GRANT narrow TO app");
        until("the policy binds", || (counted(&mut acme).0 == "2").then_some(()));
        assert_ne!(counted(&mut acme).1, before.1);
    });
}
