use super::*;

fn normal(text: &str) -> String {
    let mut normaliser = Normaliser::default();
    normaliser.read(text.as_bytes(), StringSyntax::Standard).expect("readable");
    normaliser.text().expect("UTF-8")
}

fn number(text: &str) -> u64 {
    Normaliser::default().read(text.as_bytes(), StringSyntax::Standard).expect("readable")
}

#[test]
fn literals_are_numbered_and_comments_are_gone() {
    for (text, expected) in [
        ("SELECT 1", "select $1"),
        (
            "select  *\nFROM Items -- all\nWHERE id=42 /* x */ and name = 'it''s'",
            "select * from items where id = $1 and name = $2",
        ),
        (
            "SELECT count(*), max( a ) FROM t WHERE b IN (1,2, 3)",
            "select count(*), max(a) from t where b in ($1)",
        ),
        (
            "INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y'), (3, 'z') RETURNING id",
            "insert into t(a, b) values ($1, $2) returning id",
        ),
        ("INSERT INTO t VALUES (1, DEFAULT), (2, 3)", "insert into t values ($1, default), ($2, $3)"),
        (
            "SELECT \"users\".\"id\", \"Name\", \"user\" FROM \"users\"",
            "select users.id, \"Name\", \"user\" from users",
        ),
        (
            "SELECT a -5, -1.5e-3, .5 FROM t WHERE x::int > 0x1F",
            "select a - $1, $2, $3 from t where x::int > $4",
        ),
        ("SELECT $2, $1, 7", "select $1, $2, $3"),
        ("DO $$ BEGIN secret; END $$", "do $1"),
        ("SELECT a[1], ARRAY[1,2,3], data->>'k' FROM t", "select a[$1], array[$2], data ->> $3 from t"),
        (
            "SELECT x IS NOT NULL, NULL, NOT true FROM t LIMIT ALL",
            "select x is not null, $1, not $2 from t limit $3",
        ),
        ("SELECT 1;", "select $1"),
        (
            "SELECT E'a\\'b', U&'x' UESCAPE '!', B'1', N'n', date '2020-01-01'",
            "select $1, $2 uescape $3, $4, n $5, date $6",
        ),
        ("SELECT now() - '1 day'::interval", "select now() - $1::interval"),
        ("SELECT * FROM t WHERE (a, b) IN ((1, 2), (3, 4))", "select * from t where (a, b) in (($1, $2))"),
        ("SELECT extract(year FROM at)", "select extract($1 from at)"),
    ] {
        assert_eq!(normal(text), expected, "{text}");
    }
}

#[test]
fn what_differs_in_more_has_another_fingerprint() {
    let texts = [
        "SELECT a FROM t",
        "SELECT b FROM t",
        "SELECT a FROM u",
        "SELECT a FROM t WHERE b = 1",
        "SELECT a FROM t WHERE b < 1",
        "SELECT a FROM t WHERE b <= 1",
        "SELECT a FROM t WHERE b IS NULL",
        "SELECT a FROM t WHERE b IS NOT NULL",
        "SELECT a FROM \"T\"",
        "SELECT a, b FROM t",
        "SELECT f(a) FROM t",
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES (1, 2)",
        "SELECT a FROM t WHERE b IN (1)",
        "SELECT a FROM t WHERE b IN (SELECT 1)",
        "SELECT a FROM t WHERE b IN (1, a)",
    ];
    for (index, one) in texts.iter().enumerate() {
        for other in &texts[index + 1..] {
            assert_ne!(number(one), number(other), "{one} and {other}");
        }
    }
}

#[test]
fn what_the_statistics_show_has_the_fingerprint_of_the_text() {
    for (text, shown) in [
        ("SELECT -5", "SELECT $1"),
        ("SELECT a -5 FROM t", "SELECT a -$1 FROM t"),
        ("SELECT -1::int", "SELECT -$1::int"),
        ("SELECT * FROM t WHERE a IN (1,2,3)", "SELECT * FROM t WHERE a IN ($1 /*, ... */)"),
        ("SELECT * FROM t WHERE a IN (1,2,3)", "SELECT * FROM t WHERE a IN ($1,$2,$3)"),
        ("SELECT * FROM t WHERE a IN ('1'::int, '2'::int)", "SELECT * FROM t WHERE a IN ($1 /*, ... */)"),
        ("SELECT ARRAY[1,2]", "SELECT ARRAY[$1 /*, ... */]"),
        ("SELECT DATE'2020-01-01'", "SELECT DATE$1"),
        (
            "SELECT date_trunc('day', at), EXTRACT(year FROM at) FROM t",
            "SELECT date_trunc($1, at), EXTRACT($2 FROM at) FROM t",
        ),
        ("SELECT true, NULL LIMIT ALL", "SELECT $1, $2 LIMIT $3"),
        ("SELECT $1, 5", "SELECT $1, $2"),
        ("SELECT a -NULL FROM t", "SELECT a -$1 FROM t"),
        ("SELECT a - -5 FROM t", "SELECT a - $1 FROM t"),
    ] {
        assert_eq!(number(text), number(shown), "{text}");
    }
}

#[test]
fn what_cannot_be_tokenised_has_no_fingerprint() {
    for text in ["SELECT 'x", "SELECT \"x", "SELECT /* x", "SELECT $$x"] {
        assert_eq!(Normaliser::default().read(text.as_bytes(), StringSyntax::Standard), None, "{text}");
    }
}
