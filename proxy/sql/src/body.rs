//! The body of a function in PL/pgSQL: its statements that write, and everything else in it.

use crate::lexer::Kind;
use crate::named::{Named, named};
use crate::shape::{Cursor, Shape};
use crate::{LexError, StringSyntax};

/// What a body consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    /// INSERT, UPDATE, DELETE and MERGE, each a text of its own. With an INTO of PL/pgSQL's own in it, it is not SQL.
    pub writing: Vec<String>,
    /// All names of the rest: declarations, conditions, queries.
    pub rest: Named,
}

/// Takes a body apart.
///
/// # Errors
/// [`LexError`] when it cannot be tokenised.
pub fn body(text: &str) -> Result<Body, LexError> {
    let mut cursor = Cursor::new(text.as_bytes(), 0, text.len(), StringSyntax::Standard);
    let mut body = Body::default();
    let mut rest = String::new();
    let (mut from, mut begins, mut is_first) = (0, None, true);
    while let Some(token) = cursor.token() {
        let shape = Shape::of(token.kind, cursor.lexer().slice(token));
        if token.kind == Kind::Semicolon {
            let end = begins.take().unwrap_or(token.start);
            rest.push_str(text.get(from..end).unwrap_or_default());
            rest.push(';');
            let writing = text.get(end..token.start).filter(|writing| !writing.is_empty());
            body.writing.extend(writing.map(str::to_owned));
            (from, is_first) = (token.end, true);
            continue;
        }
        let writes = matches!(shape.as_bytes(), b"insert" | b"update" | b"delete" | b"merge");
        if is_first && writes && begins.is_none() {
            begins = Some(token.start);
        }
        is_first = matches!(shape.as_bytes(), b"begin" | b"then" | b"else" | b"loop");
    }
    rest.push_str(text.get(from..).unwrap_or_default());
    body.rest = named(&rest)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_writes_is_told_from_the_rest() {
        let text = "DECLARE found int := 1; BEGIN
            IF NEW.a IS DISTINCT FROM OLD.a THEN INSERT INTO t VALUES (NEW.a) ON CONFLICT (a) DO UPDATE SET b = 1; END IF;
            -- UPDATE x;
            UPDATE u SET c = ';' WHERE d = NEW.d;
            SELECT e INTO found FROM f;
            IF EXISTS (SELECT FROM g WHERE update) THEN NULL; ELSE DELETE FROM h; END IF;
            RETURN NEW; END";
        let body = body(text).expect("tokens");
        assert_eq!(
            body.writing,
            [
                "INSERT INTO t VALUES (NEW.a) ON CONFLICT (a) DO UPDATE SET b = 1",
                "UPDATE u SET c = ';' WHERE d = NEW.d",
                "DELETE FROM h"
            ]
        );
        let is_there = |name: &str| body.rest.names.contains(name);
        assert!(["f", "g", "found"].into_iter().all(is_there));
        assert!(!["t", "u", "h", "x"].into_iter().any(is_there));
    }

    #[test]
    fn what_has_no_end_is_rest() {
        let body = body("UPDATE t SET a = 1").expect("tokens");
        assert!(body.writing.is_empty() && body.rest.names.contains("t"));
        assert!(super::body("'").is_err());
    }
}
