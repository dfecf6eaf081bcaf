//! Rows of another tenant on their way to a client: found wherever they come from, and never where there are none.

use pgwarden_tests::shadow::{SETTINGS, Watched};
use pgwarden_tests::tenants::{ACME, ANN, GLOBEX, error_code, values};
use pgwarden_tests::{Frontend, Message, Server, for_each_version, until};
use serde_json::{Value, json};

/// What a finding says of rows: how many came, how many were foreign, whose.
fn said(finding: &Value) -> (u64, u64, Vec<String>) {
    let count = |name: &str| finding["rows"][name].as_u64().unwrap_or_default();
    let tenants = finding["foreign_tenants"].as_array().cloned().unwrap_or_default();
    let tenants = tenants.iter().filter_map(|one| Some(one.as_str()?.to_owned())).collect();
    (count("returned"), count("foreign"), tenants)
}

#[test]
fn a_forgotten_where_is_found_and_the_client_notices_nothing() {
    for_each_version(async |server| {
        let stage = Watched::start(server, "");
        let mut client = stage.client("acme");
        let sql = "SELECT id, org_id FROM things ORDER BY id /*controller='things',action='list'*/";
        let rows = client.query(sql);
        assert_eq!(values(&rows), ["1", "2", "3"]);
        let found = stage.found("rows_foreign", "from things order by id");
        assert_eq!(said(&found), (3, 1, vec![GLOBEX.to_owned()]));
        assert_eq!(found["target"], json!({"schema": "public", "table": "things", "column": "org_id"}));
        assert_eq!(found["would_have"], json!({"filtered": 1}));
        assert_eq!((&found["decision"], &found["mode"]), (&json!("allowed"), &json!("shadow")));
        assert_eq!(found["tenant"]["id"], ACME);
        assert_eq!((&found["actor"]["user"], &found["command"]), (&json!("acme"), &json!("SELECT")));
        assert_eq!(found["origin"]["route"], "things#list");
        assert_eq!(found["query"]["text"], "select id, org_id from things order by id");
        assert!(found["backend"]["pid"].is_u64(), "{found}");
    });
}

#[test]
fn own_rows_are_no_finding_however_they_are_asked_for() {
    for_each_version(async |server| {
        let stage = Watched::start(server, "");
        let mut client = stage.client("acme");
        client.query(&format!("SELECT * FROM things WHERE org_id = '{ACME}'"));
        client.query("SELECT id, name FROM things");
        client.query("SELECT * FROM items");
        client.query("SELECT m.org_id FROM things t LEFT JOIN marker m ON m.org_id = t.org_id AND false");
        client.query("SELECT org_id FROM things WHERE false");
        let own = Frontend::new().parse("s", "SELECT org_id FROM things WHERE org_id = $1", &[]);
        client.send(&own.describe_statement("s").sync());
        client.until_ready();
        client.send(&Frontend::new().bind("", "s", &[Some(ACME)]).execute("", 0).sync());
        client.until_ready();
        assert_eq!(stage.kinds(), Vec::<String>::new());
    });
}

