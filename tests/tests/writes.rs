//! Writes that policies would refuse or hide, found on their way through pgwarden.

use pgwarden_tests::shadow::{SETTINGS, Watched};
use pgwarden_tests::staged::{SHADOW, install, own, shows_notices, stage};
use pgwarden_tests::staging::Staging;
use pgwarden_tests::tenants::{ACME, GLOBEX, error_code};
use pgwarden_tests::trail::{directory, of_kind};
use pgwarden_tests::{Frontend, Pgwarden, Server, Wire, for_each_version, until};
use serde_json::Value;

/// `things` with staged policies and triggers, and a pgwarden that has seen them.
fn watched(server: &Server) -> Watched {
    let watched = Watched::start(server, "");
    server.psql(SHADOW);
    server.psql(&stage("things", &own("org_id")));
    install(server);
    watched
}

/// What was found of statements with these words: kind, rows, outcome and command.
#[track_caller]
fn found(watched: &Watched, kind: &str, words: &str) -> (Value, Value, String) {
    let record = watched.found(kind, words);
    let outcome = record["outcome"].as_str().unwrap_or_default().to_owned();
    (record["rows"]["foreign"].clone(), record["foreign_tenants"].clone(), outcome)
}

#[test]
fn each_write_is_found_as_what_would_become_of_it() {
    for_each_version(async |server| {
        let watched = watched(server);
        let mut acme = watched.client("acme");
        let statements = [
            (
                format!("INSERT INTO things (id, org_id) VALUES (10, '{GLOBEX}')"),
                "write_refused",
                "insert into things(id",
            ),
            (
                "UPDATE things SET name = 'moved', id = 30 WHERE id = 3".to_owned(),
                "write_hidden",
                "set name = $1, id",
            ),
            (format!("UPDATE things SET org_id = '{GLOBEX}' WHERE id = 1"), "write_refused", "set org_id ="),
            ("DELETE FROM things WHERE id = 30".to_owned(), "write_hidden", "delete from things"),
            (
                format!("INSERT INTO things VALUES (10, '{ACME}') ON CONFLICT (id) DO UPDATE SET name = 'u'"),
                "write_refused",
                "on conflict",
            ),
        ];
        for (sql, kind, words) in &statements {
            let messages = acme.query(sql);
            assert_eq!(error_code(&messages), "", "{sql}");
            assert!(!shows_notices(&watched.pgwarden, &messages), "{sql}: {messages:?}");
            let (rows, tenants, outcome) = found(&watched, kind, words);
            assert_eq!((rows, outcome.as_str()), (1.into(), "committed"), "{sql}");
            assert_eq!(tenants, Value::from(vec![GLOBEX]), "{sql}");
        }
    });
}

#[test]
fn prepared_statements_and_pipelines_are_watched_as_well() {
    for_each_version(async |server| {
        let watched = watched(server);
        let mut acme = watched.client("acme");
        let text = "INSERT INTO things (org_id, id) VALUES ($1, $2)";
        let mut batch = Frontend::new().parse("insert", text, &[]);
        for id in ["20", "21", "22"] {
            batch = batch.bind("", "insert", &[Some(GLOBEX), Some(id)]).execute("", 0);
        }
        acme.send(&batch.sync());
        let messages = acme.until_ready();
        assert_eq!(error_code(&messages), "");
        assert!(!shows_notices(&watched.pgwarden, &messages), "{messages:?}");
        until("all three are found", || {
            (watched.total("write_refused", "insert into things(org_id") == 3).then_some(())
        });
    });
}

/// With the rights of who owns it, no policy stops it; and with those of the application, a policy does. Neither the text
/// of the statement nor the trigger says which.
#[test]
fn what_a_trigger_writes_into_the_table_of_its_statement_is_not_judged_as_the_statements_own() {
    for_each_version(async |server| {
        let watched = watched(server);
        server.psql(&format!(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN \
             INSERT INTO things VALUES (OLD.id + 100, '{GLOBEX}', 'kept'); RETURN NULL; END $$; \
             CREATE TRIGGER keep AFTER DELETE ON things FOR EACH ROW EXECUTE FUNCTION keep()"
        ));
        let mut acme = watched.client("acme");
        assert_eq!(error_code(&acme.query("DELETE FROM things WHERE id = 1")), "");
        assert_eq!(found(&watched, "policy_error", "delete from things").0, 1);
        assert_eq!(of_kind(&directory(&watched.pgwarden), "write_refused"), Vec::<Value>::new());
    });
}

