//! A text, and what `pg_stat_statements` shows of it, have the same fingerprint: so queries that the server has seen, and
//! pgwarden has not, can be told.

use std::collections::BTreeSet;

use pgwarden_sql::{Normaliser, StringSyntax, fingerprint};
use pgwarden_tests::{Server, Version, Wire, versions};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const SCHEMA: &str = "
    CREATE EXTENSION pg_stat_statements;
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE TABLE t (id int, org_id uuid, name text, at timestamptz, data jsonb, n numeric, tags text[], m mood);
    CREATE TABLE \"Odd Table\" (\"Id\" int, plain int);
    CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1'";

fn of(text: &str) -> Option<String> {
    Normaliser::default().read(text.as_bytes(), StringSyntax::Standard).map(fingerprint)
}

/// The texts that the statistics show, of the session's own statements alone.
fn shown(server: &Server) -> BTreeSet<String> {
    let all = server.psql("SELECT json_agg(query) FROM pg_stat_statements WHERE toplevel");
    serde_json::from_str(all.trim()).expect("a list of texts")
}

/// Runs texts, and asserts that the fingerprint of each that runs is that of a text shown; returns those that do not.
#[track_caller]
fn assert_same(server: &Server, client: &mut Wire, texts: &[String]) -> Vec<String> {
    server.psql("SELECT pg_stat_statements_reset()");
    let runs = |text: &&String| client.query(text).iter().all(|message| message.tag != b'E');
    let (ran, failed): (Vec<&String>, Vec<&String>) = texts.iter().partition(runs);
    let shown = shown(server);
    let known: BTreeSet<String> = shown.iter().filter_map(|text| of(text)).collect();
    for text in ran {
        let found = of(text).expect("it is readable");
        assert!(known.contains(&found), "{text:?} is none of {shown:#?}");
    }
    failed.into_iter().cloned().collect()
}

/// Constants and lists of every kind that the server treats in a way of its own.
const TEXTS: [&str; 47] = [
    "SELECT 1",
    "SELECT -1, - 2, +3, 4 - 5, 4-5, -1::int",
    "SELECT 1.5, .5, 1., 1e10, 1.5e-3, 123456789012345678901234567890",
    "SELECT 'a', 'it''s', E'a\\nb', U&'\\0061', U&'!0061' UESCAPE '!', B'101', X'1F', $$dollar$$, $x$y$x$",
    "SELECT true, false, NULL, NULL::int, true IS TRUE, 1 IS NULL, 1 IS NOT NULL, NOT false",
    "SELECT DATE '2020-01-01', DATE'2020-01-01', TIMESTAMP '2020-01-01 00:00', INTERVAL '1 day', INTERVAL '1' DAY, interval(3) '1 second'",
    "SELECT * FROM t WHERE id = 1 AND name = 'x' AND org_id = '00000000-0000-4000-8000-00000000000a'",
    "SELECT * FROM t WHERE id IN (1)",
    "SELECT * FROM t WHERE id IN (1, 2, 3)",
    "SELECT * FROM t WHERE id IN (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)",
    "SELECT * FROM t WHERE id NOT IN (-1, -2)",
    "SELECT * FROM t WHERE name IN ('a', 'b'::text)",
    "SELECT * FROM t WHERE id IN ('1'::int, '2'::int)",
    "SELECT * FROM t WHERE m IN ('good', 'bad')",
    "SELECT * FROM t WHERE id IN (1, id)",
    "SELECT * FROM t WHERE id IN (SELECT 1)",
    "SELECT * FROM t WHERE (id, name) IN ((1, 'a'), (2, 'b'))",
    "SELECT * FROM t WHERE id = ANY (ARRAY[1, 2, 3])",
    "SELECT * FROM t WHERE id = ANY ('{1,2}')",
    "SELECT ARRAY[1, 2], ARRAY['a'], ARRAY[[1, 2], [3, 4]], tags[1] FROM t",
    "INSERT INTO t (id, name) VALUES (1, 'a')",
    "INSERT INTO t (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    "INSERT INTO t (id, name) VALUES (1, DEFAULT), (2, 'b') RETURNING id",
    "UPDATE t SET name = 'x', id = id - 1, n = n + -2 WHERE id = 5",
    "DELETE FROM t WHERE at < now() - INTERVAL '1 day'",
    "SELECT data->'a'->>'b', data #> '{a,b}', data - 'a', data @> '{}' FROM t",
    "SELECT EXTRACT(year FROM at), EXTRACT('month' FROM at), date_trunc('day', at) FROM t",
    "SELECT * FROM t ORDER BY 1, name LIMIT 10 OFFSET 20",
    "SELECT * FROM t LIMIT ALL",
    "SELECT * FROM t FETCH FIRST 5 ROWS ONLY",
    "SELECT count(*), max(id) FILTER (WHERE id > 1) FROM t GROUP BY 1 + 1 HAVING count(*) > 0",
    "SELECT CASE WHEN id > 1 THEN 'a' ELSE 'b' END, coalesce(name, 'x'), nullif(id, 0) FROM t",
    "SELECT CAST('1' AS int), '1'::numeric(10, 2), 'x'::varchar(5), CAST(id AS text) FROM t",
    "SELECT substring('abc' FROM 1 FOR 2), position('a' IN 'abc'), trim(BOTH 'x' FROM name), overlay('abc' PLACING 'x' FROM 1) FROM t",
    "SELECT \"t\".\"id\", T.Name, \"Odd Table\".\"Id\" FROM \"t\", \"Odd Table\"",
    "SELECT 1 -- a comment",
    "SELECT /* one */ 1 /* two /* nested */ */ + 2 /*traceparent='x'*/",
    "  SELECT\n\t1  ,  2 ;",
    "WITH w AS (SELECT 1 AS a UNION ALL SELECT 2) SELECT * FROM w WHERE a BETWEEN 1 AND 2",
    "SELECT * FROM generate_series(1, 3) g(x) WHERE x <> 2 AND x != 3 AND x >= 1",
    "SELECT name LIKE 'a%', name ILIKE 'b' ESCAPE '!', name ~ 'c', name SIMILAR TO 'd' FROM t",
    "SELECT normalize('a', NFC), 'a' IS NFC NORMALIZED",
    "SELECT at AT TIME ZONE 'UTC', f(1), f(-1), @ -5, |/ 4 FROM t",
    "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) v(x, y)",
    "SELECT row_number() OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
    "MERGE INTO t USING (SELECT 1 AS id) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET name = 'x' WHEN NOT MATCHED THEN INSERT (id) VALUES (1)",
    "SELECT now(), current_date, current_user, 'a' || 'b', 1 = 1 OR 2 = 3",
];