#[test]
fn foreign_rows_are_found_in_every_way_the_protocol_has() {
    for_each_version(async |server| {
        let stage = Watched::start(server, "");
        let mut client = stage.client("acme");
        let text = |name: &str| format!("SELECT org_id AS {name} FROM things");
        // Described as a portal, as drivers do that ask each time.
        let portal = Frontend::new().parse("", &text("as_portal"), &[]).bind("", "", &[]).describe_portal("");
        client.send(&portal.execute("", 0).sync());
        client.until_ready();
        // Described once as a statement, and run often.
        client.send(&Frontend::new().parse("s", &text("as_statement"), &[]).describe_statement("s").sync());
        client.until_ready();
        for _ in 0..3 {
            client.send(&Frontend::new().bind("", "s", &[]).execute("", 0).sync());
            client.until_ready();
        }
        // In binary, for all columns and for each.
        let mixed = "SELECT org_id AS in_binary, name, org_id FROM things";
        client.send(&Frontend::new().parse("b", mixed, &[]).describe_statement("b").sync());
        client.until_ready();
        client.send(&Frontend::new().bind_formats("", "b", &[], &[], &[1]).execute("", 0).sync());
        client.until_ready();
        let each = mixed.replace("in_binary", "in_both");
        client.send(&Frontend::new().parse("e", &each, &[]).describe_statement("e").sync());
        client.until_ready();
        client.send(&Frontend::new().bind_formats("", "e", &[], &[], &[0, 0, 1]).execute("", 0).sync());
        client.until_ready();
        // In parts, and in a pipeline.
        client.query("BEGIN");
        let parts =
            Frontend::new().parse("", &text("in_parts"), &[]).describe_statement("").bind("p", "", &[]);
        client.send(&parts.execute("p", 2).execute("p", 2).sync());
        client.until_ready();
        client.query("DECLARE c CURSOR FOR SELECT org_id FROM things");
        client.query("FETCH ALL FROM c");
        client.query("COMMIT");
        client.query(&format!("SELECT 1; {}; SELECT 2", text("in_a_string")));
        assert_eq!(said(&stage.found("rows_foreign", "as_portal")), (3, 1, vec![GLOBEX.to_owned()]));
        assert_eq!(said(&stage.found("rows_foreign", "in_binary")), (3, 1, vec![GLOBEX.to_owned()]));
        stage.found("rows_foreign", "in_parts");
        stage.found("rows_foreign", "fetch all");
        assert_eq!(said(&stage.found("rows_foreign", "in_a_string")), (3, 1, vec![GLOBEX.to_owned()]));
        for (words, count) in [("as_statement", 3), ("in_both", 1), ("in_parts", 1)] {
            until(words, || (stage.total("rows_foreign", words) == count).then_some(()));
        }
    });
}

/// A table for each type that a tenant column may have, with a row of the tenant 7 and one of 8.
fn types(server: &Server) -> Vec<&'static str> {
    let types = ["int2", "int4", "int8", "text", "varchar(10)", "char(5)", "numeric(10,2)", "word", "number"];
    server.psql("CREATE TYPE word AS ENUM ('7', '8'); CREATE DOMAIN number AS int CHECK (value > 0)");
    for (index, name) in types.iter().enumerate() {
        server.psql(&format!(
            "CREATE TABLE t{index} (org_id {name}); INSERT INTO t{index} VALUES ('7'), ('8'); GRANT ALL ON t{index} TO PUBLIC"
        ));
    }
    types.to_vec()
}

fn is_counted_for_its_type(stage: &Watched, words: &str) -> Option<()> {
    let found = stage.coverage("rows", words);
    found.iter().any(|(reason, _, count)| reason == "type" && *count == 1).then_some(())
}

#[test]
fn values_are_compared_as_what_they_are() {
    for_each_version(async |server| {
        let types = types(server);
        let fixed = "seven=tenant:7;user:00000000-0000-4000-8000-0000000000a1";
        let stage = Watched::start_with(server, "", "shadow", |builder| {
            builder
                .env("PGWARDEN_FIXED", &format!("{fixed}, acme=tenant:{ACME}"))
                .env("PGWARDEN_CONTEXT", "app.current_org_id=tenant:text, app.current_user_id=user:text")
        });
        let mut client = stage.client("seven");
        for (index, name) in types.iter().enumerate() {
            for (format, code) in [("text", 0), ("binary", 1)] {
                let sql = format!("SELECT org_id, {index} AS as_{format}_{index} FROM t{index}");
                let run = Frontend::new().parse("", &sql, &[]).describe_statement("");
                client.send(&run.bind_formats("", "", &[], &[], &[code]).execute("", 0).sync());
                client.until_ready();
                // A numeric in binary is not looked at, and says so.
                if *name == "numeric(10,2)" && code == 1 {
                    let words = format!("as_binary_{index}");
                    until("it is counted", || is_counted_for_its_type(&stage, &words));
                    continue;
                }
                let found = stage.found("rows_foreign", &format!("as_{format}_{index} from"));
                let (returned, foreign, tenants) = said(&found);
                assert_eq!((returned, foreign), (2, 1), "{name} as {format}");
                assert!(tenants[0].starts_with('8'), "{name} as {format}: {tenants:?}");
            }
        }
    });
}

