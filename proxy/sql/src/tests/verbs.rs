use super::{one, verbs};
use crate::{Marks, Verb};

#[test]
fn every_verb_is_recognised_by_its_keywords() {
    let table = [
        ("BEGIN", Verb::Begin),
        ("begin work isolation level serializable", Verb::Begin),
        ("BEGIN TRANSACTION READ ONLY", Verb::Begin),
        ("START TRANSACTION", Verb::Begin),
        ("START", Verb::Other),
        ("COMMIT", Verb::Commit { chain: false }),
        ("END", Verb::Commit { chain: false }),
        ("END WORK AND CHAIN", Verb::Commit { chain: true }),
        ("COMMIT AND CHAIN", Verb::Commit { chain: true }),
        ("COMMIT/**/TRANSACTION\nAND -- x\n CHAIN", Verb::Commit { chain: true }),
        ("COMMIT AND NO CHAIN", Verb::Commit { chain: false }),
        ("COMMIT PREPARED 'x'", Verb::CommitPrepared),
        ("ROLLBACK", Verb::Rollback { chain: false }),
        ("ABORT", Verb::Rollback { chain: false }),
        ("ABORT AND CHAIN", Verb::Rollback { chain: true }),
        ("ROLLBACK AND NO CHAIN", Verb::Rollback { chain: false }),
        ("ROLLBACK WORK AND CHAIN", Verb::Rollback { chain: true }),
        ("ROLLBACK PREPARED 'x'", Verb::RollbackPrepared),
        ("ROLLBACK TO a", Verb::RollbackTo),
        ("ROLLBACK TRANSACTION TO SAVEPOINT a", Verb::RollbackTo),
        ("ROLLBACK WORK TO a", Verb::RollbackTo),
        ("SAVEPOINT a", Verb::Savepoint),
        ("RELEASE SAVEPOINT a", Verb::Release),
        ("PREPARE TRANSACTION 'x'", Verb::PrepareTransaction),
        ("PREPARE transaction AS SELECT 1", Verb::Prepare),
        ("PREPARE p (int) AS SELECT $1", Verb::Prepare),
        ("EXECUTE p(1)", Verb::ExecutePrepared),
        ("DEALLOCATE p", Verb::Deallocate { all: false }),
        ("DEALLOCATE \"all\"", Verb::Deallocate { all: false }),
        ("DEALLOCATE ALL", Verb::Deallocate { all: true }),
        ("DEALLOCATE PREPARE ALL", Verb::Deallocate { all: true }),
        ("DEALLOCATE PREPARE p", Verb::Deallocate { all: false }),
        ("DISCARD ALL", Verb::DiscardAll),
        ("DISCARD TEMP", Verb::DiscardOther),
        ("DISCARD PLANS", Verb::DiscardOther),
        ("LISTEN a", Verb::Listen),
        ("UNLISTEN *", Verb::Unlisten),
        ("NOTIFY a, 'x'", Verb::Notify),
        ("LOAD 'x'", Verb::Load),
        ("CHECKPOINT", Verb::Checkpoint),
        ("ANALYZE a", Verb::Analyze),
        ("ANALYSE", Verb::Analyze),
        ("LOCK a", Verb::Lock),
        ("FETCH ALL FROM c", Verb::Fetch),
        ("MOVE 1 IN c", Verb::Move),
        ("CLOSE ALL", Verb::ClosePortal),
        ("CALL f()", Verb::Call),
        ("DO $$ $$", Verb::Do),
        ("EXPLAIN (ANALYZE) COMMIT", Verb::Explain),
        ("CREATE TABLE a ()", Verb::Other),
        ("\"commit\"", Verb::Other),
    ];
    for (text, verb) in table {
        assert_eq!(one(text).verb, verb, "{text}");
        assert_eq!(one(&format!("/* a */ -- b\n {text} ;; ")).verb, verb, "{text}");
        assert_eq!(one(&text.to_lowercase()).verb, verb, "{text}");
    }
}

#[test]
fn queries_are_recognised_by_their_first_word_or_a_parenthesis() {
    let texts = [
        "SELECT",
        "insert into a values (1)",
        "Update a set b = 1",
        "DELETE FROM a",
        "MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE",
        "VALUES (1)",
        "TABLE a",
        "WITH a AS (DELETE FROM b RETURNING *) SELECT * FROM a",
        "(SELECT 1)",
        "((SELECT 1)) UNION SELECT 2",
        "SELECT(1)",
    ];
    for text in texts {
        assert_eq!(one(text).verb, Verb::Query, "{text}");
    }
    for text in ["selects", "select_1", "select$", "\"select\"", "éselect 1", "'select'", "1"] {
        assert_eq!(one(text).verb, Verb::Other, "{text}");
    }
}

