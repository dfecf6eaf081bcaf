//! What takes the context away in the middle of a transaction, and that it is there again.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, run, value, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, Server, Wire, for_each_version};

#[track_caller]
fn assert_acme(wire: &mut Wire, after: &str) {
    assert_eq!(wire.rows("SELECT org()"), [[Some(ACME.to_owned())]], "simple, after {after}");
    wire.send(&run("SELECT org()").sync());
    assert_eq!(values(&wire.until_ready()), [ACME], "extended, after {after}");
}

/// Runs `before` and then each of `losses` on one connection, the context being looked at after each.
fn assert_repaired(before: &[&str], losses: &[&str]) {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for extended in [false, true] {
            let mut acme = stage.client("acme");
            for sql in before {
                acme.query(sql);
            }
            for sql in losses {
                if extended {
                    acme.send(&run(sql).sync());
                    acme.until_ready();
                } else {
                    acme.query(sql);
                }
                assert_acme(&mut acme, sql);
            }
            acme.query("ROLLBACK");
        }
    });
}

#[test]
fn rollback_to_a_savepoint_older_than_the_injection_loses_it() {
    assert_repaired(
        &["BEGIN", "SAVEPOINT s"],
        &[
            "ROLLBACK TO s",
            "ROLLBACK TO SAVEPOINT s",
            "ROLLBACK WORK TO s",
            "ROLLBACK TRANSACTION TO SAVEPOINT s",
        ],
    );
}

#[test]
fn rollback_to_out_of_a_failed_block_loses_it() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        acme.query("SAVEPOINT s");
        for _ in 0..3 {
            assert_acme(&mut acme, "the savepoint");
            assert_eq!(error_code(&acme.query("SELECT 1/0")), "22012");
            assert_eq!(acme.query("ROLLBACK TO s").last().unwrap().status(), 'T');
        }
        assert_acme(&mut acme, "an error");
        assert_eq!(acme.query("COMMIT")[0].command(), "COMMIT");
    });
}

#[test]
fn nested_savepoints_as_orms_make_them_keep_the_context() {
    assert_repaired(
        &["BEGIN", "SAVEPOINT a"],
        &[
            "SAVEPOINT b",
            "SAVEPOINT c",
            "ROLLBACK TO b",
            "RELEASE b",
            "SAVEPOINT b",
            "ROLLBACK TO a",
            "RELEASE a",
        ],
    );
}

#[test]
fn jdbc_autosave_in_a_pipeline_keeps_the_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut messages = run("BEGIN").sync();
        for sql in ["SELECT org()", "SELECT nope", "SELECT org()"] {
            messages = messages.raw(run("SAVEPOINT pgjdbc_autosave").bytes()).raw(run(sql).sync().bytes());
            messages = messages.raw(run("ROLLBACK TO SAVEPOINT pgjdbc_autosave").sync().bytes());
        }
        let messages = messages.raw(run("SELECT org()").sync().bytes()).raw(run("COMMIT").sync().bytes());
        assert_eq!(values(&stage.like_direct(&messages, 9)), [ACME; 3]);
    });
}

#[test]
fn psql_on_error_rollback_keeps_the_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let url = stage.pgwarden.url("acme", "", "postgres");
        let commands = ["BEGIN", "SELECT org()", "SELECT nope", "SELECT org()", "COMMIT"];
        let mut arguments = vec!["-v", "ON_ERROR_ROLLBACK=on", "-v", "ON_ERROR_STOP=0"];
        arguments.extend(commands.iter().flat_map(|command| ["-c", command]));
        let output = pgwarden_tests::psql(&url, &arguments);
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{ACME}\n{ACME}\n"));
    });
}

#[test]
fn and_chain_loses_it() {
    assert_repaired(
        &["BEGIN"],
        &["COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "END WORK AND CHAIN", "ABORT AND CHAIN"],
    );
}

#[test]
fn resetting_all_loses_it() {
    assert_repaired(&["BEGIN"], &["RESET ALL", "SET search_path = public", "RESET search_path"]);
}

#[test]
fn discard_all_and_deallocate_all_empty_the_backends_whole_statement_map() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for extended in [false, true] {
            for sql in ["DISCARD ALL", "DEALLOCATE ALL", "DEALLOCATE PREPARE ALL", "DISCARD ALL"] {
                let mut acme = stage.client("acme");
                assert_acme(&mut acme, "the start");
                if extended {
                    acme.send(&run(sql).sync());
                    assert_eq!(error_code(&acme.until_ready()), "", "{sql}");
                } else {
                    assert_eq!(error_code(&acme.query(sql)), "", "{sql}");
                }
                assert_acme(&mut acme, sql);
                assert_eq!(stage.client("globex").rows("SELECT org()"), [[Some(GLOBEX.to_owned())]], "{sql}");
            }
        }
    });
}

