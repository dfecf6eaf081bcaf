//! What has to be known of a query before it is run once more: whether that has effects, and what its result depends on
//! besides the rows that it reads.

use crate::relation::{MAX_PARSE_BYTES, ParseError};
use crate::rerun_walk::Walk;
use crate::source;
use pg_query::NodeEnum;
use pg_query::protobuf::{CopyStmt, LimitOption, ParseResult, RawStmt, SelectStmt};
use std::collections::BTreeSet;

/// A query that can be run once more, as far as its text says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rerun {
    /// The query itself: that of COPY for a COPY, that from which rows are inserted for an INSERT.
    pub query: String,
    /// Whether it is the whole statement.
    pub part: Part,
    /// What its result depends on besides the rows that it reads.
    pub depends: Depends,
    /// For each sum or mean, the names in its argument: the result depends on the order where one is a floating-point
    /// number.
    pub sums: Vec<BTreeSet<String>>,
    /// For [`Depends::Ties`]: texts that return the same number of rows exactly when no tie is cut.
    pub bounds: Vec<Bound>,
}

/// How much of a statement a query is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Where the rows of an INSERT come from: there a parameter may have another type than in the statement.
    Source,
}

/// Two texts that return as many rows when no tie is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Up to the limit.
    pub cut: String,
    /// And all that are equal to the last one.
    pub with_ties: String,
}

/// What a result depends on besides the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depends {
    /// On nothing else.
    Rows,
    /// The order in which rows meet within aggregated values (`array_agg`), which come out as they are.
    Order,
    /// Which of equal rows come before the limit.
    Ties,
    /// The plan: which rows are chosen, or met first.
    Plan,
}

/// Why a text is not run once more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAgain {
    /// It cannot be read.
    #[error(transparent)]
    Unread(#[from] ParseError),
    /// It is no query, or not one alone.
    #[error("it is no query")]
    NoQuery,
    /// It writes, locks rows, makes a table, or leaves the server.
    #[error("it does more than to read")]
    Effects,
}

/// Looks at a text of one statement.
///
/// As [`user_relations`](crate::user_relations), for a thread with a deep stack. String constants are read as with
/// `standard_conforming_strings = on`: see [`reads_the_same`](crate::reads_the_same).
///
/// # Errors
/// [`NotAgain`] for everything but a query that only reads.
pub fn rerun(text: &str) -> Result<Rerun, NotAgain> {
    let (statement, query) = only_statement(text)?;
    let (part, select, query) = match statement {
        NodeEnum::SelectStmt(select) => (Part::Whole, *select, query),
        NodeEnum::CopyStmt(copy) => {
            let (select, query) = copied(*copy)?;
            (Part::Whole, select, query)
        }
        NodeEnum::InsertStmt(insert) => {
            let query = source::of_insert(*insert).ok_or(NotAgain::NoQuery)?;
            let (select, query) = read(&query)?;
            (Part::Source, select, query)
        }
        _ => return Err(NotAgain::NoQuery),
    };
    let mut walk = Walk::default();
    walk.look_at(&select)?;
    let bounds = match walk.depends() {
        Depends::Ties => bounds_of(&select),
        _ => Some(Vec::new()),
    };
    let depends = if bounds.is_some() { walk.depends() } else { Depends::Plan };
    Ok(Rerun { query, part, depends, sums: walk.sums, bounds: bounds.unwrap_or_default() })
}

/// The statement of a text that has one, with its text.
fn only_statement(text: &str) -> Result<(NodeEnum, String), NotAgain> {
    if text.len() > MAX_PARSE_BYTES {
        return Err(ParseError::TooLong { bytes: text.len() }.into());
    }
    let mut statements = parse(text)?.stmts.into_iter();
    let (Some(raw), None) = (statements.next(), statements.next()) else { return Err(NotAgain::NoQuery) };
    let start = usize::try_from(raw.stmt_location).unwrap_or_default();
    let length = usize::try_from(raw.stmt_len).ok().filter(|length| *length > 0);
    let end = length.map_or(text.len(), |length| start.saturating_add(length));
    let query = text.get(start..end).ok_or(NotAgain::NoQuery)?.to_owned();
    let statement = raw.stmt.and_then(|node| node.node).ok_or(NotAgain::NoQuery)?;
    Ok((statement, query))
}

fn parse(text: &str) -> Result<ParseResult, ParseError> {
    pg_query::parse(text, pg_query::ParserOptions::default())
        .map(|result| result.protobuf)
        .map_err(|error| ParseError::Syntax { reason: error.to_string() })
}

/// The query of a COPY to the client. COPY of a table reads that table alone, and no others that inherit from it.
fn copied(copy: CopyStmt) -> Result<(SelectStmt, String), NotAgain> {
    if copy.is_from || copy.is_program || !copy.filename.is_empty() {
        return Err(NotAgain::Effects);
    }
    let text = match (copy.query.and_then(|node| node.node), copy.relation) {
        (Some(query @ NodeEnum::SelectStmt(_)), _) => {
            query.deparse(pg_query::DeparseOptions::default()).map_err(|_| NotAgain::NoQuery)?
        }
        (Some(_), _) => return Err(NotAgain::Effects),
        (None, Some(table)) => {
            let schema = Some(&table.schemaname).filter(|name| !name.is_empty());
            let parts = schema.into_iter().chain([&table.relname]).map(|name| quoted(name));
            format!("SELECT * FROM ONLY {}", parts.collect::<Vec<_>>().join("."))
        }
        (None, None) => return Err(NotAgain::NoQuery),
    };
    read(&text)
}

