//! Every name and operator of a text, whatever it may stand for: what the server is asked about before something runs
//! that must have no effects.

use crate::lexer::{Kind, Lexer, Token};
use crate::literal::{identifier, take_uescape};
use crate::setting::cut;
use crate::shape::Cursor;
use crate::{LexError, StringSyntax};
use std::collections::BTreeSet;

/// The names of a text, as the server folds them, each part of a qualified one for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// All of them.
    pub names: BTreeSet<String>,
    /// Those in front of a parenthesis.
    pub called: BTreeSet<String>,
    /// Words that are not in quotes, nor behind a dot or AS: keywords, where they are such.
    pub words: BTreeSet<String>,
    /// The operators, and those that words stand for.
    pub operators: BTreeSet<String>,
}

/// What LIKE, BETWEEN, IN, DISTINCT and USING stand for.
const BEHIND_WORDS: [&str; 10] = ["=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*"];
/// The characters of operators (`scan.l`, `op_chars`).
const OPERATOR: &[u8] = b"~!@#^&|`?+-*/%<>=";

/// All that a text names: SQL, or the body of a function in SQL or PL/pgSQL.
///
/// # Errors
/// [`LexError`] when the text cannot be tokenised.
pub fn named(text: &str) -> Result<Named, LexError> {
    let mut lexer = Lexer::new(text.as_bytes(), 0, StringSyntax::Standard);
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    let mut named = Named { operators: BEHIND_WORDS.map(str::to_owned).into(), ..Named::default() };
    let mut operator: Option<(usize, String)> = None;
    for (index, token) in tokens.iter().enumerate() {
        let raw = lexer.slice(*token);
        if let (Kind::Sign, Some(sign)) = (token.kind, raw.first().filter(|sign| OPERATOR.contains(sign))) {
            operator = match operator.take() {
                Some((end, mut before)) if end == token.start => {
                    before.push(char::from(*sign));
                    Some((token.end, before))
                }
                before => {
                    named.operators.extend(before.map(|(_, operator)| operator));
                    Some((token.end, char::from(*sign).to_string()))
                }
            };
        }
        if matches!(token.kind, Kind::Word | Kind::Quoted | Kind::UnicodeWord) {
            let name = name_of(text.as_bytes(), *token, raw);
            let before = index.checked_sub(1).and_then(|before| tokens.get(before));
            let is_name =
                before.is_some_and(|before| matches!(lexer.slice(*before), b"." | b"as" | b"AS" | b"As"));
            if token.kind == Kind::Word && !is_name {
                named.words.insert(name.clone());
            }
            if tokens.get(index + 1).is_some_and(|next| next.kind == Kind::Open) {
                named.called.insert(name.clone());
            }
            named.names.insert(name);
        }
    }
    named.operators.extend(operator.map(|(_, operator)| operator));
    Ok(named)
}

/// The name as the server has it: folded to lower case unless it is in quotes, and cut to 63 bytes.
fn name_of(text: &[u8], token: Token, raw: &[u8]) -> String {
    let mut behind = Cursor::new(text, token.end, text.len(), StringSyntax::Standard);
    let name = identifier(raw, token.kind, behind);
    if token.kind == Kind::UnicodeWord {
        take_uescape(&mut behind);
    }
    let name = String::from_utf8_lossy(&name);
    let name = cut(&name);
    if token.kind == Kind::Word { name.to_ascii_lowercase() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn set(text: &str, of: impl Fn(Named) -> BTreeSet<String>) -> String {
        let named = named(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        of(named).into_iter().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_are_as_the_server_folds_them() {
        let names = |text| set(text, |named| named.names);
        assert_eq!(names("Select \"A b\".C FROM S.t"), "A b c from s select t");
        assert_eq!(names("'x' /* y */ $$ z $$ a"), "a");
        assert_eq!(names("U&\"d\\0061t\""), "dat");
    }

    #[test]
    fn what_is_called_stands_in_front_of_a_parenthesis() {
        let called = |text| set(text, |named| named.called);
        assert_eq!(called("SELECT F(a), \"G\" (b), h FROM s.i()"), "G f i");
        assert_eq!(called("BEGIN PERFORM pg_notify('a', 'b'); END"), "pg_notify");
    }

    #[test]
    fn operators_are_taken_together() {
        let own = |text| {
            set(text, |named| {
                named.operators.into_iter().filter(|one| !BEHIND_WORDS.contains(&one.as_str())).collect()
            })
        };
        assert_eq!(own("a @> b AND c ->> 'd' || e OPERATOR(s.+) f"), "+ ->> @> ||");
    }

    #[test]
    fn a_quoted_name_is_no_word() {
        let words = |text| set(text, |named| named.words);
        assert_eq!(words("\"current_user\" current_role"), "current_role");
        assert_eq!(words("t.user AS current_user"), "as t");
    }
}
