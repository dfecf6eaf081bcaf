//! The extended protocol: the context runs in front of the first Bind, and nothing of it comes back.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, is_context, run, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, Wire, for_each_version};

fn batch(wire: &mut Wire, messages: Frontend) -> Vec<pgwarden_tests::Message> {
    wire.send(&messages.sync());
    wire.until_ready()
}

#[test]
fn a_batch_gets_its_context_and_no_reply_more() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for _ in 0..3 {
            let answers = stage.like_direct(&run("SELECT org()").sync(), 1);
            assert_eq!((tags(&answers).as_str(), values(&answers)), ("12DCZ", vec![ACME.to_owned()]));
        }
    });
}

#[test]
fn the_context_statement_runs_in_front_of_the_first_bind() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.rows("SELECT 1");
        let mark = stage.mark();
        let messages =
            Frontend::new().parse("", "SELECT org()", &[]).describe_statement("").bind("", "", &[]);
        batch(&mut acme, messages.describe_portal("").execute("", 0));
        let ran = stage.ran(mark);
        assert!(is_context(&ran[0]), "{ran:?}");
        assert_eq!(ran[1..], ["execute <unnamed>: SELECT org()"]);
    });
}

#[test]
fn planning_and_partition_pruning_see_the_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        server.psql(&format!(
            "CREATE TABLE parts (org text, name text) PARTITION BY LIST (org); \
             CREATE TABLE parts_acme PARTITION OF parts FOR VALUES IN ('{ACME}'); \
             CREATE TABLE parts_globex PARTITION OF parts FOR VALUES IN ('{GLOBEX}'); GRANT ALL ON parts TO tenants"
        ));
        let answers =
            stage.like_direct(&run("EXPLAIN (COSTS OFF) SELECT * FROM parts WHERE org = org()").sync(), 1);
        let plan = values(&answers).join("\n");
        assert!(plan.contains("parts_acme") || plan.contains("Subplans Removed"), "{plan}");
        // Estimating the selectivity of a STABLE expression evaluates it when the plan is made.
        server.psql(
            "CREATE FUNCTION must() RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN \
             IF nullif(org(), '') IS NULL THEN RAISE 'planned without a context'; END IF; RETURN org(); END $$",
        );
        server.psql("ANALYZE items");
        stage.like_direct(&run("SELECT name FROM items WHERE org = must()").sync(), 1);
    });
}

#[test]
fn a_batch_that_only_parses_and_describes_gets_no_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.rows("SELECT 1");
        let mark = stage.mark();
        let messages = Frontend::new().parse("s", "SELECT name FROM items", &[]).describe_statement("s");
        assert_eq!(tags(&batch(&mut acme, messages)), "1tTZ");
        assert_eq!(stage.injections(mark), 0);
        assert_eq!(tags(&batch(&mut acme, Frontend::new())), "Z");
        assert_eq!(stage.ran(mark), [""; 0]);
    });
}

#[test]
fn the_context_statement_is_prepared_once_per_backend_under_a_name_of_its_own() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "2"));
        let sql =
            "SELECT string_agg(name, ',') FROM pg_prepared_statements WHERE statement LIKE '%set_config%'";
        let mut names = Vec::new();
        let mut clients = [stage.client("acme"), stage.client("globex")];
        for client in &mut clients {
            client.query("BEGIN");
            for _ in 0..3 {
                batch(client, run("SELECT org()"));
            }
            names.push(values(&client.query(sql)));
        }
        for client in &mut clients {
            client.query("COMMIT");
        }
        for name in names.concat() {
            assert!(name.starts_with("pgwarden_context_") && !name.contains(','), "one per backend: {name}");
        }
        assert_ne!(names[0], names[1], "a name that a client cannot guess");
    });
}

#[test]
fn the_injected_portal_is_closed_each_time() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        for _ in 0..3 {
            acme.query("SAVEPOINT s");
            assert_eq!(values(&batch(&mut acme, run("SELECT org()"))), [ACME]);
            acme.query("ROLLBACK TO s");
        }
        let cursors = batch(&mut acme, run("SELECT name FROM pg_cursors WHERE name <> ''"));
        assert_eq!(values(&cursors), [""; 0]);
        acme.query("COMMIT");
    });
}

#[test]
fn batches_in_flight_get_a_context_each() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut messages = Frontend::new();
        for _ in 0..5 {
            messages = messages.raw(run("SELECT org()").sync().bytes());
        }
        assert_eq!(values(&stage.like_direct(&messages, 5)), [ACME; 5]);
    });
}

