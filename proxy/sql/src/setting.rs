//! SET, RESET and SHOW (gram.y, `VariableSetStmt`, `VariableResetStmt`, `VariableShowStmt`).
//!
//! Nearly all keywords here may also be names of parameters (`SET local.x = 1`, `SET role = 'a'`): what follows decides.

use std::ops::Range;

use crate::lexer::Kind;
use crate::literal::identifier;
use crate::shape::Cursor;
use crate::{Setting, Verb};

/// PostgreSQL cuts identifiers to this many bytes (`NAMEDATALEN - 1`, `src/backend/parser/scansup.c`).
const MAX_IDENTIFIER: usize = 63;

/// How long a SET lasts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Session,
    Local,
}

type Classified = (Verb, Option<Setting>);

/// Reads what follows SET.
pub(crate) fn set(cursor: Cursor<'_>) -> Classified {
    let mut rest = cursor;
    let word = rest.shape();
    match (word.as_bytes(), rest.peek().as_bytes()) {
        (_, b"." | b"=" | b"to" | b"from") => generic(cursor, Scope::Session),
        (b"local", _) => set_rest(rest, Scope::Local),
        (b"session", b"authorization") => set_rest(cursor, Scope::Session),
        (b"session", b"characteristics") if starts_characteristics(rest) => set_rest(cursor, Scope::Session),
        (b"session", _) => set_rest(rest, Scope::Session),
        (b"constraints", _) => (Verb::SetConstraints, None),
        _ => set_rest(cursor, Scope::Session),
    }
}

fn starts_characteristics(mut cursor: Cursor<'_>) -> bool {
    cursor.token();
    cursor.peek().as_bytes() == b"as"
}

/// `set_rest`: what follows SET, SET LOCAL or SET SESSION.
fn set_rest(cursor: Cursor<'_>, scope: Scope) -> Classified {
    let mut rest = cursor;
    let word = rest.shape();
    match (word.as_bytes(), rest.peek().as_bytes()) {
        (_, b"." | b"=" | b"to" | b"from") => generic(cursor, scope),
        (b"transaction", _) => (Verb::SetTransaction, None),
        (b"session", b"characteristics") => (Verb::SetSessionCharacteristics, None),
        (b"session", b"authorization") => (session_authorization(rest), None),
        (b"role", _) => (Verb::SetRole, None),
        (b"time", b"zone") => spelled("timezone", scope, rest, 1),
        (b"xml", b"option") => spelled("xmloption", scope, rest, 1),
        (b"names", _) => spelled("client_encoding", scope, rest, 0),
        (b"schema", _) => spelled("search_path", scope, rest, 0),
        (b"catalog", _) => spelled("catalog", scope, rest, 0),
        (b"seed", _) => spelled("seed", scope, rest, 0),
        _ => generic(cursor, scope),
    }
}

/// What SESSION AUTHORIZATION is set to decides.
fn session_authorization(mut cursor: Cursor<'_>) -> Verb {
    cursor.token();
    if cursor.peek().as_bytes() == b"default" { Verb::ResetIdentity } else { Verb::SetSessionAuthorization }
}

/// A parameter with a spelling of its own; the value comes after `skipped` more tokens.
fn spelled(name: &str, scope: Scope, mut cursor: Cursor<'_>, skipped: usize) -> Classified {
    for _ in 0..skipped {
        cursor.token();
    }
    with_name(set_or_reset(scope, cursor), name, scope, remainder(cursor))
}

/// `SET name TO DEFAULT` is RESET in other words (gram.y, `VAR_SET_DEFAULT`).
fn set_or_reset(scope: Scope, mut value: Cursor<'_>) -> Verb {
    let alone = value.shape().as_bytes() == b"default" && value.token().is_none();
    if alone && scope == Scope::Session { Verb::Reset } else { Verb::Set }
}

