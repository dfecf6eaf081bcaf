//! The token of a transaction as SQL: `SET pgwarden.token = '…'`, `SELECT set_config('pgwarden.token', …, …)`.
//!
//! No server knows the setting; whoever reads these statements takes the token out.

use std::ops::Range;

use crate::lexer::{Kind, Literal};
use crate::literal::string_value;
use crate::shape::Cursor;
use crate::{Setting, Statement, StringSyntax, Verb};

/// The setting's name.
pub(crate) const NAME: &str = "pgwarden.token";

/// Which token a statement of [`Verb::Token`] gives, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUse {
    /// The token.
    pub token: Given,
    /// For how long.
    pub lasting: Lasting,
}

/// Where a token stands.
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

/// For how long a token counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// Until the transaction ends.
    Transaction,
    /// Until the session ends.
    Session,
    /// As the parameter of this number says, counted from 1: true for the transaction.
    Parameter(u16),
}

/// Reads a statement of [`Verb::Token`].
#[must_use]
pub fn token_use(text: &[u8], statement: &Statement, strings: StringSyntax) -> Option<TokenUse> {
    if statement.verb != Verb::Token {
        return None;
    }
    let cursor = Cursor::new(text, statement.span.start, statement.span.end, strings);
    match &statement.setting {
        Some(setting) => assigned(cursor, setting),
        None => called(cursor),
    }
}

/// What a SET, RESET or a SELECT of `set_config` becomes if it is about the token and says nothing else.
pub(crate) fn recognised(cursor: Cursor<'_>, verb: Verb, setting: Option<&Setting>) -> Verb {
    let read = match (verb, setting) {
        (Verb::Set | Verb::Reset, Some(setting)) if &*setting.name == NAME => assigned(cursor, setting),
        (Verb::Query, None) => called(cursor),
        _ => None,
    };
    if read.is_some() { Verb::Token } else { verb }
}

/// `SET … = 'token'`, `SET … TO DEFAULT` and RESET.
fn assigned(cursor: Cursor<'_>, setting: &Setting) -> Option<TokenUse> {
    let lasting = if setting.local { Lasting::Transaction } else { Lasting::Session };
    let mut value = cursor.behind(setting.value.start);
    let token = match value.peek().as_bytes() {
        b"" | b"default" => Given::Nothing,
        _ => literal(&mut value)?,
    };
    if token == Given::Nothing {
        value.token();
    }
    value.token().is_none().then_some(TokenUse { token, lasting })
}

/// `SELECT [pg_catalog.]set_config('pgwarden.token', value, local) [[AS] name]`, and nothing behind it.
fn called(cursor: Cursor<'_>) -> Option<TokenUse> {
    let mut rest = cursor;
    expect(&mut rest, b"select")?;
    if rest.peek().as_bytes() == b"pg_catalog" {
        rest.token();
        expect(&mut rest, b".")?;
    }
    expect(&mut rest, b"set_config")?;
    expect(&mut rest, b"(")?;
    let Given::Literal { value: name, .. } = literal(&mut rest)? else { return None };
    cast(&mut rest)?;
    expect(&mut rest, b",")?;
    let token = match rest.peek().as_bytes() {
        b"null" => {
            rest.token();
            Given::Nothing
        }
        b"'" => literal(&mut rest)?,
        _ => Given::Parameter(parameter(&mut rest)?),
    };
    cast(&mut rest)?;
    expect(&mut rest, b",")?;
    let lasting = lasting(&mut rest)?;
    cast(&mut rest)?;
    expect(&mut rest, b")")?;
    alias(&mut rest)?;
    (name.eq_ignore_ascii_case(NAME.as_bytes())).then_some(TokenUse { token, lasting })
}

fn expect(cursor: &mut Cursor<'_>, shape: &[u8]) -> Option<()> {
    (cursor.shape().as_bytes() == shape).then_some(())
}

/// One string constant that is not a bit string.
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

