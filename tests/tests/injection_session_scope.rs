//! What cannot run in a block: the context is set for the session, around that message alone.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, run, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, Message, Server, for_each_version};

const SET_UP: &str = "
ALTER SCHEMA public OWNER TO tenants;
CREATE TABLE small (id int); ALTER TABLE small OWNER TO tenants;
CREATE TABLE parted (id int) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF parted FOR VALUES FROM (1) TO (9);
CREATE INDEX parted_id ON parted (id);
ALTER TABLE parted OWNER TO tenants; ALTER TABLE part OWNER TO tenants;
CREATE FUNCTION witness() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
    IF nullif(public.org(), '') IS NULL THEN RAISE 'no context'; END IF;
    RETURN 'x';
END $$;
INSERT INTO small VALUES (1);
CREATE PROCEDURE commits(INOUT seen text) LANGUAGE plpgsql AS $$ BEGIN
    seen := org(); COMMIT; seen := seen || ' ' || org(); ROLLBACK; seen := seen || ' ' || org();
END $$;
CREATE PROCEDURE fails() LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO notes VALUES ('before it failed'); COMMIT; RAISE 'enough of it';
END $$;
";

fn stage(server: &Server) -> Tenants<'_> {
    let stage = Tenants::start(server);
    server.psql(SET_UP);
    stage
}

/// The same statement as a simple query and as an extended batch.
fn both(sql: &str) -> [Frontend; 2] {
    [Frontend::new().query(sql), run(sql).sync()]
}

#[track_caller]
fn ask(stage: &Tenants<'_>, user: &str, messages: &Frontend) -> Vec<Message> {
    let mut wire = stage.client(user);
    wire.send(messages);
    wire.until_ready()
}

/// Nothing of a session scope is left on the only backend.
#[track_caller]
fn assert_cleared(stage: &Tenants<'_>, after: &str) {
    assert_eq!(stage.client("nobody").rows("SELECT org() || who()"), [[Some(String::new())]], "{after}");
    assert_eq!(stage.client("globex").rows("SELECT org()"), [[Some(GLOBEX.to_owned())]], "{after}");
}

#[test]
fn what_cannot_run_in_a_block_runs() {
    for_each_version(async |server| {
        let stage = stage(server);
        for sql in [
            "VACUUM small",
            "VACUUM (ANALYZE) small",
            "CREATE INDEX CONCURRENTLY one ON small (id)",
            "CREATE UNIQUE INDEX CONCURRENTLY two ON small (id)",
            "REINDEX TABLE CONCURRENTLY small",
            "REINDEX (VERBOSE) INDEX CONCURRENTLY one",
            "DROP INDEX CONCURRENTLY one",
            "CLUSTER small USING two",
            "ALTER TABLE parted DETACH PARTITION part CONCURRENTLY",
        ] {
            let answers = ask(&stage, "acme", &Frontend::new().query(sql));
            assert_eq!(error_code(&answers), "", "{sql}: {answers:?}");
            assert_eq!(answers.last().unwrap().status(), 'I', "{sql}");
        }
        assert_cleared(&stage, "them all");
    });
}

#[test]
fn what_cannot_run_in_a_block_runs_in_the_extended_protocol() {
    for_each_version(async |server| {
        let stage = stage(server);
        for sql in
            ["VACUUM small", "CREATE INDEX CONCURRENTLY one ON small (id)", "DROP INDEX CONCURRENTLY one"]
        {
            let answers = ask(&stage, "acme", &run(sql).sync());
            assert_eq!(tags(&answers), "12CZ", "{sql}: {answers:?}");
        }
        assert_cleared(&stage, "them all");
    });
}

#[test]
fn an_index_that_is_made_concurrently_sees_the_context() {
    for_each_version(async |server| {
        let stage = stage(server);
        let answers = ask(
            &stage,
            "acme",
            &Frontend::new().query("CREATE INDEX CONCURRENTLY one ON small ((witness()))"),
        );
        assert_eq!(error_code(&answers), "", "{answers:?}");
    });
}

#[test]
fn a_statement_that_the_list_misses_is_retried_in_session_scope_once() {
    for_each_version(async |server| {
        let stage = stage(server);
        // Whether REINDEX of this table can run in a block depends on the catalogue.
        let answers = ask(&stage, "acme", &Frontend::new().query("REINDEX TABLE parted"));
        assert_eq!(tags(&answers), "CZ", "{answers:?}");
        assert_eq!(answers[0].command(), "REINDEX");
        assert_cleared(&stage, "REINDEX of a partitioned table");
        let answers = ask(&stage, "acme", &Frontend::new().query("REINDEX INDEX parted_id"));
        assert_eq!(tags(&answers), "CZ", "{answers:?}");
    });
}

#[test]
fn a_missed_statement_that_cannot_be_retried_gets_a_hint() {
    for_each_version(async |server| {
        let stage = stage(server);
        let answers = ask(&stage, "acme", &run("REINDEX TABLE parted").sync());
        let code = error_code(&answers);
        assert!(code.is_empty() || code == "25001", "{answers:?}");
        if let Some(error) = answers.iter().find(|message| message.tag == b'E') {
            assert!(!error.fields().hint().is_empty(), "{error:?}");
        }
        assert_cleared(&stage, "an extended REINDEX");
    });
}