#[test]
fn deallocate_all_inside_a_block_and_rolled_back_keeps_the_context() {
    // Prepared statements are not transactional: they are gone all the same.
    assert_repaired(
        &["BEGIN"],
        &["DEALLOCATE ALL", "ROLLBACK", "BEGIN", "SELECT org()", "DEALLOCATE ALL", "COMMIT"],
    );
}

#[test]
fn deallocate_all_in_the_middle_of_a_pipeline_keeps_the_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let messages = run("SELECT org()").sync().raw(run("DEALLOCATE ALL").sync().bytes());
        let messages = messages.raw(run("SELECT org()").sync().bytes()).query("SELECT org()");
        assert_eq!(values(&stage.like_direct(&messages, 4)), [ACME; 3]);
        let one = run("SELECT org()").raw(run("DEALLOCATE ALL").bytes()).raw(run("SELECT org()").bytes());
        assert_eq!(
            values(&stage.like_direct(&one.sync().query("SELECT org()"), 2)),
            [ACME; 3],
            "in one batch"
        );
    });
}

#[test]
fn a_helper_that_sets_the_variable_is_repaired_before_every_statement_with_reassert() {
    for_each_version(async |server| {
        let stage = reasserting(server);
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        for _ in 0..2 {
            assert_eq!(value(&acme.query(&format!("SELECT poison('{GLOBEX}')"))).as_deref(), Some("done"));
            assert_eq!(values(&acme.query("SELECT name FROM items")), ["of acme"]);
            acme.send(
                &run(&format!("SELECT poison('{GLOBEX}')")).raw(run("SELECT name FROM items").bytes()).sync(),
            );
            assert_eq!(values(&acme.until_ready()), ["done", "of acme"]);
        }
        acme.query("COMMIT");
    });
}

fn reasserting(server: &Server) -> Tenants<'_> {
    Tenants::start_with(server, |builder| {
        builder
            .file("pgwarden.toml", "[pool]\nreassert = \"statement\"\n")
            .argument("--config")
            .argument("{dir}/pgwarden.toml")
    })
}

#[test]
fn a_helper_that_sets_the_variable_is_repaired_in_the_next_transaction() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        for _ in 0..3 {
            acme.query(&format!("SELECT poison('{GLOBEX}')"));
            assert_acme(&mut acme, "the poison of another transaction");
            globex.query(&format!("SELECT poison('{ACME}')"));
            assert_eq!(values(&globex.query("SELECT name FROM items")), ["of globex"]);
        }
    });
}

#[test]
fn a_procedure_that_commits_keeps_its_context_for_the_rest() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        server.psql(
            "CREATE PROCEDURE commits(INOUT seen text) LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO notes VALUES ('before'); COMMIT; INSERT INTO notes VALUES ('after'); seen := org(); END $$",
        );
        for messages in [Frontend::new().query("CALL commits('')"), run("CALL commits('')").sync()] {
            let answers = stage.like_direct(&messages, 1);
            assert_eq!(values(&answers), [ACME]);
        }
        assert_eq!(server.psql("SELECT DISTINCT org FROM notes"), ACME);
    });
}

#[test]
fn a_deferred_trigger_sees_the_context_at_commit_after_it_was_lost() {
    for_each_version(async |server| {
        let stage = with_deferred_trigger(server);
        for commit in ["COMMIT", "SET CONSTRAINTS ALL IMMEDIATE", "COMMIT AND CHAIN", "END"] {
            for extended in [false, true] {
                let mut acme = stage.client("acme");
                acme.query("BEGIN");
                assert_eq!(error_code(&acme.query("INSERT INTO audited VALUES (1)")), "");
                acme.query("RESET ALL");
                if extended {
                    acme.send(&run(commit).sync());
                    acme.until_ready();
                } else {
                    acme.query(commit);
                }
                acme.query("COMMIT");
                assert_eq!(
                    server.psql("SELECT DISTINCT org FROM seen"),
                    ACME,
                    "{commit}, extended: {extended}"
                );
                server.psql("TRUNCATE seen");
            }
        }
    });
}