#[test]
fn what_is_rolled_back_is_marked() {
    for_each_version(async |server| {
        let watched = watched(server);
        let mut acme = watched.client("acme");
        acme.query("BEGIN");
        acme.query("UPDATE things SET name = 'rolled' WHERE id = 3");
        acme.query("ROLLBACK");
        assert_eq!(found(&watched, "write_hidden", "update things").2, "rolled_back");
    });
}

#[test]
fn who_is_not_watched_reads_nothing_either() {
    for_each_version(async |server| {
        let watched = Watched::start_with(server, "", "shadow", |builder| {
            let settings = format!("{SETTINGS}[users.globex]\nmode = \"passthrough\"\n");
            builder.file("pgwarden.toml", &settings)
        });
        server.psql(SHADOW);
        server.psql(&stage("things", &own("org_id")));
        install(server);
        watched.client("acme").query("SELECT 1");
        let messages =
            watched.client("globex").query(&format!("INSERT INTO things VALUES (10, '{ACME}', 'x')"));
        assert_eq!(error_code(&messages), "");
        assert!(!shows_notices(&watched.pgwarden, &messages), "{messages:?}");
    });
}

#[test]
fn a_message_that_is_signed_otherwise_is_the_clients() {
    for_each_version(async |server| {
        let watched = watched(server);
        let mut acme: Wire = watched.client("acme");
        let raise = "DO $$ BEGIN RAISE INFO USING ERRCODE = 'WS001', MESSAGE = 'mine', DETAIL = '{}'; END $$";
        let messages = acme.query(raise);
        assert!(shows_notices(&watched.pgwarden, &messages), "{messages:?}");
    });
}

#[test]
fn triggers_follow_policies_that_change() {
    for_each_version(async |server| {
        let watched = watched(server);
        let digest = || server.psql("SELECT md5(prosrc) FROM pg_proc WHERE proname ~ '^writes_[0-9]+$'");
        let before = digest();
        server.psql(
            "ALTER POLICY pgwarden_update ON things USING (name = 'free' OR org_id = \
             (SELECT nullif(current_setting('app.current_org_id', true), '')::uuid))",
        );
        until("the triggers are made anew", || (digest() != before).then_some(()));
        let trail = directory(&watched.pgwarden);
        until("the trail has the policies' hash", || {
            (of_kind(&trail, "policies_changed").len() > 1).then_some(())
        });
    });
}

#[test]
fn staging_installs_the_triggers_in_the_same_go() {
    for_each_version(async |server| {
        let schema = "CREATE ROLE app LOGIN; CREATE TABLE parts (id int, org_id int);
             ALTER TABLE parts ENABLE ROW LEVEL SECURITY; CREATE POLICY everything ON parts USING (true);
             GRANT ALL ON parts TO app";
        let staging = Staging::new(server, "shop", schema);
        let url = staging.url("postgres");
        let status = || Pgwarden::builder().run(&["writes", "status", "--url", &url]).stderr;
        let migration = "DROP POLICY everything ON parts; CREATE POLICY own ON parts USING (org_id = 1)";
        let plain = staging.migrate(migration, &["--app", "app"]);
        assert!(plain.status.success(), "{}", plain.stderr);
        assert_eq!(status(), "public.parts: not installed\n");
        let printed = staging.migrate(migration, &["--app", "app", "--writes", "--dry-run"]);
        assert!(printed.stderr.contains("CREATE TRIGGER"), "{}", printed.stderr);
        assert_eq!(status(), "public.parts: not installed\n");
        let done = staging.migrate(migration, &["--app", "app", "--writes"]);
        assert!(done.stderr.contains("public.parts: installed"), "{}", done.stderr);
        assert_eq!((done.status.code(), status()), (Some(0), "public.parts: installed\n".to_owned()));
        let mut wire = Wire::open(server.port(), "app", "", "shop");
        wire.query("SET pgwarden.nonce = 'signed'; SET app.current_org_id = '1'");
        let told = wire.query("INSERT INTO parts VALUES (1, 2)");
        assert!(
            told.iter().any(|message| message.tag == b'N' && message.fields().code() == "WS001"),
            "{told:?}"
        );
    });
}
