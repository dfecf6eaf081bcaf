//! The token of a transaction as SQL: `SET pgwarden.token = '…'`, `SELECT set_config('pgwarden.token', …, …)`.
//!
//! No server knows the setting; whoever reads these statements takes the token out.

use crate::assignment::{Assignment, Given, Lasting, assigned, assignments, called};
use crate::shape::Cursor;
use crate::{Setting, Statement, StringSyntax, Verb};

/// The setting's name.
const NAME: &str = "pgwarden.token";

impl Assignment {
    fn is_token(&self) -> bool {
        self.name.eq_ignore_ascii_case(NAME)
    }
}

/// Which token a statement of [`Verb::Token`] gives, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUse {
    /// The token.
    pub token: Given,
    /// For how long.
    pub lasting: Lasting,
}

/// Reads a statement of [`Verb::Token`].
#[must_use]
pub fn token_use(text: &[u8], statement: &Statement, strings: StringSyntax) -> Option<TokenUse> {
    let assigned =
        (statement.verb == Verb::Token).then(|| assignments(text, statement, strings)).flatten()?;
    let [Assignment { given, lasting, .. }] = assigned.as_slice() else { return None };
    Some(TokenUse { token: given.clone(), lasting: *lasting })
}

/// What a SET, a RESET or a query becomes if it does nothing but assign.
pub(crate) fn recognised(cursor: Cursor<'_>, verb: Verb, setting: Option<&Setting>) -> Verb {
    match (verb, setting) {
        (Verb::Set | Verb::Reset, Some(setting)) if &*setting.name == NAME => {
            if assigned(cursor, setting).is_some() { Verb::Token } else { verb }
        }
        (Verb::Query, None) => match called(cursor).as_deref() {
            Some([one]) if one.is_token() => Verb::Token,
            Some(all) if !all.iter().any(Assignment::is_token) => Verb::SetConfig,
            _ => verb,
        },
        _ => verb,
    }
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
