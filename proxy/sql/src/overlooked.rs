//! The places that libpg_query's summary does not look into, found by tokens.
//!
//! `summarize` (`pg_query_summary.c`) misses the query of DECLARE CURSOR, the sub-queries of RETURNING and the table behind
//! the USING of MERGE. All three read rows.

use std::borrow::Cow;

use crate::lexer::Kind;
use crate::shape::{Cursor, Shape};
use crate::{LexError, Statement, StringSyntax, Verb, analyse};

/// The queries within `text` that its summary overlooks, each a text of its own.
pub(crate) fn overlooked(text: &str) -> Result<Vec<Cow<'_, str>>, LexError> {
    let script = analyse(text.as_bytes(), StringSyntax::Standard)?;
    let mut found = Vec::new();
    for statement in script.statements() {
        match statement.verb {
            Verb::Declare { .. } | Verb::Explain => found.extend(declared(text, statement)),
            _ => {}
        }
        search(text, statement, &mut found);
    }
    Ok(found)
}

fn start<'a>(text: &'a str, statement: &Statement) -> Cursor<'a> {
    Cursor::new(text.as_bytes(), statement.span.start, statement.span.end, StringSyntax::Standard)
}

/// The query of `[EXPLAIN …] DECLARE … FOR query`.
fn declared<'a>(text: &'a str, statement: &Statement) -> Option<Cow<'a, str>> {
    let mut cursor = start(text, statement);
    let mut depth = 0_usize;
    loop {
        match cursor.next_shape()?.as_bytes() {
            b"declare" if depth == 0 => break,
            b"(" => depth += 1,
            b")" => depth = depth.saturating_sub(1),
            b"explain" | b"analyze" | b"analyse" | b"verbose" => {}
            _ if depth > 0 => {}
            _ => return None,
        }
    }
    while cursor.next_shape()?.as_bytes() != b"for" {}
    text.get(cursor.token()?.start..statement.span.end).map(Cow::Borrowed)
}

/// Looks for RETURNING and MERGE.
fn search<'a>(text: &'a str, statement: &Statement, found: &mut Vec<Cow<'a, str>>) {
    let mut cursor = start(text, statement);
    let mut returning = false;
    let mut merging = false;
    while let Some(shape) = cursor.next_shape() {
        match shape.as_bytes() {
            b"returning" => returning = true,
            b"merge" if cursor.peek().as_bytes() == b"into" => merging = true,
            b"(" if returning && starts_subquery(cursor) => found.extend(subquery(text, &mut cursor)),
            b"using" if merging => {
                merging = false;
                found.extend(source(text, cursor));
            }
            _ => {}
        }
    }
}

fn starts_subquery(cursor: Cursor<'_>) -> bool {
    matches!(cursor.peek().as_bytes(), b"select" | b"with" | b"values" | b"table")
}

/// The query up to the parenthesis that closes it.
fn subquery<'a>(text: &'a str, cursor: &mut Cursor<'a>) -> Option<Cow<'a, str>> {
    let from = cursor.token()?.start;
    let mut depth = 1_usize;
    while let Some(token) = cursor.token() {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text.get(from..token.start).map(Cow::Borrowed);
        }
    }
    None
}

/// What stands between USING and the ON of the MERGE, as a query. Its joins may have an ON too: the last one before WHEN
/// is the one of the MERGE.
fn source(text: &str, mut cursor: Cursor<'_>) -> Option<Cow<'static, str>> {
    let from = { cursor }.token()?.start;
    let mut end = None;
    let (mut depth, mut cases) = (0_usize, 0_usize);
    while let Some(token) = cursor.token() {
        let shape = Shape::of(token.kind, cursor.lexer().slice(token));
        match shape.as_bytes() {
            b"(" => depth += 1,
            b")" if depth == 0 => break,
            b")" => depth -= 1,
            b"case" => cases += 1,
            b"end" => cases = cases.saturating_sub(1),
            b"when" if depth == 0 && cases == 0 => break,
            b"on" if depth == 0 => end = Some(token.start),
            _ => {}
        }
    }
    let source = text.get(from..end?)?;
    Some(Cow::Owned(format!("SELECT FROM {source}")))
}
