//! What `enforce` would refuse, and what policies in force do refuse: each statement once, with its query.

use pgwarden_tests::shadow::Watched;
use pgwarden_tests::tenants::{ACME, error_code, values};
use pgwarden_tests::{Frontend, for_each_version, until};
use serde_json::json;

#[test]
fn a_statement_without_a_context_is_found_each_time_it_runs() {
    for_each_version(async |server| {
        let stage = Watched::start(server, "");
        let mut nobody = stage.client("nobody");
        nobody.query("SELECT 1 AS names_nothing");
        assert_eq!(values(&nobody.query("SELECT id FROM things WHERE id = 1")), ["1"]);
        // Prepared once, run three times: asked about at Parse, at each Bind and at each Execute.
        nobody.send(&Frontend::new().parse("s", "SELECT name FROM things", &[]).sync());
        nobody.until_ready();
        for _ in 0..3 {
            nobody.send(&Frontend::new().bind("", "s", &[]).execute("", 0).sync());
            nobody.until_ready();
        }
        let found = stage.found("context_missing", "select id from things");
        assert_eq!(found["query"]["text"], "select id from things where id = $1");
        assert_eq!((&found["decision"], &found["would_have"]), (&json!("allowed"), &json!("refused")));
        assert_eq!((&found["actor"]["user"], &found["severity"]), (&json!("nobody"), &json!("blocker")));
        assert!(found["tenant"].is_null(), "{found}");
        until("all three", || (stage.total("context_missing", "select name") == 3).then_some(()));
        assert_eq!(stage.total("context_missing", "names_nothing"), 0);
        assert_eq!(stage.total("context_missing", "select id"), 1);
    });
}

#[test]
fn what_the_guard_finds_is_found_with_its_kind() {
    for_each_version(async |server| {
        let stage = Watched::start(server, "");
        let mut client = stage.client("acme");
        for (sql, kind, words, evidence) in [
            (
                format!("SET app.current_org_id = '{ACME}'"),
                "setting_touched",
                "set app.current_org_id",
                "setting_touched",
            ),
            ("SET ROLE tenants".to_owned(), "role_touched", "set role", "role_touched"),
            (
                "DO LANGUAGE plpgsql $$ BEGIN EXECUTE 'SELECT ' || 1; END $$".to_owned(),
                "setting_touched",
                "do language",
                "code_unread",
            ),
        ] {
            client.query(&sql);
            let found = stage.found(kind, words);
            assert_eq!(found["evidence"]["samples"], evidence, "{sql}");
            assert_eq!(found["tenant"]["id"], ACME);
            assert!(!found.to_string().contains(&format!("= '{ACME}")), "{found}");
        }
    });
}

#[test]
fn what_is_refused_is_found_as_refused() {
    for_each_version(async |server| {
        let stage = Watched::start_with(server, "", "enforce", |builder| builder);
        let mut nobody = stage.client("nobody");
        assert_eq!(error_code(&nobody.query("SELECT id FROM things")), "42501");
        let found = stage.found("context_missing", "select id from things");
        assert_eq!((&found["decision"], &found["mode"]), (&json!("refused"), &json!("enforce")));
        let run = Frontend::new().parse("", "SELECT name FROM things", &[]).bind("", "", &[]).execute("", 0);
        nobody.send(&run.sync());
        assert_eq!(error_code(&nobody.until_ready()), "42501");
        stage.found("context_missing", "select name from things");
        assert_eq!(stage.total("context_missing", "select name"), 1);
    });
}

#[test]
fn what_asks_no_policy_is_found_on_tables_of_tenants() {
    for_each_version(async |server| {
        let schema = "CREATE TABLE plain (id int); GRANT ALL ON plain TO PUBLIC";
        let stage = Watched::start(server, schema);
        let mut client = stage.client("acme");
        client.query("TRUNCATE plain");
        client.send(&Frontend::new().query("COPY plain FROM STDIN"));
        client.send(&Frontend::new().copy_data(b"1\n").copy_done());
        client.until_ready();
        client.send(&Frontend::new().query("COPY things (id, org_id) FROM STDIN"));
        client.send(&Frontend::new().copy_data(format!("7\t{ACME}\n8\t{ACME}\n").as_bytes()).copy_done());
        client.until_ready();
        client.query("BEGIN; TRUNCATE plain, public.things; ROLLBACK");
        let copied = stage.found("copy_from", "copy things");
        assert_eq!((&copied["target"]["table"], &copied["rows"]["returned"]), (&json!("things"), &json!(2)));
        assert_eq!((&copied["would_have"], &copied["outcome"]), (&json!("refused"), &json!("committed")));
        let truncated = stage.found("truncate", "truncate plain");
        assert_eq!(
            (&truncated["target"]["table"], &truncated["outcome"]),
            (&json!("things"), &json!("rolled_back"))
        );
        let mut kinds = stage.kinds();
        kinds.sort();
        assert_eq!(kinds, ["copy_from", "truncate"]);
    });
}

/// `items` has a policy; `strict` one for writing alone. Translated messages change nothing.
const POLICIES: &str = "
    CREATE TABLE strict (id int, org_id uuid);
    ALTER TABLE strict ENABLE ROW LEVEL SECURITY;
    CREATE POLICY reads ON strict USING (true) WITH CHECK (false);
    CREATE TABLE checked (id int CHECK (id > 0), org_id uuid);
    CREATE VIEW positive AS SELECT * FROM checked WHERE id < 10 WITH CHECK OPTION;
    GRANT ALL ON strict, checked, positive TO PUBLIC;
    CREATE TABLE barred (id int)";

#[test]
fn refusals_by_policies_in_force_are_told_from_others() {
    for_each_version(async |server| {
        let stage = Watched::start(server, POLICIES);
        let mut client = stage.client("acme");
        let code = |messages: &[pgwarden_tests::Message]| error_code(messages);
        assert_eq!(code(&client.query("INSERT INTO strict VALUES (1)")), "42501");
        assert_eq!(code(&client.query("INSERT INTO positive VALUES (11)")), "44000");
        assert_eq!(code(&client.query("SELECT * FROM barred")), "42501");
        assert_eq!(code(&client.query("INSERT INTO checked VALUES (-1)")), "23514");
        client.query("SET row_security = off");
        assert_eq!(code(&client.query("SELECT id FROM strict")), "42501");
        client.query("SET row_security = on");
        client.send(&Frontend::new().query("COPY strict FROM STDIN"));
        assert_eq!(code(&client.until_ready()), "0A000");
        let written = stage.found("denied", "insert into strict");
        assert_eq!(written["target"], json!({"schema": "public", "table": "strict"}));
        assert_eq!(written["evidence"]["samples"], "42501 ExecWithCheckOptions");
        assert_eq!((&written["decision"], &written["command"]), (&json!("refused"), &json!("INSERT")));
        assert_eq!(stage.found("denied", "select id")["evidence"]["samples"], "42501 check_enable_rls");
        assert_eq!(stage.found("denied", "copy strict")["evidence"]["samples"], "0A000 DoCopy");
        let mut kinds = stage.kinds();
        kinds.sort();
        assert_eq!(kinds, ["denied", "denied", "denied"]);
    });
}
