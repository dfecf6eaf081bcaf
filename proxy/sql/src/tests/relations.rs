use crate::{MAX_PARSE_BYTES, ParseError, user_relations};

fn names(text: &str) -> Vec<String> {
    let relations = user_relations(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let full = relations.into_iter().map(|relation| match relation.schema {
        Some(schema) => format!("{schema}.{}", relation.name),
        None => relation.name,
    });
    let mut full: Vec<String> = full.collect();
    full.sort();
    full
}

#[test]
fn relations_are_found_wherever_rows_are_read() {
    let table: [(&str, &[&str]); 29] = [
        ("SELECT * FROM a, s.b JOIN \"C\" ON true", &["C", "a", "s.b"]),
        ("VALUES ((SELECT x FROM a))", &["a"]),
        ("SELECT 1 LIMIT (SELECT n FROM a)", &["a"]),
        ("DECLARE c CURSOR FOR SELECT * FROM a", &["a"]),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT * FROM a; SELECT 1", &["a"]),
        ("EXPLAIN (ANALYZE) DECLARE c CURSOR FOR SELECT * FROM a", &["a"]),
        ("DELETE FROM a RETURNING (SELECT x FROM b)", &["a", "b"]),
        ("UPDATE a SET x = 1 RETURNING ((SELECT x FROM b)), (TABLE s.c)", &["a", "b", "s.c"]),
        ("WITH x AS (INSERT INTO a VALUES (1) RETURNING (SELECT y FROM b)) TABLE x", &["a", "b"]),
        ("WITH x AS (SELECT 1) DELETE FROM a RETURNING (SELECT * FROM x)", &["a"]),
        ("MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE", &["a", "b"]),
        ("MERGE INTO a USING ONLY s.\"B\" x ON true WHEN MATCHED THEN DELETE", &["a", "s.B"]),
        ("MERGE INTO a USING U&\"!0062\" UESCAPE '!' ON true WHEN MATCHED THEN DELETE", &["a", "b"]),
        ("MERGE INTO a USING (b JOIN c USING (x)) ON true WHEN MATCHED THEN DELETE", &["a", "b", "c"]),
        (
            "MERGE INTO a USING b JOIN c ON CASE WHEN true THEN true END ON true WHEN MATCHED THEN DELETE",
            &["a", "b", "c"],
        ),
        ("SELECT FROM merge JOIN b USING (x)", &["b", "merge"]),
        ("MERGE INTO a USING f(1) ON true WHEN MATCHED THEN DELETE", &["a"]),
        ("WITH x AS (SELECT 1) MERGE INTO a USING x ON true WHEN MATCHED THEN DELETE", &["a"]),
        ("TABLE a", &["a"]),
        ("TRUNCATE a, b", &["a", "b"]),
        ("LOCK a", &["a"]),
        ("COPY a FROM STDIN", &["a"]),
        ("COPY (SELECT * FROM a) TO STDOUT", &["a"]),
        ("PREPARE p AS SELECT * FROM a", &["a"]),
        ("CREATE VIEW v AS SELECT * FROM a", &["a", "v"]),
        ("DROP TABLE s.a", &["s.a"]),
        ("WITH RECURSIVE x AS (SELECT 1 UNION SELECT * FROM x, a) SELECT * FROM x", &["a"]),
        ("SELECT 1; SELECT * FROM a", &["a"]),
        ("REFRESH MATERIALIZED VIEW m", &["m"]),
    ];
    for (text, expected) in table {
        assert_eq!(names(text), expected, "{text}");
    }
}

#[test]
fn the_catalog_is_not_the_users() {
    assert_eq!(
        names("SELECT * FROM pg_type, pg_catalog.x, information_schema.tables, pg_stat_io, pg_aios"),
        [""; 0]
    );
    assert_eq!(names("SELECT * FROM public.pg_type, tables"), ["public.pg_type", "tables"]);
    assert_eq!(names("SELECT version()"), [""; 0]);
}

#[test]
fn what_does_not_parse_is_an_error() {
    assert!(matches!(user_relations("SELECT FROM FROM"), Err(ParseError::Syntax { .. })));
    assert!(matches!(user_relations("SELECT 'a"), Err(ParseError::Syntax { .. })));
    assert!(matches!(user_relations("SELECT '\0'"), Err(ParseError::Syntax { .. })));
    let long = format!("SELECT '{}'", "a".repeat(MAX_PARSE_BYTES));
    assert_eq!(user_relations(&long), Err(ParseError::TooLong { bytes: MAX_PARSE_BYTES + 9 }));
}

#[test]
fn deep_nesting_neither_crashes_nor_hangs_on_a_big_stack() {
    let deep = [
        format!("SELECT {}1{}", "(".repeat(32_000), ")".repeat(32_000)),
        format!("SELECT {}1{}", "(SELECT ".repeat(7_000), ")".repeat(7_000)),
        format!("SELECT 1{}", "+1".repeat(32_000)),
        format!("SELECT 1{}", "::int".repeat(13_000)),
        format!("SELECT 1 {}", "UNION SELECT 1 ".repeat(4_000)),
        format!("SELECT * FROM {}a{}", "(a JOIN ".repeat(3_400), " ON true)".repeat(3_400)),
    ];
    let parsing = std::thread::Builder::new()
        .stack_size(16 << 20)
        .spawn(move || deep.map(|text| user_relations(&text)));
    assert_eq!(parsing.unwrap().join().unwrap().len(), 6);
}
