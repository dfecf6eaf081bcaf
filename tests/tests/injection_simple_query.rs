//! Simple queries: the context goes in front, and the client's text, tags and positions stay as they are.

use pgwarden_tests::tenants::{ACME, ANN, GLOBEX, Tenants, error_code, is_context, value, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Server, Version, Wire, for_each_version};

/// Whether a simple query outside of a block carries the context in its text.
fn carries_text(server: &Server) -> bool {
    server.version() >= Version(18)
}

fn assert_row(wire: &mut Wire, sql: &str, expected: &str) {
    assert_eq!(wire.rows(sql), [[Some(expected.to_owned())]], "{sql}");
}

#[test]
fn a_simple_select_sees_the_rows_of_its_tenant_only() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for (user, name) in [("acme", "of acme"), ("globex", "of globex"), ("acme", "of acme")] {
            assert_row(&mut stage.client(user), "SELECT name FROM items", name);
        }
    });
}

#[test]
fn every_variable_of_the_context_is_set() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        assert_row(&mut stage.client("acme"), "SELECT org() || ' ' || who()", &format!("{ACME} {ANN}"));
    });
}

#[test]
fn the_replies_to_a_simple_query_are_those_of_a_direct_connection() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let answers = stage.queries_like_direct(&[
            "SELECT org()",
            "SELECT name FROM items",
            "INSERT INTO notes VALUES ('a'), ('b')",
            "SELECT 1 WHERE false",
            "",
            "-- nothing",
            "/* nothing */ ;",
            "TABLE nothing_here",
            "DELETE FROM notes WHERE false",
        ]);
        assert_eq!(tags(&answers[0]), "TDCZ");
        assert_eq!(tags(&answers[2]), "CZ");
    });
}

#[test]
fn the_text_of_a_simple_query_reaches_the_server_unchanged_before_18() {
    for_each_version(async |server| {
        if carries_text(server) {
            return;
        }
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.rows("SELECT 1");
        let mark = stage.mark();
        acme.rows("SELECT org()  /* as it was */");
        let ran = stage.ran(mark);
        assert!(is_context(&ran[0]), "{ran:?}");
        assert_eq!(ran[1..], ["statement: SELECT org()  /* as it was */"]);
    });
}

#[test]
fn a_simple_query_in_autocommit_carries_set_local_in_its_text_from_18() {
    for_each_version(async |server| {
        if !carries_text(server) {
            return;
        }
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.rows("SELECT 1");
        let mark = stage.mark();
        acme.rows("SELECT org()  /* as it was */");
        let ran = stage.ran(mark);
        assert_eq!(ran.len(), 1, "one message: {ran:?}");
        assert!(ran[0].starts_with("statement: SET LOCAL "), "{ran:?}");
        assert!(ran[0].contains(ACME) && ran[0].ends_with("SELECT org()  /* as it was */"), "{ran:?}");
    });
}

#[test]
fn the_text_is_unchanged_inside_an_explicit_block_on_every_version() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        let mark = stage.mark();
        assert_row(&mut acme, "SELECT org()", ACME);
        assert_row(&mut acme, "SELECT org()", ACME);
        let ran = stage.ran(mark);
        assert!(is_context(&ran[0]), "{ran:?}");
        assert_eq!(ran[1..], ["statement: SELECT org()", "statement: SELECT org()"]);
        acme.query("COMMIT");
    });
}

#[test]
fn no_value_shows_in_pg_stat_activity() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        let sql = "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()";
        if !carries_text(server) {
            assert_row(&mut acme, sql, sql);
        }
        acme.query("BEGIN");
        assert_row(&mut acme, sql, sql);
        acme.query("ROLLBACK");
        server.psql("CREATE EXTENSION IF NOT EXISTS plpgsql");
        let seen = server.psql("SELECT query FROM pg_stat_activity WHERE usename = 'app'");
        assert!(!seen.contains(ACME), "{seen}");
    });
}

#[test]
fn the_context_is_injected_lazily_and_once_in_a_transaction() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.rows("SELECT 1");
        let mark = stage.mark();
        acme.query("BEGIN");
        acme.query("SAVEPOINT s");
        assert_eq!(stage.injections(mark), 0, "BEGIN and SAVEPOINT need none");
        for _ in 0..5 {
            acme.rows("SELECT name FROM items");
        }
        acme.query("RELEASE s");
        acme.query("COMMIT");
        assert_eq!(stage.injections(mark), 1, "{:?}", stage.ran(mark));
    });
}