#[test]
fn a_deferred_trigger_sees_the_context_when_prepared() {
    for version in pgwarden_tests::versions() {
        let server = Server::builder(version).set("max_prepared_transactions", "5").start();
        let stage = with_deferred_trigger(&server);
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        acme.query("INSERT INTO audited VALUES (1)");
        acme.query("RESET ALL");
        assert_eq!(tags(&acme.query("PREPARE TRANSACTION 'two'")), "CZ");
        assert_eq!(tags(&acme.query("COMMIT PREPARED 'two'")), "CZ");
        assert_eq!(server.psql("SELECT org FROM seen"), ACME);
    }
}

fn with_deferred_trigger(server: &Server) -> Tenants<'_> {
    let stage = Tenants::start(server);
    server.psql(
        "CREATE TABLE audited (id int); CREATE TABLE seen (org text); GRANT ALL ON audited, seen TO tenants; \
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         INSERT INTO seen VALUES (org()); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON audited DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION see()",
    );
    stage
}

#[test]
fn a_lazily_evaluated_cursor_sees_the_context_after_it_was_lost() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        acme.query("DECLARE lazy CURSOR FOR SELECT org() || '' FROM generate_series(1, 9)");
        assert_eq!(values(&acme.query("FETCH lazy")), [ACME]);
        acme.query("RESET ALL");
        assert_eq!(values(&acme.query("FETCH lazy")), [ACME]);
        acme.query("RESET ALL");
        acme.send(&run("FETCH 1 FROM lazy").sync());
        assert_eq!(values(&acme.until_ready()), [ACME]);
        acme.query("COMMIT");
    });
}

#[test]
fn an_older_portal_sees_the_context_after_it_was_lost() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        let sql = "SELECT current_setting('app.current_org_id', true) || repeat('', i) FROM generate_series(1, 9) i";
        acme.send(&Frontend::new().parse("", sql, &[]).bind("old", "", &[]).execute("old", 1).sync());
        assert_eq!(values(&acme.until_ready()), [ACME]);
        acme.query("RESET ALL");
        acme.send(&Frontend::new().execute("old", 1).sync());
        assert_eq!(values(&acme.until_ready()), [ACME]);
        let reset = Frontend::new().parse("", "RESET ALL", &[]).bind("", "", &[]).execute("", 0);
        acme.send(&reset.execute("old", 1).sync());
        assert_eq!(values(&acme.until_ready()), [ACME], "in the same batch");
        acme.query("COMMIT");
    });
}

#[test]
fn in_a_failed_block_there_is_exactly_one_error_per_statement() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let answers = stage.queries_like_direct(&[
            "BEGIN",
            "SELECT 1/0",
            "SELECT org()",
            "INSERT INTO notes VALUES ('x')",
            "ROLLBACK",
            "SELECT org()",
        ]);
        assert_eq!(error_code(&answers[2]), "25P02");
        let mut pipeline = Frontend::new().raw(run("BEGIN").sync().bytes());
        for sql in ["SELECT 1/0", "SELECT org()", "SELECT org()", "ROLLBACK", "SELECT org()"] {
            pipeline = pipeline.raw(run(sql).sync().bytes());
        }
        stage.like_direct(&pipeline, 6);
        let queries =
            Frontend::new().query("BEGIN").query("SELECT 1/0").query("SELECT org()").query("SELECT org()");
        stage.like_direct(&queries.query("COMMIT").query("SELECT org()"), 6);
    });
}

#[test]
fn a_block_known_to_have_failed_gets_no_injection() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        acme.query("SELECT 1/0");
        let mark = server.log().len();
        acme.query("SELECT org()");
        acme.send(&run("SELECT org()").sync());
        acme.until_ready();
        let log = server.log().split_off(mark);
        assert!(!log.contains("pgwarden_context"), "{log}");
        acme.query("ROLLBACK");
        assert_acme(&mut acme, "ROLLBACK");
    });
}