#[test]
fn rows_are_followed_through_what_stands_between() {
    for_each_version(async |server| {
        let schema = "
            CREATE VIEW shown AS SELECT name, org_id AS whose FROM things;
            CREATE VIEW shown_again AS SELECT whose, name FROM shown;
            CREATE TABLE parts (id int, org_id uuid) PARTITION BY RANGE (id);
            CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
            INSERT INTO parts SELECT id, org_id FROM things;
            GRANT ALL ON shown, shown_again, parts, parts_1 TO PUBLIC";
        let stage = Watched::start(server, schema);
        let mut client = stage.client("acme");
        for (sql, words, table) in [
            ("SELECT name, whose FROM shown", "select name, whose", "things"),
            ("SELECT whose, 1 AS one FROM shown_again", "from shown_again", "things"),
            ("SELECT org_id FROM parts", "select org_id from parts", "parts"),
            ("SELECT id, org_id FROM parts_1", "from parts_1", "parts_1"),
            ("SELECT s.org_id FROM (SELECT * FROM things OFFSET 0) s", "select s.org_id", "things"),
            ("WITH w AS (SELECT org_id FROM things) SELECT * FROM w", "with w", "things"),
            ("SELECT i.org, t.org_id FROM items i CROSS JOIN things t", "cross join", "things"),
            ("UPDATE things SET name = name RETURNING org_id", "update things", "things"),
            ("DELETE FROM parts RETURNING org_id, id", "delete from parts", "parts"),
        ] {
            client.query(sql);
            let found = stage.found("rows_foreign", words);
            assert_eq!(found["target"]["table"], table, "{sql}: {found}");
        }
    });
}

#[test]
fn a_write_that_is_rolled_back_says_so() {
    for_each_version(async |server| {
        let stage = Watched::start(server, "");
        let mut client = stage.client("acme");
        client.query("BEGIN");
        client.query("UPDATE things SET name = 'x' RETURNING org_id, 1 AS rolled");
        client.query("ROLLBACK");
        client.query("BEGIN; UPDATE things SET name = 'x' RETURNING org_id, 1 AS committed; COMMIT");
        client.query("UPDATE things SET name = 'x' RETURNING org_id, 1 AS alone");
        client.query("UPDATE things SET name = 'x' RETURNING org_id, 1 AS failed; SELECT 1/0");
        for (words, outcome) in [
            ("rolled", "rolled_back"),
            ("committed", "committed"),
            ("alone", "committed"),
            ("failed", "rolled_back"),
        ] {
            let found = stage.found("rows_foreign", words);
            assert_eq!(
                (&found["outcome"], &found["command"]),
                (&json!(outcome), &json!("UPDATE")),
                "{words}"
            );
        }
    });
}

#[test]
fn what_cannot_be_seen_is_counted_with_its_reason() {
    for_each_version(async |server| {
        let stage = Watched::start(server, "");
        let mut client = stage.client("acme");
        for (sql, words, reason) in [
            ("SELECT count(*) FROM things", "count(*)", "computed_columns"),
            ("SELECT org_id::text FROM things", "org_id::text", "computed_columns"),
            ("SELECT org_id FROM things UNION SELECT org_id FROM things", "union", "computed_columns"),
            ("SELECT things FROM things", "select things from", "whole_rows"),
            ("SELECT name FROM things", "select name from things", "no_tenant_column"),
            ("COPY things TO STDOUT", "copy things to", "copy"),
        ] {
            client.query(sql);
            until(sql, || {
                let found = stage.coverage("rows", words);
                let expected = (reason.to_owned(), vec!["public.things".to_owned()], 1);
                (found == [expected]).then_some(())
            });
        }
        let mut nobody = stage.client("nobody");
        nobody.query("SELECT org_id, 1 AS by_nobody FROM things");
        until("nobody", || {
            let found = stage.coverage("rows", "by_nobody");
            found.iter().any(|(reason, _, _)| reason == "no_context").then_some(())
        });
        assert_eq!(stage.kinds(), ["context_missing"]);
    });
}