/// `name TO value`, `name = value` and `name FROM CURRENT`.
fn generic(mut cursor: Cursor<'_>, scope: Scope) -> Classified {
    let Some(name) = parameter(&mut cursor) else { return (Verb::Set, None) };
    match cursor.shape().as_bytes() {
        b"to" | b"=" if !is_identity(&name) => {
            with_name(set_or_reset(scope, cursor), &name, scope, remainder(cursor))
        }
        b"to" | b"=" | b"from" => named(Verb::Set, &name, scope, remainder(cursor)),
        _ => named(Verb::Set, &name, scope, cursor.end()..cursor.end()),
    }
}

/// Reads what follows RESET.
pub(crate) fn reset(cursor: Cursor<'_>) -> Classified {
    let mut rest = cursor;
    let word = rest.shape();
    match (word.as_bytes(), rest.peek().as_bytes()) {
        (b"all", _) => (Verb::ResetAll, None),
        (b"session", b"authorization") => (Verb::ResetIdentity, None),
        _ => mentioned(Verb::Reset, cursor),
    }
}

/// Reads what follows SHOW.
pub(crate) fn show(cursor: Cursor<'_>) -> Classified {
    let mut rest = cursor;
    let word = rest.shape();
    let end = cursor.end();
    match (word.as_bytes(), rest.peek().as_bytes()) {
        (b"all", _) => (Verb::Show, None),
        (b"session", b"authorization") => {
            with_name(Verb::Show, "session_authorization", Scope::Session, end..end)
        }
        _ => mentioned(Verb::Show, cursor),
    }
}

/// A parameter without a value.
fn mentioned(verb: Verb, cursor: Cursor<'_>) -> Classified {
    let mut rest = cursor;
    let word = rest.shape();
    let end = cursor.end();
    match (word.as_bytes(), rest.peek().as_bytes()) {
        (b"time", b"zone") => with_name(verb, "timezone", Scope::Session, end..end),
        (b"transaction", b"isolation") => with_name(verb, "transaction_isolation", Scope::Session, end..end),
        _ => {
            rest = cursor;
            match parameter(&mut rest) {
                Some(name) => named(verb, &name, Scope::Session, end..end),
                None => (verb, None),
            }
        }
    }
}

fn with_name(verb: Verb, name: &str, scope: Scope, value: Range<usize>) -> Classified {
    (verb, Some(Setting { name: name.into(), local: scope == Scope::Local, value }))
}

fn is_identity(name: &str) -> bool {
    matches!(name, "role" | "session_authorization")
}

/// Role and session authorization are parameters too; changing them is not a matter of settings.
fn named(verb: Verb, name: &str, scope: Scope, value: Range<usize>) -> Classified {
    match (verb, name) {
        (Verb::Reset, "role" | "session_authorization") => (Verb::ResetIdentity, None),
        (Verb::Set, "role") => (Verb::SetRole, None),
        (Verb::Set, "session_authorization") => (Verb::SetSessionAuthorization, None),
        _ => with_name(verb, name, scope, value),
    }
}

/// `var_name`: identifiers joined by dots, in lower case.
fn parameter(cursor: &mut Cursor<'_>) -> Option<String> {
    let mut name = String::with_capacity(32);
    loop {
        let token = cursor.token()?;
        if !matches!(token.kind, Kind::Word | Kind::Quoted | Kind::UnicodeWord) {
            return None;
        }
        let part = identifier(cursor.lexer().slice(token), token.kind, *cursor);
        name.push_str(cut(&String::from_utf8_lossy(&part)));
        if token.kind == Kind::UnicodeWord && cursor.peek().as_bytes() == b"uescape" {
            cursor.token();
            cursor.token();
        }
        if cursor.peek().as_bytes() != b"." {
            name.make_ascii_lowercase();
            return Some(name);
        }
        cursor.token();
        name.push('.');
    }
}

pub(crate) fn cut(name: &str) -> &str {
    let end = (0..=MAX_IDENTIFIER.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
    name.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// From the next token to the end of the statement.
fn remainder(mut cursor: Cursor<'_>) -> Range<usize> {
    let end = cursor.end();
    cursor.token().map_or(end, |token| token.start)..end
}