#[test]
fn transaction_control_in_a_pipeline_keeps_the_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let steps = [
            "BEGIN",
            "SELECT org()",
            "COMMIT AND CHAIN",
            "SELECT org()",
            "SAVEPOINT s",
            "SELECT org()",
            "ROLLBACK TO s",
            "SELECT org()",
            "ROLLBACK",
            "SELECT org()",
            "COMMIT",
            "SELECT org()",
        ];
        let (mut synced, mut one) = (Frontend::new(), Frontend::new());
        for sql in steps {
            synced = synced.raw(run(sql).sync().bytes());
            one = one.raw(run(sql).bytes());
        }
        assert_eq!(values(&stage.like_direct(&synced, steps.len())), [ACME; 6], "each with its Sync");
        assert_eq!(values(&stage.like_direct(&one.sync(), 1)), [ACME; 6], "all in one batch");
    });
}

#[test]
fn the_end_of_an_implicit_block_in_the_middle_of_a_batch_loses_the_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for control in ["COMMIT", "ROLLBACK"] {
            let messages = run("SELECT org()").raw(run(control).bytes()).raw(run("SELECT org()").bytes());
            assert_eq!(values(&stage.like_direct(&messages.sync(), 1)), [ACME, ACME], "{control}");
        }
    });
}

#[test]
fn flush_without_sync_delivers_what_there_is() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.send(&Frontend::new().parse("", "SELECT org()", &[]).flush());
        acme.expect("1");
        acme.send(&Frontend::new().describe_statement("").flush());
        acme.expect("tT");
        acme.send(&Frontend::new().bind("", "", &[]).flush());
        acme.expect("2");
        acme.send(&Frontend::new().execute("", 0).flush());
        assert_eq!(acme.expect("DC")[0].row(), [Some(ACME.to_owned())]);
        acme.send(&run("SELECT org()").flush());
        assert_eq!(acme.expect("12DC")[2].row(), [Some(ACME.to_owned())]);
        acme.send(&Frontend::new().sync());
        assert_eq!(acme.expect("Z")[0].status(), 'I');
    });
}

#[test]
fn the_clients_unnamed_statement_survives_an_injection() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let execute = Frontend::new().bind("", "", &[]).execute("", 0).sync();
        let messages = Frontend::new().parse("", "SELECT org()", &[]).sync();
        let messages = messages.raw(execute.bytes()).raw(execute.bytes());
        assert_eq!(values(&stage.like_direct(&messages, 3)), [ACME, ACME]);
    });
}

#[test]
fn the_clients_unnamed_statement_survives_another_client_on_the_same_backend() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        for wire in [&mut acme, &mut globex] {
            let sql = if wire.key.0 == 0 { "" } else { "SELECT org()" };
            assert_eq!(tags(&batch(wire, Frontend::new().parse("", sql, &[]))), "1Z");
        }
        for _ in 0..2 {
            for (wire, org) in [(&mut acme, ACME), (&mut globex, GLOBEX)] {
                let answers = batch(wire, Frontend::new().bind("", "", &[]).execute("", 0));
                assert_eq!((tags(&answers).as_str(), values(&answers)), ("2DCZ", vec![org.to_owned()]));
            }
        }
    });
}

#[test]
fn a_suspended_unnamed_portal_survives_an_injection() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut proxied, mut direct) = (stage.client("acme"), stage.direct("acme"));
        let mut seen = Vec::new();
        for wire in [&mut proxied, &mut direct] {
            let mut answers = batch(wire, run("BEGIN"));
            let messages = Frontend::new().parse("", "SELECT generate_series(1, 5)", &[]).bind("", "", &[]);
            answers.extend(batch(wire, messages.execute("", 2)));
            // What was allowed to reset the variables makes a new injection necessary, between two Executes.
            let reset = Frontend::new().parse("r", "RESET ALL", &[]).bind("r", "r", &[]).execute("r", 0);
            wire.send(
                &reset.execute("", 2).parse("o", "SELECT 1", &[]).bind("o", "o", &[]).execute("o", 0).sync(),
            );
            answers.extend(wire.until_ready());
            answers.extend(batch(wire, Frontend::new().execute("", 0)));
            answers.extend(batch(wire, run("COMMIT")));
            answers.retain(|message| message.tag != b'S');
            seen.push(answers);
        }
        assert_eq!(seen[0], seen[1]);
        assert_eq!(values(&seen[0]), ["1", "2", "3", "4", "1", "5"]);
    });
}