#[test]
fn a_member_of_several_organisations_sees_the_rows_of_all_of_them() {
    for_each_version(async |server| {
        let third = "00000000-0000-4000-8000-00000000000c";
        let schema = format!(
            "CREATE TABLE members (who uuid, org uuid); INSERT INTO members VALUES ('{ANN}', '{GLOBEX}');
            GRANT SELECT ON members TO app; INSERT INTO things VALUES (4, '{third}')"
        );
        let query = "[context.tenants]\nquery = \"SELECT org FROM public.members WHERE who = $1\"\n";
        let stage = Watched::start_with(server, &schema, "shadow", |builder| {
            builder.file("pgwarden.toml", &format!("{SETTINGS}{query}"))
        });
        let mut client = stage.client("acme");
        client.query(&format!("SELECT org_id FROM things WHERE org_id <> '{third}'"));
        assert_eq!(values(&client.query("SELECT org_id AS all_of_them FROM things")).len(), 4);
        let found = stage.found("rows_foreign", "all_of_them");
        assert_eq!(said(&found), (4, 1, vec![third.to_owned()]));
        assert_eq!(found["tenant"]["id"], ACME);
        // Who is no member of anything else sees its own.
        stage.client("globex").query("SELECT org_id AS of_one FROM things");
        assert_eq!(said(&stage.found("rows_foreign", "of_one")).1, 3);
        assert_eq!(stage.kinds().len(), 2);
    });
}

#[test]
fn a_table_that_comes_later_is_looked_at_too() {
    for_each_version(async |server| {
        let stage = Watched::start(server, "");
        let mut client = stage.client("acme");
        client.send(&Frontend::new().parse("s", "SELECT * FROM things", &[]).describe_statement("s").sync());
        client.until_ready();
        server.psql(&format!(
            "CREATE TABLE later (org_id uuid); INSERT INTO later VALUES ('{GLOBEX}'); GRANT ALL ON later TO PUBLIC"
        ));
        until("a row of the new table is found", || {
            client.query("SELECT org_id FROM later");
            (stage.total("rows_foreign", "from later") > 0).then_some(())
        });
        // What was described before the look is understood by the latest one.
        client.send(&Frontend::new().bind("", "s", &[]).execute("", 0).sync());
        client.until_ready();
        stage.found("rows_foreign", "select * from things");
    });
}

/// A policy in force for everybody but the role that the application works as.
const OVERLOOKED: &str = "
    CREATE POLICY own ON things USING (org_id = nullif(current_setting('app.current_org_id', true), '')::uuid);
    CREATE TABLE others (org_id uuid);
    INSERT INTO others SELECT org_id FROM things;
    CREATE POLICY own ON others USING (org_id IN (SELECT org_id FROM things));
    GRANT ALL ON others TO PUBLIC";