#[test]
fn what_cannot_run_in_a_block_keeps_its_error_there() {
    for_each_version(async |server| {
        let stage = stage(server);
        for sql in ["VACUUM small", "REINDEX TABLE parted", "CREATE INDEX CONCURRENTLY one ON small (id)"] {
            let answers = stage.queries_like_direct(&["BEGIN", sql, "ROLLBACK"]);
            assert_eq!(error_code(&answers[1]), "25001", "{sql}");
            stage.like_direct(&Frontend::new().query(&format!("SELECT 1; {sql}")), 1);
        }
    });
}

#[test]
fn a_procedure_that_ends_transactions_keeps_the_context() {
    for_each_version(async |server| {
        let stage = stage(server);
        for messages in both("CALL commits('')") {
            let answers = stage.like_direct(&messages, 1);
            assert_eq!(values(&answers), [format!("{ACME} {ACME} {ACME}")]);
            assert_cleared(&stage, "CALL");
        }
        let messages = Frontend::new().parse("c", "CALL commits($1)", &[]).bind("", "c", &[Some("")]);
        let answers = stage.like_direct(&messages.describe_portal("").execute("", 0).sync(), 1);
        assert_eq!(values(&answers), [format!("{ACME} {ACME} {ACME}")]);
        assert_cleared(&stage, "CALL with a parameter");
    });
}

#[test]
fn a_do_block_that_ends_transactions_keeps_the_context() {
    for_each_version(async |server| {
        let stage = stage(server);
        let body =
            "DO $$ BEGIN INSERT INTO notes VALUES ('1'); COMMIT; INSERT INTO notes VALUES ('2'); END $$";
        for messages in both(body) {
            assert_eq!(error_code(&stage.like_direct(&messages, 1)), "");
            assert_cleared(&stage, "DO");
        }
        assert_eq!(server.psql("SELECT DISTINCT org FROM notes"), ACME);
    });
}

#[test]
fn a_procedure_inside_a_block_gets_the_context_of_the_transaction() {
    for_each_version(async |server| {
        let stage = stage(server);
        server.psql("CREATE PROCEDURE asks(INOUT seen text) LANGUAGE plpgsql AS 'BEGIN seen := org(); END'");
        let answers = stage.queries_like_direct(&[
            "BEGIN",
            "CALL asks('')",
            "CALL commits('')",
            "ROLLBACK",
            "SELECT 1; CALL asks('')",
            "BEGIN; CALL asks(''); COMMIT",
        ]);
        assert_eq!(values(&answers[1]), [ACME]);
        assert_eq!(error_code(&answers[2]), "2D000");
        assert_cleared(&stage, "CALL in a block");
    });
}

#[test]
fn the_context_is_cleared_when_the_message_fails() {
    for_each_version(async |server| {
        let stage = stage(server);
        for sql in
            ["CALL fails()", "CALL nowhere()", "VACUUM nowhere", "DO $$ BEGIN RAISE 'no'; END $$", "VACUUM ("]
        {
            for messages in both(sql) {
                assert_ne!(error_code(&stage.like_direct(&messages, 1)), "", "{sql}");
                assert_cleared(&stage, sql);
            }
        }
    });
}

#[test]
fn the_context_is_cleared_when_the_message_is_cancelled_by_a_timeout() {
    for_each_version(async |server| {
        let stage = stage(server);
        let mut acme = stage.client("acme");
        acme.query("SET statement_timeout = '50ms'");
        let answers = acme.query("DO $$ BEGIN PERFORM pg_sleep(9); END $$");
        assert_eq!(error_code(&answers), "57014");
        drop(acme);
        assert_cleared(&stage, "a timeout");
    });
}

#[test]
fn a_batch_around_a_procedure_keeps_its_order() {
    for_each_version(async |server| {
        let stage = stage(server);
        let call = "CALL commits('')";
        let messages =
            run("SELECT org()").sync().raw(run(call).sync().bytes()).raw(run("SELECT org()").sync().bytes());
        let answers = stage.like_direct(&messages, 3);
        assert_eq!(values(&answers).len(), 3);
        let queries = Frontend::new().query("SELECT org()").query(call).query("SELECT org()").query(call);
        stage.like_direct(&queries, 4);
        assert_cleared(&stage, "a pipeline");
    });
}

#[test]
fn statements_behind_a_procedure_in_one_batch_have_the_context_and_one_in_front_refuses_it() {
    for_each_version(async |server| {
        let stage = stage(server);
        server.psql("CREATE PROCEDURE asks(INOUT seen text) LANGUAGE plpgsql AS 'BEGIN seen := org(); END'");
        let messages = run("SELECT org()").raw(run("CALL asks('')").bytes()).raw(run("SELECT org()").bytes());
        let mut acme = stage.client("acme");
        acme.send(&messages.sync());
        let answer = acme.until_ready();
        assert_eq!(values(&answer), [ACME], "{answer:?}");
        assert_eq!(error_code(&answer), "0A000", "{answer:?}");
        let messages = run("CALL asks('')").raw(run("SELECT org()").bytes()).sync();
        assert_eq!(values(&stage.like_direct(&messages, 1)), [ACME; 2]);
        let messages = run("CALL asks('')").flush().raw(run("SELECT org()").bytes()).sync();
        assert_eq!(values(&stage.like_direct(&messages, 1)), [ACME; 2]);
        assert_cleared(&stage, "batches");
    });
}

#[test]
fn a_message_behind_an_unsynced_parse_gets_its_session_scope() {
    for_each_version(async |server| {
        let stage = stage(server);
        let messages =
            Frontend::new().parse("", "SELECT 1", &[]).query("DO $$ BEGIN PERFORM 1; COMMIT; END $$");
        assert_eq!(tags(&stage.like_direct(&messages, 1)), "1CZ");
    });
}