#[test]
fn row_limited_executes_go_on_where_they_stopped() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let messages =
            Frontend::new().parse("", "SELECT org() FROM generate_series(1, 5)", &[]).bind("p", "", &[]);
        let messages = messages.execute("p", 2).execute("p", 2).execute("p", 2).close_portal("p").sync();
        let answers = stage.like_direct(&messages, 1);
        assert_eq!(tags(&answers), "12DDsDDsDC3Z");
    });
}

#[test]
fn copy_from_in_the_extended_protocol_is_answered_once() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        // The Sync behind Execute is discarded by the server, which is in copy-in mode by then.
        let copy = run("COPY notes (name) FROM STDIN").sync().copy_data(b"one\ntwo\n").copy_done().sync();
        let messages = copy.raw(run("SELECT count(*) FROM notes WHERE org = org()").sync().bytes());
        let mut acme = stage.client("acme");
        acme.send(&messages);
        let answers = [acme.until_ready(), acme.until_ready()].concat();
        assert_eq!(tags(&answers), "12GCZ12DCZ");
        assert_eq!(values(&answers), ["2"]);
        let failed = run("COPY notes (name) FROM STDIN").sync().copy_fail("enough").sync();
        let answers = stage.like_direct(&failed, 1);
        assert_eq!(error_code(&answers), "57014");
        assert_eq!(server.psql(&format!("SELECT count(*) FROM notes WHERE org = '{ACME}'")), "2");
    });
}

#[test]
fn copy_in_a_simple_query_has_the_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let copy = Frontend::new().query("COPY notes (name) FROM STDIN").copy_data(b"one\n").copy_done();
        let answers = stage.like_direct(&copy, 1);
        assert_eq!(tags(&answers), "GCZ");
        let out = stage.like_direct(&Frontend::new().query("COPY (SELECT org()) TO STDOUT"), 1);
        assert_eq!(tags(&out), "HdcCZ");
        assert_eq!(out[1].body, format!("{ACME}\n").as_bytes());
        assert_eq!(server.psql(&format!("SELECT count(*) FROM notes WHERE org = '{ACME}'")), "2");
    });
}

#[test]
fn a_function_call_has_the_context_in_a_block_and_outside() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let oid: u32 = server.psql("SELECT 'org'::regproc::oid").parse().expect("an oid");
        let call = Frontend::new().function_call(oid, &[]);
        let answers = stage.like_direct(&call.clone().raw(call.bytes()), 2);
        assert_eq!(tags(&answers), "VZVZ");
        let block = Frontend::new().query("BEGIN").raw(call.bytes()).query("SELECT org()").query("COMMIT");
        let answers = stage.like_direct(&block, 4);
        assert_eq!(tags(&answers), "CZVZTDCZCZ");
        assert!(answers[2].body.ends_with(ACME.as_bytes()));
        let mut nobody = stage.client("nobody");
        assert_eq!(nobody.rows("SELECT org()"), [[Some(String::new())]]);
    });
}

#[test]
fn a_function_call_in_autocommit_is_committed() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        server.psql(
            "CREATE FUNCTION note() RETURNS int LANGUAGE sql AS 'INSERT INTO notes VALUES (''called'') RETURNING 1'",
        );
        let oid: u32 = server.psql("SELECT 'note'::regproc::oid").parse().expect("an oid");
        let mut acme = stage.client("acme");
        acme.send(&Frontend::new().function_call(oid, &[]));
        acme.expect("VZ");
        assert_eq!(server.psql("SELECT org FROM notes WHERE name = 'called'"), ACME);
    });
}

#[test]
fn a_query_in_front_of_sync_in_a_pipeline_keeps_its_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let messages =
            run("SELECT org()").sync().query("SELECT org()").raw(run("SELECT org()").sync().bytes());
        let messages = messages.query("BEGIN").query("SELECT org()").raw(run("COMMIT").sync().bytes());
        assert_eq!(values(&stage.like_direct(&messages, 6)), [ACME; 4]);
    });
}

#[test]
fn a_statement_that_sql_has_prepared_gets_its_context_in_session_pooling() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |pgwarden| pgwarden.env("PGWARDEN_POOL_MODE", "session"));
        let prepared = Frontend::new().query("PREPARE mine AS SELECT org()");
        let messages = prepared.bind("", "mine", &[]).execute("", 0).sync();
        assert_eq!(values(&stage.like_direct(&messages, 2)), [ACME]);
    });
}