#[test]
fn what_cannot_run_in_a_block_is_unblockable() {
    let texts = [
        "VACUUM",
        "VACUUM (FULL) a",
        "CLUSTER",
        "CLUSTER a USING i",
        "CREATE DATABASE a",
        "DROP DATABASE IF EXISTS a",
        "ALTER DATABASE a SET TABLESPACE b",
        "CREATE TABLESPACE a LOCATION 'b'",
        "DROP TABLESPACE a",
        "CREATE INDEX CONCURRENTLY ON a (b)",
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON a (b)",
        "DROP INDEX CONCURRENTLY i",
        "REINDEX INDEX CONCURRENTLY i",
        "REINDEX (VERBOSE, CONCURRENTLY) TABLE a",
        "REINDEX DATABASE a",
        "REINDEX SYSTEM a",
        "REINDEX SCHEMA a",
        "ALTER TABLE a DETACH PARTITION b CONCURRENTLY",
        "ALTER TABLE ONLY s.a DETACH PARTITION s.b CONCURRENTLY",
        "ALTER SYSTEM SET a = 1",
        "CREATE SUBSCRIPTION a CONNECTION 'b' PUBLICATION c",
        "ALTER SUBSCRIPTION a REFRESH PUBLICATION",
        "DROP SUBSCRIPTION a",
    ];
    for text in texts {
        assert_eq!(one(text).verb, Verb::Unblockable, "{text}");
    }
    let blockable = [
        "CREATE INDEX i ON a (b)",
        "CREATE UNIQUE INDEX i ON a (b)",
        "DROP INDEX i",
        "REINDEX TABLE a",
        "ALTER TABLE a DETACH PARTITION b",
        "ALTER DATABASE a SET work_mem = 1",
        "ALTER DATABASE a OWNER TO b",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY a",
        "CREATE TABLE database ()",
    ];
    for text in blockable {
        assert_eq!(one(text).verb, Verb::Other, "{text}");
    }
}

#[test]
fn with_hold_is_looked_for_before_the_query() {
    let table = [
        ("DECLARE c CURSOR FOR SELECT 1", false),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", true),
        ("DECLARE c BINARY NO SCROLL CURSOR WITH HOLD FOR SELECT 1", true),
        ("DECLARE cursor CURSOR /* WITH HOLD */ WITHOUT HOLD FOR SELECT 1", false),
        ("DECLARE \"for\" CURSOR WITH HOLD FOR SELECT 1", true),
        ("DECLARE U&\"!0061\" UESCAPE '!' CURSOR WITH HOLD FOR SELECT 1", true),
        ("DECLARE c CURSOR FOR WITH hold AS (SELECT 1) TABLE hold", false),
    ];
    for (text, hold) in table {
        assert_eq!(one(text).verb, Verb::Declare { hold }, "{text}");
    }
}

#[test]
fn copy_is_told_by_the_first_from_or_to_outside_parentheses() {
    let table = [
        ("COPY t FROM STDIN", Verb::CopyFrom),
        ("COPY t (a, b) FROM PROGRAM 'x' WHERE a > 1", Verb::CopyFrom),
        ("COPY \"to\".\"from\" FROM STDIN", Verb::CopyFrom),
        ("COPY BINARY t FROM 'to'", Verb::CopyFrom),
        ("COPY (SELECT a FROM x) TO STDOUT", Verb::CopyTo),
        ("COPY (DELETE FROM x RETURNING (SELECT 1 FROM y)) TO STDOUT", Verb::CopyTo),
        ("COPY t TO STDOUT WITH (FORMAT csv)", Verb::CopyTo),
        ("COPY t", Verb::Other),
    ];
    for (text, verb) in table {
        assert_eq!(one(text).verb, verb, "{text}");
    }
}

