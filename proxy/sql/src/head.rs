//! The two statements in which a `;` does not end the statement.
//!
//! `CREATE RULE … DO (a; b)` (gram.y, `RuleActionMulti`) and `CREATE FUNCTION … BEGIN ATOMIC a; b; END` (gram.y,
//! `routine_body`; psql's `psqlscan.l` counts `begin`, `case` and `end` in the same way). In the second, CASE and END
//! may also be column labels, so that counting can go wrong. Three rules keep a wrong count from hiding anything:
//! a label behind AS or a dot is not counted, nor is a CASE behind a value; a body statement that starts with
//! anything but a query ends the body, because PostgreSQL accepts only queries there (`interpret_AS_clause`,
//! `src/backend/commands/functioncmds.c`); and a body that is open at the end of the text is an error.

use crate::lexer::{Kind, Token};
use crate::shape::Shape;

/// What is known about the statement from its first words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// Nothing special.
    Settled,
    /// `CREATE [OR REPLACE]`, and the next word decides.
    Create,
    /// CREATE RULE.
    Rule,
    /// CREATE FUNCTION or PROCEDURE, outside a `BEGIN ATOMIC` body.
    Routine(Previous),
    /// Inside the body, with the number of open CASE … END.
    Body(Previous, usize),
}

/// The token before, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Previous {
    Begin,
    /// ATOMIC or `;`: a body statement starts here.
    Start,
    /// AS or a dot: what follows is a name.
    Label,
    /// Something that ends an expression.
    Value,
    Any,
}

/// What to do with the token just seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Continue,
    /// The body ended at the last `;`, this token starts another statement.
    Split,
}

impl Head {
    pub(crate) fn first(kind: Kind, text: &[u8]) -> Self {
        if kind == Kind::Word && text.eq_ignore_ascii_case(b"create") { Self::Create } else { Self::Settled }
    }

    /// Takes the next token of the statement, which is not a `;`, at the given depth of parentheses.
    pub(crate) fn step(&mut self, token: Token, text: &[u8], depth: usize) -> Step {
        let shape = Shape::of(token.kind, text);
        match *self {
            Self::Settled | Self::Rule => {}
            Self::Create => *self = Self::created(shape.as_bytes()),
            Self::Routine(previous) => *self = Self::routine(previous, shape.as_bytes(), depth),
            Self::Body(Previous::Start, _) if !starts_body_statement(shape.as_bytes()) => return Step::Split,
            Self::Body(previous, cases) => *self = Self::body(previous, cases, token.kind, shape.as_bytes()),
        }
        Step::Continue
    }

    /// Whether a `;` at this depth stays inside the statement.
    pub(crate) fn holds_semicolon(self, depth: usize) -> bool {
        match self {
            Self::Settled | Self::Create | Self::Routine(_) => false,
            Self::Rule => depth > 0,
            Self::Body(..) => true,
        }
    }

    /// Takes a `;` inside the statement.
    pub(crate) fn semicolon(&mut self) {
        if let Self::Body(previous, _) = self {
            *previous = Previous::Start;
        }
    }

    fn created(word: &[u8]) -> Self {
        match word {
            b"or" | b"replace" => Self::Create,
            b"function" | b"procedure" => Self::Routine(Previous::Any),
            b"rule" => Self::Rule,
            _ => Self::Settled,
        }
    }

    fn routine(previous: Previous, word: &[u8], depth: usize) -> Self {
        match (previous, word) {
            (Previous::Begin, b"atomic") => Self::Body(Previous::Start, 0),
            (_, b"begin") if depth == 0 => Self::Routine(Previous::Begin),
            _ => Self::Routine(Previous::Any),
        }
    }

    fn body(previous: Previous, cases: usize, kind: Kind, word: &[u8]) -> Self {
        match (word, previous) {
            (b"end", Previous::Label) | (b"case", Previous::Label | Previous::Value) => {
                Self::Body(Previous::Value, cases)
            }
            (b"case", _) => Self::Body(Previous::Any, cases + 1),
            (b"end", _) => match cases.checked_sub(1) {
                Some(cases) => Self::Body(Previous::Value, cases),
                None => Self::Settled,
            },
            (b"as" | b".", _) => Self::Body(Previous::Label, cases),
            (b")" | b"]", _) => Self::Body(Previous::Value, cases),
            _ => Self::Body(if is_value(kind) { Previous::Value } else { Previous::Any }, cases),
        }
    }
}

fn is_value(kind: Kind) -> bool {
    matches!(kind, Kind::Quoted | Kind::UnicodeWord | Kind::String(_) | Kind::Number | Kind::Parameter)
}

fn starts_body_statement(word: &[u8]) -> bool {
    matches!(
        word,
        b"select"
            | b"insert"
            | b"update"
            | b"delete"
            | b"merge"
            | b"values"
            | b"table"
            | b"with"
            | b"return"
            | b"end"
            | b"("
    )
}