#[test]
fn statements_that_touch_no_rows_get_no_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.rows("SELECT 1");
        let mark = stage.mark();
        for sql in [
            "BEGIN",
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SAVEPOINT s",
            "ROLLBACK TO s",
            "RELEASE s",
            "LOCK TABLE notes IN SHARE MODE",
            "COMMIT",
            "START TRANSACTION",
            "ABORT",
            "SET search_path = public",
            "RESET search_path",
            "SHOW search_path",
            "NOTIFY news",
            "UNLISTEN news",
            "DEALLOCATE ALL",
            "-- a comment alone",
            "",
        ] {
            assert_eq!(error_code(&acme.query(sql)), "", "{sql}");
        }
        let ran = stage.ran(mark);
        assert!(!ran.iter().any(|text| is_context(text) || text.contains("SET LOCAL")), "{ran:?}");
    });
}

#[test]
fn show_of_a_context_variable_shows_the_clients_own() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        assert_row(&mut stage.client("globex"), "SHOW app.current_org_id", GLOBEX);
        assert_row(&mut stage.client("acme"), "SHOW app.current_org_id", ACME);
        assert_row(&mut stage.client("acme"), "SHOW \"app\".\"Current_Org_Id\"", ACME);
    });
}

#[test]
fn set_transaction_still_comes_before_any_query() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        stage.queries_like_direct(&[
            "BEGIN",
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "SHOW transaction_isolation",
            "SELECT org()",
            "COMMIT",
            "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE",
            "SELECT org()",
            "COMMIT",
            "BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SELECT org(); COMMIT",
        ]);
    });
}

#[test]
fn a_deferred_constraint_is_checked_before_command_complete() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        server.psql("CREATE TABLE pairs (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)");
        server.psql("GRANT ALL ON pairs TO tenants");
        let answers = stage.queries_like_direct(&["INSERT INTO pairs VALUES (1), (1)", "TABLE pairs"]);
        assert_eq!((tags(&answers[0]).as_str(), error_code(&answers[0]).as_str()), ("EZ", "23505"));
    });
}

#[test]
fn what_a_simple_query_writes_is_committed() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.query("INSERT INTO notes VALUES ('kept')");
        drop(acme);
        assert_eq!(server.psql("SELECT org FROM notes WHERE name = 'kept'"), ACME);
    });
}

#[test]
fn a_query_behind_an_unsynced_parse_is_committed() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.rows("SELECT 1");
        let messages = pgwarden_tests::Frontend::new().parse("", "SELECT 1", &[]);
        acme.send(&messages.query("INSERT INTO notes VALUES ('behind')"));
        acme.expect("1CZ");
        assert_row(&mut acme, "SELECT org FROM notes WHERE name = 'behind'", ACME);
        assert_eq!(server.psql("SELECT count(*) FROM notes WHERE name = 'behind'"), "1");
    });
}

#[test]
fn a_client_that_sends_a_query_behind_an_unsynced_execute_harms_nobody_else() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        let messages = pgwarden_tests::tenants::run("SELECT 1").query("SELECT org()");
        acme.send(&messages.sync());
        let answers = [acme.until_ready(), acme.until_ready()].concat();
        assert_eq!(values(&answers), ["1", ACME]);
        let mut globex = stage.client("globex");
        assert_eq!(globex.query("INSERT INTO notes VALUES ('unharmed')")[0].command(), "INSERT 0 1");
        assert_row(&mut globex, "SELECT org()", GLOBEX);
        assert_eq!(server.psql("SELECT org FROM notes WHERE name = 'unharmed'"), GLOBEX);
    });
}

#[test]
fn a_transaction_without_a_context_gets_empty_values() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        // Set for the session where nobody can see it from outside: the tag is SELECT.
        assert_eq!(
            value(&stage.client("acme").query(&format!("SELECT poison('{GLOBEX}')"))).unwrap(),
            "done"
        );
        let mut nobody = stage.client("nobody");
        assert_row(&mut nobody, "SELECT org() || who()", "");
        nobody.query("BEGIN");
        assert_row(&mut nobody, "SELECT org() || who()", "");
        nobody.query("COMMIT");
        assert_row(&mut stage.client("acme"), "SELECT name FROM items", "of acme");
    });
}

#[test]
fn a_statement_that_names_a_table_is_refused_without_a_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut nobody = stage.client("nobody");
        let mark = stage.mark();
        let refused = nobody.query("SELECT name FROM items");
        assert_eq!((tags(&refused).as_str(), error_code(&refused).as_str()), ("EZ", "42501"));
        assert_eq!(stage.ran(mark), [""; 0], "the statement never reaches the server");
        for fine in ["SELECT 1", "SELECT typname FROM pg_type LIMIT 1", "SHOW server_version"] {
            assert_eq!(error_code(&nobody.query(fine)), "", "{fine}");
        }
        nobody.query("BEGIN");
        let refused = nobody.query("DELETE FROM notes");
        assert_eq!((error_code(&refused).as_str(), refused.last().unwrap().status()), ("42501", 'E'));
        assert_eq!(nobody.query("ROLLBACK").last().unwrap().status(), 'I');
        assert_row(&mut nobody, "SELECT 1", "1");
    });
}