#[test]
fn transaction_control_is_found_wherever_it_stands() {
    let commit = Verb::Commit { chain: false };
    let table: [(&str, &[Verb]); 8] = [
        ("select 1;commit", &[Verb::Query, commit]),
        ("select (1;commit", &[Verb::Query, commit]),
        ("select 1);commit", &[Verb::Query, commit]),
        ("select ((;commit;select 1", &[Verb::Query, commit, Verb::Query]),
        ("begin;insert into a values (1);end;set a.b = 1", &[Verb::Begin, Verb::Query, commit, Verb::Set]),
        (";;/* ; */;commit--;\n;", &[commit]),
        ("select 1/*;*/;/*/**/*/commit", &[Verb::Query, commit]),
        ("create table a (b text default ';');commit", &[Verb::Other, commit]),
    ];
    for (text, expected) in table {
        assert_eq!(verbs(text), expected, "{text}");
    }
}

#[test]
fn only_transaction_statements_control_transactions() {
    for verb in [
        Verb::Begin,
        Verb::Commit { chain: false },
        Verb::Rollback { chain: true },
        Verb::RollbackTo,
        Verb::Savepoint,
        Verb::Release,
        Verb::PrepareTransaction,
        Verb::CommitPrepared,
        Verb::RollbackPrepared,
    ] {
        assert!(verb.controls_transaction(), "{verb:?}");
    }
    for verb in [
        Verb::Set,
        Verb::SetTransaction,
        Verb::Prepare,
        Verb::Query,
        Verb::Other,
        Verb::DiscardAll,
        Verb::Call,
    ] {
        assert!(!verb.controls_transaction(), "{verb:?}");
    }
}

#[test]
fn names_are_marked_in_every_spelling() {
    const CALL: Marks = Marks::CALLS.union(Marks::DOTTED).union(Marks::RUNS_TEXT);
    let table = [
        ("SELECT Set_Config('a.b', '', true)", Marks::SET_CONFIG),
        ("SELECT pg_catalog . \"set_config\" ('a.b', '', true)", Marks::SET_CONFIG),
        ("SELECT U&\"\\0073et_config\"('a.b', '', true)", Marks::SET_CONFIG),
        ("SELECT u&\"!0073et!+00005fconfig\" /* */ UESCAPE '!' ('a.b', '', true)", Marks::SET_CONFIG),
        ("EXPLAIN SELECT set_config('a.b', '', true)", Marks::SET_CONFIG),
        ("SELECT pg_advisory_lock(1)", Marks::ADVISORY_LOCK),
        ("SELECT pg_advisory_lock_shared(1)", Marks::ADVISORY_LOCK),
        ("SELECT pg_try_advisory_lock(1)", Marks::ADVISORY_LOCK),
        ("SELECT \"pg_try_advisory_lock_shared\"(1)", Marks::ADVISORY_LOCK),
        ("SELECT setseed(0.5)", Marks::SETSEED),
        ("SELECT lastval(), currval('a')", Marks::SEQUENCE_STATE),
        ("VALUES ($$;$$)", Marks::BODY),
        ("DO 'begin end'", Marks::BODY),
    ];
    for (text, mark) in table {
        assert_eq!(one(text).marks.without(CALL), mark, "{text}");
    }
    let unmarked = [
        "SELECT 'set_config'",
        "SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2)",
        "SELECT set_config_x, xset_config, set_confi, nextval('a') -- set_config\n",
        "VALUES ('$$', 'temp')",
        "SELECT temp, temporary",
    ];
    for text in [
        "SELECT pg_advisory_unlock(1)",
        "select PG_ADVISORY_UNLOCK_ALL()",
        "SELECT pg_advisory_unlock_shared(1)",
    ] {
        assert_eq!(one(text).marks.without(CALL), Marks::ADVISORY_UNLOCK, "{text}");
    }
    for text in unmarked {
        assert_eq!(one(text).marks.without(CALL), Marks::empty(), "{text}");
    }
}

#[test]
fn a_call_is_marked_unless_nearly_everybody_makes_it() {
    let calls = |text: &str| one(text).marks.contains(Marks::CALLS);
    for text in [
        "SELECT mine()",
        "SELECT app . /* */ count(1)",
        "SELECT \"Mine\" ()",
        "INSERT INTO t SELECT mine(1)",
        "INSERT INTO t (a) VALUES (mine(1))",
        "CALL mine(1)",
        "SELECT pg_sleep(1)",
    ] {
        assert!(calls(text), "{text}");
    }
    for text in [
        "SELECT count(*), now() FROM t WHERE a IN (1) AND (b OR c)",
        "INSERT INTO app.t (a, b) VALUES ($1, $2)",
        "INSERT INTO \"T\"(a) VALUES (1)",
        "SELECT current_setting('a.b')",
        "SELECT 1 FROM t; (SELECT 2)",
    ] {
        assert!(
            super::script(text).statements().iter().all(|one| !one.marks.contains(Marks::CALLS)),
            "{text}"
        );
    }
}

