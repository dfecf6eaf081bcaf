//! What is sent without waiting: replies keep their order, and nobody waits for one that will not come.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, run, value, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, for_each_version};

/// The next client of the one backend gets its own rows.
#[track_caller]
fn assert_backend_is_free(stage: &Tenants<'_>) {
    assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX]);
    assert_eq!(stage.pgwarden.metric("pgwarden_desyncs_total"), Some(0.0));
}

#[test]
fn a_query_behind_copy_from_stdin_ends_the_session_instead_of_waiting_for_the_copy() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let copy = "COPY notes FROM STDIN";
        for messages in [
            Frontend::new().query(copy).query("SELECT org()"),
            Frontend::new().query(copy).raw(run("SELECT org()").sync().bytes()),
            Frontend::new().query("BEGIN").query(copy).query("SELECT org()"),
        ] {
            let mut acme = stage.client("acme");
            acme.send(&messages);
            let answers = acme.ended();
            let last = answers.last().expect("a word at the end");
            assert_eq!((last.tag, last.fields().code()), (b'E', "08P01"), "{answers:?}");
            assert_backend_is_free(&stage);
        }
        assert_eq!(server.psql("SELECT count(*) FROM notes"), "0");
    });
}

#[test]
fn a_statement_that_is_tried_again_is_answered_in_front_of_what_was_sent_behind_it() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        server.psql(
            "CREATE TABLE parted (id int) PARTITION BY RANGE (id); ALTER TABLE parted OWNER TO tenants",
        );
        server.psql("CREATE TABLE part PARTITION OF parted FOR VALUES FROM (1) TO (9)");
        server.psql("ALTER TABLE part OWNER TO tenants; CREATE INDEX ON parted (id)");
        // Whether this can run in a block depends on the catalogue.
        let odd = "REINDEX TABLE parted";
        let behind = Frontend::new().query(odd).query("SELECT org()");
        let mut acme = stage.client("acme");
        acme.send(&behind);
        let (first, second) = (acme.until_ready(), acme.until_ready());
        assert_eq!((tags(&first).as_str(), value(&second)), ("CZ", Some(ACME.to_owned())));
        // What follows fails: the second try is not skipped with it.
        acme.send(&Frontend::new().query(odd).execute("missing", 0).sync().query("SELECT org()"));
        assert_eq!(tags(&acme.until_ready()), "CZ");
        assert_eq!(error_code(&acme.until_ready()), "34000");
        assert_eq!(value(&acme.until_ready()), Some(ACME.to_owned()));
        drop(acme);
        assert_backend_is_free(&stage);
    });
}

#[test]
fn a_function_call_behind_what_fails_its_block_keeps_replies_in_step() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let square_root = 1344;
        let call =
            Frontend::new().query("BEGIN").query("RELEASE nowhere").function_call(square_root, &[Some(b"2")]);
        stage.like_direct(
            &call.raw(run("SELECT org()").sync().bytes()).query("ROLLBACK").query("SELECT org()"),
            6,
        );
        assert_backend_is_free(&stage);
    });
}

#[test]
fn a_call_in_a_block_that_failed_unnoticed_leaves_nothing_behind() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        server.psql("CREATE PROCEDURE nothing() LANGUAGE sql AS 'SELECT 1'");
        let mut acme = stage.client("acme");
        // A mistake: the block has failed and not ended, which nobody knows yet.
        let messages = Frontend::new().query("BEGIN").query("COMMIT nonsense");
        let batch = Frontend::new().close_statement("").raw(run("CALL nothing()").sync().bytes());
        acme.send(&messages.raw(batch.bytes()).query("ROLLBACK"));
        let answers: Vec<_> = (0..4).map(|_| error_code(&acme.until_ready())).collect();
        assert_eq!(answers, ["", "42601", "25P02", ""]);
        // Another client gets the one backend, and the next CALL works.
        assert_backend_is_free(&stage);
        assert_eq!(error_code(&acme.query("CALL nothing()")), "");
        assert_backend_is_free(&stage);
    });
}

#[test]
fn a_query_behind_a_batch_that_fails_is_skipped_up_to_the_clients_sync() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let fails = Frontend::new().execute("missing", 0).query("CLOSE c");
        stage.like_direct(&fails.clone().sync().sync().query("ROLLBACK"), 3);
        stage.like_direct(&fails.query("SELECT org()").sync().query("SELECT org()"), 2);
        assert_backend_is_free(&stage);
    });
}