/// A value expression.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (0..1000_i32).prop_map(|number| number.to_string()),
        (0..1000_i32).prop_map(|number| format!("-{number}")),
        "[a-z]{0,4}".prop_map(|text| format!("'{text}'")),
        Just("NULL".to_owned()),
        Just("id".to_owned()),
        Just("length(name)".to_owned()),
        Just("1.5e2".to_owned()),
        Just("'7'::int".to_owned()),
        Just("DATE'2020-01-01' - DATE '2019-01-01'".to_owned()),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            (inner.clone(), prop::sample::select(vec!["+", "-", "*", " - ", " -"]), inner.clone())
                .prop_map(|(one, sign, other)| format!("({one}{sign}{other})")),
            prop::collection::vec(inner.clone(), 1..5)
                .prop_map(|all| format!("(id IN ({}))::int", all.join(", "))),
            prop::collection::vec(0..9_i32, 2..6).prop_map(|all| format!("(id = ANY (ARRAY{all:?}))::int")),
            inner.clone().prop_map(|one| format!("coalesce({one}, 1)")),
            (inner.clone(), inner)
                .prop_map(|(one, other)| format!("CASE WHEN {one} IS NULL THEN {other} END")),
        ]
    })
}

fn text() -> impl Strategy<Value = String> {
    let blank = prop::sample::select(vec![" ", "\n", " /* c */ ", "  -- c\n"]);
    (prop::collection::vec(expression(), 1..4), expression(), blank).prop_map(|(all, filter, blank)| {
        format!("SELECT{blank}{} FROM{blank}t WHERE id = {filter}{blank}", all.join(&format!(",{blank}")))
    })
}

fn server(version: Version) -> Server {
    let server = Server::builder(version).set("shared_preload_libraries", "pg_stat_statements").start();
    server.psql(SCHEMA);
    server
}

#[test]
fn a_text_and_what_the_statistics_show_of_it_have_one_fingerprint() {
    for version in versions() {
        let server = server(version);
        let mut client = Wire::open(server.port(), "postgres", "", "postgres");
        for text in TEXTS {
            let failed = assert_same(&server, &mut client, &[text.to_owned()]);
            // MERGE is not there before 15.
            assert!(failed.is_empty() || version < Version(15), "{failed:?}");
        }
    }
}

#[test]
fn the_same_holds_for_random_texts() {
    for version in versions() {
        let server = server(version);
        let mut client = Wire::open(server.port(), "postgres", "", "postgres");
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let texts: Vec<String> =
            (0..400).map(|_| text().new_tree(&mut runner).expect("a text").current()).collect();
        for some in texts.chunks(50) {
            let failed = assert_same(&server, &mut client, some);
            assert!(failed.len() < 25, "half of them do not run: {failed:?}");
        }
    }
}