#[test]
fn what_runs_sql_is_marked_in_every_spelling() {
    for text in [
        "SELECT query_to_xml('SELECT 1', true, true, '')",
        "SELECT * FROM pg_catalog.\"ts_stat\"('SELECT 1')",
        "SELECT U&\"!0074s_stat\" UESCAPE '!' ('SELECT 1')",
        "EXPLAIN SELECT dblink_exec('x')",
    ] {
        assert!(one(text).marks.contains(Marks::RUNS_TEXT), "{text}");
    }
}

#[test]
fn a_constant_that_may_hold_a_dotted_name_is_marked() {
    let dotted = |text: &str| one(text).marks.contains(Marks::DOTTED);
    for text in
        ["SELECT 'a.b'", "SELECT E'a\\056b'", "SELECT U&'a\\002eb'", "SELECT 'a\\056b'", "SELECT $$a$$"]
    {
        assert!(dotted(text), "{text}");
    }
    assert!(dotted(&format!("SELECT '{}'", "a".repeat(300))));
    assert!(!dotted("SELECT 'ab', 1.5, a.b"));
}

#[test]
fn temporary_is_marked_where_something_temporary_is_made() {
    let texts = [
        "CREATE TEMP TABLE a ()",
        "CREATE TEMPORARY SEQUENCE a",
        "CREATE LOCAL TEMP TABLE a ()",
        "CREATE GLOBAL TEMPORARY TABLE a ()",
        "CREATE OR REPLACE TEMP VIEW a AS SELECT 1",
        "CREATE OR REPLACE TEMP RECURSIVE VIEW a (b) AS SELECT 1",
        "SELECT * INTO TEMP a FROM b",
        "SELECT * INTO LOCAL TEMPORARY TABLE a FROM b",
        "WITH x AS (SELECT 1) SELECT * INTO temp t FROM x",
        "EXPLAIN ANALYZE CREATE TEMP TABLE a AS SELECT 1",
        "CREATE TABLE pg_temp.a ()",
        "CREATE TABLE \"pg_temp_3\".a ()",
        "SELECT pg_temp.f()",
    ];
    for text in texts {
        assert!(one(text).marks.contains(Marks::TEMPORARY), "{text}");
    }
    let permanent = [
        "CREATE UNLOGGED TABLE a ()",
        "CREATE TABLE temp ()",
        "INSERT INTO temp VALUES (1)",
        "WITH x AS (INSERT INTO temporary VALUES (1)) SELECT 1",
        "SELECT temp FROM a",
        "SELECT 'CREATE TEMP TABLE'",
        "DISCARD TEMP",
    ];
    for text in permanent {
        assert!(!one(text).marks.contains(Marks::TEMPORARY), "{text}");
    }
}

#[test]
fn a_statement_that_can_name_a_relation_is_marked() {
    let texts = [
        "SELECT 1 FROM a",
        "UPDATE a SET b = 1",
        "TABLE a",
        "TRUNCATE a",
        "LOCK a",
        "COPY a TO STDOUT",
        "VACUUM a",
        "ANALYZE a",
        "EXPLAIN DELETE FROM a",
        "PREPARE p AS INSERT INTO a VALUES (1)",
        "DROP VIEW a",
        "GRANT SELECT ON a TO b",
    ];
    for text in texts {
        assert!(one(text).marks.contains(Marks::RELATION), "{text}");
    }
    for text in ["SELECT 1", "SELECT version()", "BEGIN", "SET a = 1", "SHOW a", "VALUES (1)", "EXECUTE p"] {
        assert!(!one(text).marks.contains(Marks::RELATION), "{text}");
    }
}

#[test]
fn marks_belong_to_their_statement_and_print_their_names() {
    let script = super::script("select setseed(1) from a; select 1");
    assert_eq!(script.statements()[1].marks, Marks::empty());
    assert_eq!(format!("{:?}", script.statements()[0].marks), r#"{"SETSEED", "RELATION", "CALLS"}"#);
}