#[test]
fn a_result_is_cut_off_in_front_of_a_foreign_row_where_that_is_asked_for() {
    for_each_version(async |server| {
        let guarded = |builder: pgwarden_tests::PgwardenBuilder| builder.env("PGWARDEN_ROW_GUARD", "block");
        let stage = Watched::start_with(server, OVERLOOKED, "enforce", guarded);
        let mut client = stage.client("acme");
        // Not the standard policy: nothing is cut.
        assert_eq!(values(&client.query("SELECT org_id FROM others")).len(), 3);
        let sql = "SELECT id, org_id FROM things ORDER BY id";
        let found = |replies: &[Message]| {
            (values(replies), error_code(replies), replies.last().expect("ReadyForQuery").status())
        };
        let cut = |status: char| (vec!["1".to_owned(), "2".to_owned()], "42501".to_owned(), status);
        let run = |batch: Frontend, sql: &str| {
            batch.parse("", sql, &[]).bind("", "", &[]).describe_portal("").execute("", 0)
        };
        let extended = run(Frontend::new(), sql).sync();
        assert_eq!(found(&client.query(sql)), cut('I'), "its own rows have gone ahead");
        client.send(&extended);
        assert_eq!(found(&client.until_ready()), cut('I'));
        // A transaction has failed, as if the server had raised the error.
        for batch in [Frontend::new().query(sql), extended] {
            client.query("BEGIN");
            client.query("INSERT INTO marker VALUES (NULL, 'undone')");
            client.send(&batch);
            assert_eq!(found(&client.until_ready()), cut('E'));
            assert_eq!(error_code(&client.query("SELECT 1")), "25P02");
            assert_eq!(client.query("COMMIT")[0].command(), "ROLLBACK");
        }
        // What comes next finds the transaction failed, however early it comes.
        client.send(&run(run(Frontend::new(), "BEGIN"), sql).sync());
        client.send(&Frontend::new().query("SELECT 1"));
        assert_eq!(found(&client.until_ready()), cut('E'));
        assert_eq!(error_code(&client.until_ready()), "25P02");
        client.query("ROLLBACK");
        assert_eq!(server.psql("SELECT count(*) FROM marker WHERE text = 'undone'"), "0");
        assert_eq!(values(&client.query("SELECT org()")), [ACME], "the session goes on");
        let found = stage.found("rows_foreign", "order by id");
        assert_eq!(found["decision"], "cut");
    });
}

#[test]
fn where_something_else_was_sent_the_session_ends_with_the_result_that_is_cut_off() {
    for_each_version(async |server| {
        let guarded = |builder: pgwarden_tests::PgwardenBuilder| builder.env("PGWARDEN_ROW_GUARD", "block");
        let stage = Watched::start_with(server, OVERLOOKED, "enforce", guarded);
        let sql = "SELECT id, org_id FROM things ORDER BY id";
        let run = |batch: Frontend, sql: &str| {
            batch.parse("", sql, &[]).bind("", "", &[]).describe_portal("").execute("", 0)
        };
        let write = "INSERT INTO marker VALUES (NULL, 'written')";
        for batch in [
            // What stands behind it runs.
            run(run(Frontend::new(), sql), "SELECT 1").sync(),
            // What stands in front of it is committed, and so is what it does itself.
            run(run(Frontend::new(), write), sql).sync(),
            Frontend::new().query(&format!("{write}; {sql}")),
            Frontend::new().query("UPDATE things SET name = name RETURNING id, org_id"),
        ] {
            let mut client = stage.client("acme");
            client.query("BEGIN");
            // The context is there, so that nothing waits for it.
            client.query("SELECT id FROM things");
            client.send(&batch);
            let received = client.until_closed();
            let error = received.last().expect("an error").fields();
            assert_eq!((error.code(), error.severity()), ("42501", "FATAL"), "{error:?}");
            let ids = received.iter().filter(|message| message.tag == b'D').map(|row| row.row()[0].clone());
            assert!(ids.flatten().all(|id| id != "3"), "{received:?}");
        }
        assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
    });
}

#[test]
fn nothing_is_cut_in_shadow() {
    for_each_version(async |server| {
        let guarded = |builder: pgwarden_tests::PgwardenBuilder| builder.env("PGWARDEN_ROW_GUARD", "block");
        let stage = Watched::start_with(server, OVERLOOKED, "shadow", guarded);
        assert_eq!(values(&stage.client("acme").query("SELECT id, org_id FROM things")).len(), 3);
        stage.found("rows_foreign", "from things");
    });
}