/// `AS name`, `name` or nothing, up to the end. A lone key word there is a syntax error of the server's.
fn alias(cursor: &mut Cursor<'_>) -> Option<()> {
    if cursor.peek().as_bytes() == b"as" {
        cursor.token();
    }
    if let Some(token) = cursor.token() {
        matches!(token.kind, Kind::Word | Kind::Quoted).then_some(())?;
    }
    cursor.token().is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyse;

    fn used(text: &str) -> Option<TokenUse> {
        let script = analyse(text.as_bytes(), StringSyntax::Standard).expect("readable");
        script
            .statements()
            .iter()
            .find_map(|statement| token_use(text.as_bytes(), statement, StringSyntax::Standard))
    }

    fn literal(text: &str, quoted: &str, lasting: Lasting) {
        let span = text.find(quoted).map(|start| start..start + quoted.len()).expect("quoted");
        let token = Given::Literal { value: b"abc".to_vec(), span };
        assert_eq!(used(text), Some(TokenUse { token, lasting }), "{text}");
    }

    #[test]
    fn tokens_in_set_are_found_with_their_place() {
        literal("SET pgwarden.token = 'abc'", "'abc'", Lasting::Session);
        literal("set session PGWARDEN.Token to E'a\\142c';", "E'a\\142c'", Lasting::Session);
        literal(
            "SELECT 1; SET LOCAL \"pgwarden\".token TO $$abc$$ ; SELECT 2",
            "$$abc$$",
            Lasting::Transaction,
        );
        literal(
            "SET LOCAL pgwarden.token = U&'!0061bc' UESCAPE '!'",
            "U&'!0061bc' UESCAPE '!'",
            Lasting::Transaction,
        );
    }

    #[test]
    fn tokens_in_set_config_are_found_with_their_place() {
        literal("SELECT set_config('pgwarden.token', 'abc', true)", "'abc'", Lasting::Transaction);
        literal(
            "select pg_catalog.set_config('PGWARDEN.TOKEN'::text,'abc'::varchar,false) as x",
            "'abc'",
            Lasting::Session,
        );
        let parameter = |number, lasting| Some(TokenUse { token: Given::Parameter(number), lasting });
        assert_eq!(
            used("SELECT set_config('pgwarden.token', $1, true) AS \"set_config\""),
            parameter(1, Lasting::Transaction)
        );
        assert_eq!(
            used("SELECT set_config('pgwarden.token', $2::text, $1::bool)"),
            parameter(2, Lasting::Parameter(1))
        );
    }

    #[test]
    fn the_token_can_be_taken_back() {
        let nothing = |lasting| Some(TokenUse { token: Given::Nothing, lasting });
        assert_eq!(used("RESET pgwarden.token"), nothing(Lasting::Session));
        assert_eq!(used("SET pgwarden.token TO DEFAULT"), nothing(Lasting::Session));
        assert_eq!(used("SET LOCAL pgwarden.token = DEFAULT"), nothing(Lasting::Transaction));
        assert_eq!(used("SELECT set_config('pgwarden.token', NULL, true)"), nothing(Lasting::Transaction));
    }

    #[test]
    fn whatever_says_more_is_not_about_the_token_alone() {
        for text in [
            "SELECT set_config('pgwarden.token', 'a', true), 1",
            "SELECT set_config('pgwarden.token', 'a' || 'b', true)",
            "SELECT set_config('pgwarden.token', 'a', true) FROM t",
            "SELECT set_config('pgwarden.' || 'token', 'a', true)",
            "SELECT set_config('app.x', 'a', true)",
            "SELECT set_config($1, 'a', true)",
            "SET pgwarden.token = 'a', 'b'",
            "SET pgwarden.token FROM CURRENT",
            "SET pgwarden.tokens = 'a'",
            "SHOW pgwarden.token",
            "PREPARE x AS SELECT set_config('pgwarden.token', $1, true)",
        ] {
            assert_eq!(used(text), None, "{text}");
        }
    }
}
