//! Tokens reduced to what keyword matching needs.

use crate::StringSyntax;
use crate::lexer::{Kind, Lexer, Token};

const LONGEST: usize = 16;

/// A token as a short byte string: a word in lower case (or nothing if longer than any keyword), `'` for a string
/// constant, `"` for a quoted identifier, `0` for a number or parameter, else the character itself.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Shape {
    const NOTHING: Self = Self { bytes: [0; LONGEST], length: 0 };

    pub(crate) fn of(kind: Kind, text: &[u8]) -> Self {
        match kind {
            Kind::Word | Kind::Semicolon | Kind::Open | Kind::Close | Kind::Sign => Self::lower(text),
            Kind::Quoted | Kind::UnicodeWord => Self::lower(b"\""),
            Kind::String(_) => Self::lower(b"'"),
            Kind::Number | Kind::Parameter => Self::lower(b"0"),
            Kind::End | Kind::Broken => Self::NOTHING,
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    pub(crate) fn lower(text: &[u8]) -> Self {
        let mut shape = Self::NOTHING;
        if text.len() <= LONGEST {
            for (target, byte) in shape.bytes.iter_mut().zip(text) {
                *target = byte.to_ascii_lowercase();
            }
            shape.length = text.len();
        }
        shape
    }
}

/// Walks over the tokens of one statement that was tokenised before; copying it is a look-ahead.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    lexer: Lexer<'a>,
}

impl<'a> Cursor<'a> {
    /// Reads `text[start..end]`; offsets stay those of the whole text.
    pub(crate) fn new(text: &'a [u8], start: usize, end: usize, strings: StringSyntax) -> Self {
        Self { lexer: Lexer::new(text.get(..end).unwrap_or_default(), start, strings) }
    }

    pub(crate) fn lexer(&self) -> &Lexer<'a> {
        &self.lexer
    }

    /// The next token. The statement was tokenised before, so that an error cannot happen; it would read as the end.
    pub(crate) fn token(&mut self) -> Option<Token> {
        self.lexer.next().ok().flatten()
    }

    /// The next token as a shape.
    pub(crate) fn next_shape(&mut self) -> Option<Shape> {
        self.token().map(|token| Shape::of(token.kind, self.lexer.slice(token)))
    }

    /// The next token as a shape; empty at the end.
    pub(crate) fn shape(&mut self) -> Shape {
        self.next_shape().unwrap_or(Shape::NOTHING)
    }

    /// The shape of the next token, which stays the next.
    pub(crate) fn peek(mut self) -> Shape {
        self.shape()
    }

    /// The offset behind the last token.
    pub(crate) fn position(&self) -> usize {
        self.lexer.at()
    }

    /// The same statement from the offset `start` on, which is between two tokens.
    pub(crate) fn behind(self, start: usize) -> Self {
        Self { lexer: Lexer::new(self.lexer.text(), start, self.lexer.strings()) }
    }

    /// The offset of the statement's end.
    pub(crate) fn end(&self) -> usize {
        self.lexer.text().len()
    }
}
