//! Several statements in one simple query: transaction control inside, positions, quotes.

use pgwarden_tests::tenants::{ACME, Tenants, error_code, values};
use pgwarden_tests::{Frontend, for_each_version};

/// Every statement that asks for the organisation gets the client's own, and the replies are a direct connection's.
fn assert_all(strings: &[(&str, usize)]) {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for (sql, asked) in strings {
            let answers = stage.like_direct(&Frontend::new().query(sql), 1);
            assert_eq!(values(&answers), vec![ACME; *asked], "{sql}");
        }
    });
}

#[test]
fn an_implicit_block_has_one_context() {
    assert_all(&[("SELECT org(); SELECT org()", 2), ("SELECT org();;; ; SELECT org();", 2)]);
}

#[test]
fn the_context_follows_begin_and_commit_inside_a_string() {
    assert_all(&[
        ("BEGIN; SELECT org(); COMMIT", 1),
        ("BEGIN; SELECT org(); COMMIT; SELECT org()", 2),
        ("BEGIN; COMMIT; SELECT org()", 1),
        ("BEGIN; SELECT org(); ROLLBACK; SELECT org(); BEGIN; SELECT org(); COMMIT", 3),
        ("SELECT org(); BEGIN; SELECT org(); COMMIT; SELECT org()", 3),
        ("START TRANSACTION READ ONLY; SELECT org(); END", 1),
    ]);
}

#[test]
fn the_end_of_an_implicit_block_in_the_middle_of_a_string_loses_the_context() {
    // A warning to the client, no ReadyForQuery.
    assert_all(&[
        ("SELECT org(); COMMIT; SELECT org()", 2),
        ("SELECT org(); ROLLBACK; SELECT org()", 2),
        ("SELECT org(); END; SELECT org(); ABORT; SELECT org()", 3),
    ]);
}

#[test]
fn and_chain_inside_a_string_loses_the_context() {
    assert_all(&[
        ("BEGIN; SELECT org(); COMMIT AND CHAIN; SELECT org(); COMMIT", 2),
        ("BEGIN; SELECT org(); ROLLBACK AND CHAIN; SELECT org(); ROLLBACK", 2),
    ]);
}

#[test]
fn rollback_to_inside_a_string_loses_the_context() {
    assert_all(&[
        ("BEGIN; SAVEPOINT s; SELECT org(); ROLLBACK TO s; SELECT org(); COMMIT", 2),
        (
            "BEGIN; SAVEPOINT s; SELECT org(); ROLLBACK WORK TO SAVEPOINT s; SELECT org(); RELEASE s; COMMIT",
            2,
        ),
        ("SAVEPOINT s; SELECT org()", 0),
    ]);
}

#[test]
fn set_transaction_inside_a_string_comes_before_the_context() {
    assert_all(&[
        ("BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SELECT org(); COMMIT", 1),
        ("BEGIN; SET TRANSACTION READ ONLY; SELECT org(); COMMIT; SELECT org()", 2),
    ]);
}

#[test]
fn resetting_everything_inside_a_string_loses_the_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        for sql in [
            "BEGIN; SELECT org(); RESET ALL; SELECT org(); COMMIT",
            "SELECT org(); RESET ALL; SELECT org()",
            "SELECT org(); SET search_path = public; SELECT org()",
        ] {
            assert_eq!(values(&acme.query(sql)), [ACME, ACME], "{sql}");
        }
    });
}

#[test]
fn a_string_that_ends_inside_a_block_keeps_its_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let answers = stage.queries_like_direct(&[
            "BEGIN; SELECT org()",
            "SELECT org()",
            "SELECT org(); COMMIT; BEGIN",
            "SELECT org()",
            "SELECT org(); SAVEPOINT s; SELECT org()",
            "ROLLBACK TO s; SELECT org()",
            "COMMIT; SELECT org()",
            "SELECT org()",
        ]);
        assert_eq!(values(&answers.concat()), vec![ACME; 9]);
    });
}

#[test]
fn a_syntax_error_anywhere_in_the_string_runs_nothing_and_keeps_its_position() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for sql in [
            "SELEC 1",
            "SELECT org(); SELEC 1",
            "BEGIN; INSERT INTO notes VALUES ('never'); COMMIT; SELEC 1",
            "BEGIN; SELECT 1; COMMIT; SELECT 2; SELECT FROM WHERE",
            "SELECT 'é€😀'; COMMIT; SELECT 'é€😀'; SELEC",
            "SELECT 1; COMMIT; SELECT (",
            "SELECT org() FROM items WHERE",
        ] {
            let answers = stage.like_direct(&Frontend::new().query(sql), 1);
            assert_eq!(error_code(&answers), "42601", "{sql}");
        }
        assert_eq!(server.psql("SELECT count(*) FROM notes"), "0");
    });
}

