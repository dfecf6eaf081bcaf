//! Which parameters the calls of `set_config` in a statement name.

use crate::lexer::{Kind, Literal};
use crate::literal::{identifier, string_value, take_uescape};
use crate::shape::Cursor;
use crate::{Marks, Statement, StringSyntax};

/// The first argument of one `set_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetConfigTarget {
    /// The parameter's name as written; PostgreSQL ignores its case.
    Literal(String),
    /// Anything that is not a plain string constant, or a use of the name that is not a call.
    Dynamic,
}

/// The target of each `set_config` in the statement, in order.
///
/// A target is a [`SetConfigTarget::Literal`] only if the first argument is exactly one string constant, optionally cast
/// to `text`, or the name that `pg_settings` is asked for. `N'…'` is of type `character`, whose trailing blanks disappear in the cast to `text`: dynamic.
#[must_use]
pub fn set_config_targets(text: &[u8], statement: &Statement, strings: StringSyntax) -> Vec<SetConfigTarget> {
    let mut cursor = Cursor::new(text, statement.span.start, statement.span.end, strings);
    let mut targets = Vec::new();
    while let Some(token) = cursor.token() {
        if !matches!(token.kind, Kind::Word | Kind::Quoted | Kind::UnicodeWord) {
            continue;
        }
        let name = identifier(cursor.lexer().slice(token), token.kind, cursor);
        if Marks::of_name(&name).contains(Marks::SET_CONFIG) {
            targets.push(target(cursor, token.kind).unwrap_or(SetConfigTarget::Dynamic));
        }
    }
    targets
}

/// Whether every `set_config` in the statement is one for the transaction alone: its last argument is the word `true`.
#[must_use]
pub fn set_config_is_local(text: &[u8], statement: &Statement, strings: StringSyntax) -> bool {
    let mut cursor = Cursor::new(text, statement.span.start, statement.span.end, strings);
    while let Some(token) = cursor.token() {
        if !matches!(token.kind, Kind::Word | Kind::Quoted | Kind::UnicodeWord) {
            continue;
        }
        let name = identifier(cursor.lexer().slice(token), token.kind, cursor);
        if Marks::of_name(&name).contains(Marks::SET_CONFIG) && !ends_with_true(cursor) {
            return false;
        }
    }
    true
}

/// Whether the arguments that follow end with `, true`.
fn ends_with_true(mut cursor: Cursor<'_>) -> bool {
    let (mut depth, mut before, mut last) = (0_u32, cursor.peek(), cursor.peek());
    while let Some(shape) = cursor.next_shape() {
        match shape.as_bytes() {
            b"(" => depth += 1,
            b")" if depth <= 1 => return before.as_bytes() == b"," && last.as_bytes() == b"true",
            b")" => depth -= 1,
            _ => (),
        }
        (before, last) = (last, shape);
    }
    false
}

pub(crate) fn target(mut cursor: Cursor<'_>, name: Kind) -> Option<SetConfigTarget> {
    if name == Kind::UnicodeWord {
        take_uescape(&mut cursor);
    }
    if cursor.shape().as_bytes() != b"(" {
        return None;
    }
    if cursor.peek().as_bytes() == b"name" {
        return listed(cursor);
    }
    let literal = literal(&mut cursor)?;
    if cursor.peek().as_bytes() == b":" {
        skip_text_cast(&mut cursor)?;
    }
    (cursor.shape().as_bytes() == b",").then_some(literal)
}

/// How `pg_dump` sets a parameter that not every server has: `set_config(name, '…', false) FROM pg_settings WHERE
/// name = '…'`, and nothing behind it.
fn listed(mut cursor: Cursor<'_>) -> Option<SetConfigTarget> {
    const BETWEEN: [&[u8]; 11] =
        [b"name", b",", b"'", b",", b"false", b")", b"from", b"pg_settings", b"where", b"name", b"="];
    for expected in BETWEEN {
        (cursor.shape().as_bytes() == expected).then_some(())?;
    }
    let literal = literal(&mut cursor)?;
    cursor.token().is_none().then_some(literal)
}

fn literal(cursor: &mut Cursor<'_>) -> Option<SetConfigTarget> {
    let token = cursor.token()?;
    let value = match token.kind {
        Kind::String(Literal::Bits | Literal::National) => return None,
        Kind::String(literal) => string_value(token, literal, cursor),
        _ => return None,
    };
    String::from_utf8(value.into_owned()).ok().map(SetConfigTarget::Literal)
}

/// `::text` and `::pg_catalog.text`.
fn skip_text_cast(cursor: &mut Cursor<'_>) -> Option<()> {
    for expected in [b":", b":"] {
        (cursor.shape().as_bytes() == expected).then_some(())?;
    }
    let mut name = cursor.shape();
    if name.as_bytes() == b"pg_catalog" {
        (cursor.shape().as_bytes() == b".").then_some(())?;
        name = cursor.shape();
    }
    (name.as_bytes() == b"text").then_some(())
}
