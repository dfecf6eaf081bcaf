//! A context stays with its transaction: it cannot change in it, and outlives it only where it was shown to.

use crate::stage::{acme, globex, of, seen, start, start_with};
use pgwarden_tests::tenants::{ACME, ANN, GLOBEX, error_code, run, values};
use pgwarden_tests::{Frontend, for_each_version};

#[test]
fn the_tenant_cannot_change_within_a_transaction() {
    for_each_version(async |server| {
        let stage = start(server);
        let mut wire = stage.client("nobody");
        let read = "SELECT DISTINCT org FROM items";
        let other = [
            format!("SET LOCAL pgwarden.token = '{}'", globex()),
            format!("SET pgwarden.token = '{}'", globex()),
            format!("{read} /*pgwarden_token='{}'*/", globex()),
            format!("SELECT set_config('pgwarden.token', '{}', true)", globex()),
            "RESET pgwarden.token".to_owned(),
        ];
        for other in &other {
            wire.query(&format!("BEGIN; SET LOCAL pgwarden.token = '{}'", acme()));
            assert_eq!(seen(&mut wire), [ACME]);
            assert_eq!(error_code(&wire.query(other)), "42501", "{other}");
            assert_eq!(error_code(&wire.query(read)), "25P02", "the transaction has failed");
            wire.query("ROLLBACK");
            assert_eq!(error_code(&wire.query(read)), "42501", "{other}");
        }
        // Another token of the same tenant and user is no change.
        wire.query(&format!("BEGIN; SET LOCAL pgwarden.token = '{}'", acme()));
        assert_eq!(seen(&mut wire), [ACME]);
        let again = of(ACME, ANN, 7200);
        assert_eq!(values(&wire.query(&format!("{read} /*pgwarden_token='{again}'*/"))), [ACME]);
        // RESET ALL leaves the transaction as it is.
        wire.query("RESET ALL");
        assert_eq!(seen(&mut wire), [ACME]);
        wire.query("COMMIT");
        // A batch is a transaction.
        let batch = run(&format!("/*pgwarden_token='{}'*/{read}", acme()));
        let batch =
            batch.parse("", &format!("/*pgwarden_token='{}'*/{read}", globex()), &[]).bind("", "", &[]);
        wire.send(&batch.execute("", 0).sync());
        let replies = wire.until_ready();
        assert_eq!((values(&replies), error_code(&replies).as_str()), (vec![ACME.to_owned()], "42501"));
    });
}

#[test]
fn a_transaction_that_has_run_nothing_yet_may_still_get_its_token() {
    for_each_version(async |server| {
        let stage = start(server);
        let mut wire = stage.client("acme");
        wire.query("BEGIN");
        wire.query("SET LOCAL work_mem = '1MB'");
        wire.query(&format!("SET LOCAL pgwarden.token = '{}'", globex()));
        assert_eq!(seen(&mut wire), [GLOBEX]);
        wire.query("COMMIT");
        assert_eq!(seen(&mut wire), [ACME], "the login's own tenant");
        wire.query("BEGIN; SELECT 1");
        assert_eq!(error_code(&wire.query(&format!("SET LOCAL pgwarden.token = '{}'", globex()))), "42501");
        wire.query("ROLLBACK");
    });
}

