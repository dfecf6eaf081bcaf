//! Statements that do nothing but assign to settings: SET, RESET, and a SELECT of nothing but `set_config`.

use std::ops::Range;

use crate::lexer::{Kind, Literal};
use crate::literal::string_value;
use crate::shape::Cursor;
use crate::{Setting, Statement, StringSyntax, Verb};

/// One setting and what it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The setting's name, as written; PostgreSQL ignores its case.
    pub name: String,
    /// The value.
    pub given: Given,
    /// For how long.
    pub lasting: Lasting,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// In the text, as a string constant.
    Literal {
        /// What the constant means.
        value: Vec<u8>,
        /// The constant in the text, quotes and UESCAPE clause included.
        span: Range<usize>,
    },
    /// In the parameter of this number, counted from 1.
    Parameter(u16),
    /// Nowhere: the setting is reset.
    Nothing,
}

/// For how long an assignment counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// Until the transaction ends.
    Transaction,
    /// Until the session ends.
    Session,
    /// As the parameter of this number says, counted from 1: true for the transaction.
    Parameter(u16),
}

/// The assignments of a statement that does nothing else; `None` for any other, and where a value is neither a string
/// constant nor a parameter.
#[must_use]
pub fn assignments(text: &[u8], statement: &Statement, strings: StringSyntax) -> Option<Vec<Assignment>> {
    let cursor = Cursor::new(text, statement.span.start, statement.span.end, strings);
    match (statement.verb, &statement.setting) {
        (Verb::Set | Verb::Reset | Verb::Token, Some(setting)) => {
            assigned(cursor, setting).map(|one| vec![one])
        }
        (Verb::SetConfig | Verb::Token, None) => called(cursor),
        _ => None,
    }
}

/// `SET … = 'value'`, `SET … TO DEFAULT` and RESET.
pub(crate) fn assigned(cursor: Cursor<'_>, setting: &Setting) -> Option<Assignment> {
    let lasting = if setting.local { Lasting::Transaction } else { Lasting::Session };
    let mut value = cursor.behind(setting.value.start);
    let given = match value.peek().as_bytes() {
        b"" | b"default" => {
            value.token();
            Given::Nothing
        }
        _ => literal(&mut value)?,
    };
    value.token().is_none().then(|| Assignment { name: setting.name.to_string(), given, lasting })
}

/// `SELECT set_config(…), set_config(…)` and nothing behind it.
pub(crate) fn called(cursor: Cursor<'_>) -> Option<Vec<Assignment>> {
    let mut rest = cursor;
    expect(&mut rest, b"select")?;
    let mut all = vec![call(&mut rest)?];
    while rest.peek().as_bytes() == b"," {
        rest.token();
        all.push(call(&mut rest)?);
    }
    rest.token().is_none().then_some(all)
}

/// `[pg_catalog.]set_config('name', value, local) [[AS] alias]`.
fn call(cursor: &mut Cursor<'_>) -> Option<Assignment> {
    if cursor.peek().as_bytes() == b"pg_catalog" {
        cursor.token();
        expect(cursor, b".")?;
    }
    expect(cursor, b"set_config")?;
    expect(cursor, b"(")?;
    let Given::Literal { value: name, .. } = literal(cursor)? else { return None };
    cast(cursor)?;
    expect(cursor, b",")?;
    let given = match cursor.peek().as_bytes() {
        b"null" => {
            cursor.token();
            Given::Nothing
        }
        b"'" => literal(cursor)?,
        _ => Given::Parameter(parameter(cursor)?),
    };
    cast(cursor)?;
    expect(cursor, b",")?;
    let lasting = lasting(cursor)?;
    cast(cursor)?;
    expect(cursor, b")")?;
    alias(cursor)?;
    Some(Assignment { name: String::from_utf8(name).ok()?, given, lasting })
}

fn expect(cursor: &mut Cursor<'_>, shape: &[u8]) -> Option<()> {
    (cursor.shape().as_bytes() == shape).then_some(())
}

/// One string constant that is neither a bit string nor of a national character set.
fn literal(cursor: &mut Cursor<'_>) -> Option<Given> {
    let token = cursor.token()?;
    let Kind::String(literal) = token.kind else { return None };
    if matches!(literal, Literal::Bits | Literal::National) {
        return None;
    }
    let value = string_value(token, literal, cursor).into_owned();
    Some(Given::Literal { value, span: token.start..cursor.position().max(token.end) })
}

fn parameter(cursor: &mut Cursor<'_>) -> Option<u16> {
    let token = cursor.token()?;
    let digits = cursor.lexer().slice(token).strip_prefix(b"$")?;
    (token.kind == Kind::Parameter).then_some(())?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn lasting(cursor: &mut Cursor<'_>) -> Option<Lasting> {
    match cursor.peek().as_bytes() {
        b"true" => cursor.token().map(|_| Lasting::Transaction),
        b"false" => cursor.token().map(|_| Lasting::Session),
        _ => parameter(cursor).map(Lasting::Parameter),
    }
}

/// `::text`, `::varchar`, `::bool` and the like: one word, or `pg_catalog.` and one.
fn cast(cursor: &mut Cursor<'_>) -> Option<()> {
    while cursor.peek().as_bytes() == b":" {
        expect(cursor, b":")?;
        expect(cursor, b":")?;
        if cursor.peek().as_bytes() == b"pg_catalog" {
            cursor.token();
            expect(cursor, b".")?;
        }
        matches!(cursor.shape().as_bytes(), b"text" | b"varchar" | b"bool" | b"boolean").then_some(())?;
    }
    Some(())
}

/// `AS name`, `name` or nothing. A lone key word there is a syntax error of the server's.
fn alias(cursor: &mut Cursor<'_>) -> Option<()> {
    if matches!(cursor.peek().as_bytes(), b"," | b"") {
        return Some(());
    }
    if cursor.peek().as_bytes() == b"as" {
        cursor.token();
    }
    let token = cursor.token()?;
    matches!(token.kind, Kind::Word | Kind::Quoted).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyse;

    fn names(text: &str) -> Option<Vec<String>> {
        let script = analyse(text.as_bytes(), StringSyntax::Standard).expect("readable");
        let all = assignments(text.as_bytes(), script.single()?, StringSyntax::Standard)?;
        Some(all.into_iter().map(|one| one.name).collect())
    }

    #[test]
    fn all_assignments_of_a_statement_are_found() {
        let both = "SELECT set_config('app.a', $1, true) AS a, pg_catalog.set_config('app.b', 'x', $2)";
        assert_eq!(names(both), Some(vec!["app.a".to_owned(), "app.b".to_owned()]));
        assert_eq!(names("SET LOCAL app.a = 'x'"), Some(vec!["app.a".to_owned()]));
        assert_eq!(names("RESET app.a"), Some(vec!["app.a".to_owned()]));
    }

    #[test]
    fn a_statement_that_does_anything_else_has_none() {
        for text in [
            "SELECT set_config('app.a', $1, true), 1",
            "SELECT set_config('app.a', $1, true) FROM t",
            "SELECT set_config('app.a', x, true)",
            "SELECT set_config('app.a', 'x', true), set_config('pgwarden.token', 'x', true)",
            "SELECT 1",
            "SET app.a = 1",
        ] {
            assert_eq!(names(text), None, "{text}");
        }
    }
}