#[test]
fn an_error_while_running_keeps_its_position() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for sql in [
            "SELECT nope",
            "SELECT 'é€😀', nope",
            "SELECT org(); SELECT nope",
            "BEGIN; SELECT nope; COMMIT",
            "BEGIN; SELECT 'é€😀'; COMMIT; SELECT 'é', nope",
            "SELECT 1; COMMIT; SELECT 2; COMMIT; SELECT 3, nope",
            "BEGIN; SELECT org(); ROLLBACK; SELECT 1 FROM nope",
            "SELECT 'x'::int",
            "SELECT 1; COMMIT; SELECT 'x'::int",
        ] {
            let answers = stage.like_direct(&Frontend::new().query(sql), 1);
            assert!(!error_code(&answers).is_empty(), "{sql}");
        }
    });
}

#[test]
fn positions_are_right_in_a_latin1_session() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut proxied, mut direct) = (stage.client("acme"), stage.direct("acme"));
        for sql in ["SELECT '\u{b0}\u{b0}\u{e9}', nope", "SELECT '\u{b0}\u{b0}\u{b0}'; COMMIT; SELECT nope"] {
            let bytes: Vec<u8> = sql.chars().map(|c| u8::try_from(u32::from(c)).expect("LATIN1")).collect();
            let query = Frontend::new().message(b'Q', &[bytes.as_slice(), b"\0"].concat());
            let mut answers = [&mut proxied, &mut direct].map(|wire| {
                wire.query("SET client_encoding = 'LATIN1'");
                wire.send(&query);
                wire.until_ready()
            });
            let expected = answers[1].split_off(0);
            assert_eq!(answers[0], expected, "{sql}");
        }
    });
}

#[test]
fn semicolons_in_quotes_comments_and_bodies_do_not_split() {
    assert_all(&[
        ("SELECT org() -- ; COMMIT;\n; COMMIT; SELECT org()", 2),
        ("SELECT org() /* ; /* COMMIT; */ ; */; COMMIT; SELECT org()", 2),
        ("COMMIT; SELECT org() AS \"; COMMIT; \"; SELECT org()", 2),
        ("COMMIT; DO $$ BEGIN PERFORM 1; END; $$; SELECT org()", 1),
        ("COMMIT; DO $a$ BEGIN PERFORM $$;$$; END; $a$; SELECT org()", 1),
        (
            "BEGIN; CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT org(); ROLLBACK",
            1,
        ),
        (
            "BEGIN; CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END; \
             ROLLBACK; SELECT org()",
            1,
        ),
        ("BEGIN; CREATE RULE r AS ON DELETE TO nowhere DO ALSO NOTHING; COMMIT; SELECT org()", 0),
    ]);
}

#[test]
fn literals_with_semicolons_and_backslashes_do_not_split() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for sql in [
            "SELECT '; COMMIT;'; COMMIT; SELECT org()",
            "SELECT E'\\'; COMMIT;'; COMMIT; SELECT org()",
            "SELECT 'it''s; COMMIT'; COMMIT; SELECT org()",
            "SELECT U&'\\0041;'; COMMIT; SELECT org()",
            "SELECT 'a'\n'b;'; COMMIT; SELECT org()",
            "SELECT $q$;$q$; COMMIT; SELECT org()",
        ] {
            let answers = stage.like_direct(&Frontend::new().query(sql), 1);
            assert_eq!(values(&answers)[1..], [ACME], "{sql}");
        }
    });
}

#[test]
fn set_client_encoding_inside_the_same_string_does_not_break_the_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        for sql in [
            "SET client_encoding = 'LATIN1'; SELECT org()",
            "BEGIN; SET client_encoding = 'EUC_JP'; SELECT org(); COMMIT",
            "SET client_encoding = 'UTF8'; COMMIT; SELECT org()",
        ] {
            assert_eq!(values(&acme.query(sql)), [ACME], "{sql}");
        }
    });
}

#[test]
fn set_standard_conforming_strings_inside_the_same_string_is_understood_or_refused() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        let sql = "SET standard_conforming_strings = off; SELECT '\\'; SELECT 1; --'; COMMIT; SELECT org()";
        let answers = acme.query(sql);
        assert!(error_code(&answers) == "42601" || values(&answers).iter().any(|one| one == ACME));
        assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
    });
}