#[test]
fn what_is_sent_behind_the_end_of_a_transaction_in_one_write_has_the_sessions_context() {
    for_each_version(async |server| {
        let stage = start(server);
        let mut wire = stage.client("acme");
        let read = "SELECT DISTINCT org FROM items";
        let local = format!("BEGIN; SET LOCAL pgwarden.token = '{}'", globex());
        for text in [
            format!("{local}; {read}; COMMIT; {read}"),
            format!("{local}; {read}; ROLLBACK; BEGIN; {read}; COMMIT"),
            format!("{local}; {read}; COMMIT AND CHAIN; {read}; COMMIT"),
        ] {
            assert_eq!(values(&wire.query(&text)), [GLOBEX, ACME], "{text}");
        }
        let pipeline = Frontend::new().query(&local).query(read).query("COMMIT").query(read);
        wire.send(&pipeline);
        let found: Vec<String> = (0..4).flat_map(|_| values(&wire.until_ready())).collect();
        assert_eq!(found, [GLOBEX, ACME]);
        let batch =
            |messages: Frontend, text: &str| messages.parse("", text, &[]).bind("", "", &[]).execute("", 0);
        let mut all = Frontend::new();
        for text in ["BEGIN", &format!("SET LOCAL pgwarden.token = '{}'", globex()), read, "COMMIT", read] {
            all = batch(all, text);
        }
        wire.send(&all.sync());
        assert_eq!(values(&wire.until_ready()), [GLOBEX, ACME]);
        let session = format!("SET pgwarden.token = '{}'", globex());
        wire.query(&session);
        assert_eq!(values(&wire.query(&format!("RESET ALL; {read}"))), [ACME]);
    });
}

#[test]
fn a_statement_that_was_refused_leaves_no_context_behind() {
    for_each_version(async |server| {
        let stage = start(server);
        let mut wire = stage.client("nobody");
        let refused = format!("/*pgwarden_token='{}'*/ SET app.current_org_id = 'x'", acme());
        for text in [&refused, &format!("SET LOCAL pgwarden.token = '{}'; SET ROLE postgres", acme())] {
            assert_eq!(error_code(&wire.query(text)), "42501");
            assert_eq!(error_code(&wire.query("SELECT org FROM items")), "42501");
            wire.send(&run(text).sync());
            wire.until_ready();
            wire.send(&run("SELECT org FROM items").sync());
            assert_eq!(error_code(&wire.until_ready()), "42501");
        }
    });
}

#[test]
fn an_expired_token_begins_no_transaction_and_ends_none() {
    for_each_version(async |server| {
        let stage = start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "2"));
        let mut wire = stage.client("nobody");
        let brief = of(ACME, ANN, 2);
        wire.query(&format!("SET pgwarden.token = '{brief}'"));
        wire.query("BEGIN");
        assert_eq!(seen(&mut wire), [ACME]);
        let mut other = stage.client("nobody");
        pgwarden_tests::until("the token expires", || {
            let read = other.query(&format!("SELECT 1 /*pgwarden_token='{brief}'*/"));
            (error_code(&read) == "28000").then_some(())
        });
        assert_eq!(seen(&mut wire), [ACME], "a transaction that has begun goes on");
        wire.query("COMMIT");
        let refused = wire.query("SELECT org FROM items");
        assert_eq!(error_code(&refused), "28000");
        wire.query(&format!("SET pgwarden.token = '{}'", globex()));
        assert_eq!(seen(&mut wire), [GLOBEX], "a fresh token helps");
    });
}

#[test]
fn session_pooling_and_statements_outside_of_blocks_have_it_too() {
    for_each_version(async |server| {
        let stage = start_with(server, |builder| builder.env("PGWARDEN_POOL_MODE", "session"));
        server.psql("CREATE PROCEDURE note() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO notes VALUES ('n'); COMMIT; INSERT INTO notes VALUES ('m'); END $$");
        let mut wire = stage.client("nobody");
        for (token, org) in [(acme(), ACME), (globex(), GLOBEX)] {
            wire.query(&format!("BEGIN; SET LOCAL pgwarden.token = '{token}'"));
            assert_eq!(seen(&mut wire), [org]);
            wire.query("COMMIT");
            assert_eq!(error_code(&wire.query(&format!("CALL note() /*pgwarden_token='{token}'*/"))), "");
            let noted = server.psql(&format!("SELECT count(*) FROM notes WHERE org = '{org}'"));
            assert_eq!(noted.trim(), "2", "{org}");
        }
    });
}