fn read(text: &str) -> Result<(SelectStmt, String), NotAgain> {
    match only_statement(text)? {
        (NodeEnum::SelectStmt(select), text) => Ok((*select, text)),
        _ => Err(NotAgain::NoQuery),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What shows whether a limit or an offset cuts between equal rows. `None` where that cannot be put as a query.
fn bounds_of(select: &SelectStmt) -> Option<Vec<Bound>> {
    let mut bounds = Vec::new();
    if select.limit_count.is_some() && select.limit_option() != LimitOption::WithTies {
        let mut with_ties = select.clone();
        with_ties.set_limit_option(LimitOption::WithTies);
        bounds.push(Bound { cut: written(select)?, with_ties: written(&with_ties)? });
    }
    if let Some(offset) = &select.limit_offset {
        let mut head = select.clone();
        head.limit_count = Some(offset.clone());
        head.limit_offset = None;
        head.set_limit_option(LimitOption::Count);
        let mut with_ties = head.clone();
        with_ties.set_limit_option(LimitOption::WithTies);
        bounds.push(Bound { cut: written(&head)?, with_ties: written(&with_ties)? });
    }
    Some(bounds)
}

/// The text of a query, if it reads as that query again.
fn written(select: &SelectStmt) -> Option<String> {
    let node = NodeEnum::SelectStmt(Box::new(select.clone()));
    let text = node.deparse(pg_query::DeparseOptions::default()).ok()?;
    let again = parse(&text).ok()?;
    let [RawStmt { stmt: Some(again), .. }] = again.stmts.as_slice() else { return None };
    match again.node.as_ref()? {
        NodeEnum::SelectStmt(again) => (again.limit_option() == select.limit_option()).then_some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn depends(text: &str) -> Depends {
        rerun(text).unwrap_or_else(|error| panic!("{text}: {error}")).depends
    }

    #[test]
    fn only_what_reads_and_nothing_else_is_run_again() {
        for text in [
            "SELECT * FROM t",
            "TABLE t",
            "VALUES (1), (2)",
            "(SELECT 1 UNION SELECT 2)",
            "WITH a AS (SELECT * FROM t) SELECT * FROM a",
            "COPY (SELECT * FROM t) TO STDOUT",
            "COPY s.t TO STDOUT (FORMAT csv)",
        ] {
            assert!(rerun(text).is_ok(), "{text}");
        }
        for text in [
            "SELECT * FROM t FOR UPDATE",
            "SELECT * FROM (SELECT * FROM t FOR SHARE) q",
            "SELECT * INTO n FROM t",
            "WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a",
            "WITH a AS (SELECT 1), b AS (INSERT INTO t SELECT 1 RETURNING 1) SELECT * FROM a, b",
            "COPY (DELETE FROM t RETURNING *) TO STDOUT",
            "COPY t TO '/tmp/t'",
            "COPY (SELECT 1) TO PROGRAM 'cat'",
            "COPY t FROM STDIN",
        ] {
            assert_eq!(rerun(text), Err(NotAgain::Effects), "{text}");
        }
        for text in ["INSERT INTO t VALUES (1)", "EXPLAIN SELECT 1", "SELECT 1; SELECT 2", "", "FETCH ALL c"]
        {
            assert_eq!(rerun(text), Err(NotAgain::NoQuery), "{text}");
        }
        assert!(matches!(rerun("SELEC 1"), Err(NotAgain::Unread(_))));
    }

    #[test]
    fn the_query_is_the_statement_without_what_ends_it() {
        for (text, query) in [
            ("SELECT 1; ", "SELECT 1"),
            ("SELECT 1 -- a;b\n", "SELECT 1 -- a;b\n"),
            ("COPY (SELECT a FROM t) TO STDOUT", "SELECT a FROM t"),
            ("COPY s.\"T\" TO STDOUT", "SELECT * FROM ONLY \"s\".\"T\""),
        ] {
            assert_eq!(rerun(text).expect(text).query, query);
        }
    }

    #[test]
    fn of_an_insert_its_source_is_run_again_if_it_reads_and_not_from_what_it_writes() {
        for (text, query) in [
            ("INSERT INTO t SELECT a FROM u WHERE b = $1", "SELECT a FROM u WHERE b = $1"),
            ("INSERT INTO t VALUES ((SELECT a FROM u), 2)", "VALUES ((SELECT a FROM u), 2)"),
            (
                "WITH c AS (SELECT a FROM u) INSERT INTO t SELECT a FROM c RETURNING id",
                "WITH c AS (SELECT a FROM u) SELECT a FROM c",
            ),
        ] {
            let found = rerun(text).expect(text);
            assert_eq!((found.query.as_str(), found.part), (query, Part::Source), "{text}");
        }
        for text in [
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t DEFAULT VALUES",
            "INSERT INTO t SELECT a FROM t",
            "INSERT INTO t SELECT a FROM u WHERE NOT EXISTS (SELECT FROM s.t)",
            "INSERT INTO t SELECT a FROM u RETURNING (SELECT b FROM v)",
            "INSERT INTO t SELECT a FROM u ON CONFLICT (a) DO UPDATE SET a = (SELECT b FROM v)",
            "INSERT INTO t VALUES (DEFAULT, (SELECT a FROM u))",
        ] {
            assert_eq!(rerun(text), Err(NotAgain::NoQuery), "{text}");
        }
        let writes = "WITH c AS (DELETE FROM u RETURNING a) INSERT INTO t SELECT a FROM c, v";
        assert_eq!(rerun(writes), Err(NotAgain::Effects));
    }

    #[test]
    fn what_rows_alone_decide_is_told_from_what_the_plan_decides() {
        for text in [
            "SELECT * FROM t ORDER BY a",
            "SELECT DISTINCT a FROM t",
            "SELECT count(*), max(a) FROM t GROUP BY b HAVING count(*) > 1",
            "SELECT a FROM t UNION ALL SELECT b FROM u",
            "SELECT rank() OVER (ORDER BY a) FROM t",
            "SELECT sum(a) OVER (PARTITION BY b) FROM t",
            "SELECT array_agg(a ORDER BY a) FROM t",
            "SELECT string_agg(a, ',' ORDER BY b, a) FROM t",
        ] {
            assert_eq!(depends(text), Depends::Rows, "{text}");
        }
        for text in [
            "SELECT array_agg(a) FROM t",
            "SELECT json_agg(q ORDER BY q.a) FROM (SELECT * FROM t) q",
            "SELECT coalesce(json_agg(q), '[]') FROM t q",
            "SELECT a, ARRAY(SELECT b FROM u WHERE u.a = t.a) FROM t",
            "SELECT string_agg(a, ', '), count(*) FROM t",
        ] {
            assert_eq!(depends(text), Depends::Order, "{text}");
        }
        for text in ["SELECT * FROM t ORDER BY a LIMIT 5", "SELECT * FROM t ORDER BY a OFFSET 3"] {
            assert_eq!(depends(text), Depends::Ties, "{text}");
        }
        for text in [
            "SELECT * FROM t LIMIT 5",
            "SELECT * FROM (SELECT * FROM t ORDER BY a LIMIT 5) q",
            "SELECT DISTINCT ON (a) * FROM t ORDER BY a",
            "SELECT (array_agg(a))[1] FROM t",
            "SELECT md5(string_agg(a, ',')) FROM t",
            "SELECT md5(s) FROM (SELECT string_agg(a, ',') s FROM t) q",
            "SELECT string_agg(a, 'x') FROM t",
            "SELECT DISTINCT array_agg(a) FROM t GROUP BY b",
            "SELECT array_agg(a) FROM t UNION SELECT array_agg(a) FROM u",
            "SELECT row_number() OVER (ORDER BY a) FROM t",
            "SELECT first_value(a) OVER w FROM t WINDOW w AS (ORDER BY b)",
            "SELECT sum(a) OVER (ORDER BY b ROWS 1 PRECEDING) FROM t",
            "SELECT array_agg(a) FROM t ORDER BY 1 LIMIT 1",
            "SELECT * FROM t TABLESAMPLE system (10)",
            "SELECT (SELECT a FROM t LIMIT 1)",
        ] {
            assert_eq!(depends(text), Depends::Plan, "{text}");
        }
    }

    #[test]
    fn a_limit_is_looked_at_with_its_ties() {
        let found = rerun("SELECT a FROM t WHERE b = $1 ORDER BY a LIMIT $2 OFFSET $3").expect("a query");
        let texts: Vec<_> =
            found.bounds.iter().map(|bound| (bound.cut.as_str(), bound.with_ties.as_str())).collect();
        assert_eq!(texts.len(), 2);
        assert!(texts[0].1.contains("WITH TIES") && texts[0].1.contains("OFFSET $3"), "{texts:?}");
        assert!(texts[1].1.contains("WITH TIES") && !texts[1].0.contains("$2"), "{texts:?}");
        assert!(
            rerun("SELECT a FROM t ORDER BY a FETCH FIRST 3 ROWS WITH TIES")
                .expect("a query")
                .bounds
                .is_empty()
        );
    }

    #[test]
    fn the_names_in_sums_are_told() {
        let found = rerun("SELECT sum(a.price * 2), avg(x::float8), count(b) FROM t a").expect("a query");
        let names: Vec<Vec<&str>> =
            found.sums.iter().map(|names| names.iter().map(String::as_str).collect()).collect();
        assert_eq!(names.len(), 2);
        assert!(names[0].contains(&"price") && names[1].contains(&"float8"), "{names:?}");
    }
}
