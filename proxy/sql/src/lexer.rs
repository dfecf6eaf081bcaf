//! The tokens of PostgreSQL's lexical grammar (`src/backend/parser/scan.l`).
//!
//! Two deliberate differences, neither of which moves the border of a literal, comment or identifier in a text that
//! PostgreSQL accepts:
//!
//! - operators come out one character at a time. A comment start inside a run of operator characters ends the
//!   operator, as in PostgreSQL;
//! - a number is its leading digits. What follows is read as PostgreSQL 14 reads it (`1from` is `1` and `from`,
//!   `1e$$` is `1` and the identifier `e$$`); 15 and later reject such texts.

use crate::LexError;
use crate::bytes::{Class, class, continues_word};

/// How a backslash reads inside a plain `'…'` literal (`standard_conforming_strings`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StringSyntax {
    /// A backslash is an ordinary character, `standard_conforming_strings = on`.
    Standard,
    /// A backslash starts an escape sequence, `standard_conforming_strings = off`.
    Backslash,
}

impl StringSyntax {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Standard => Self::Backslash,
            Self::Backslash => Self::Standard,
        }
    }
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An unquoted identifier or keyword.
    Word,
    /// `"…"`
    Quoted,
    /// `U&"…"`
    UnicodeWord,
    /// Any string constant.
    String(Literal),
    /// The digits at the start of a number.
    Number,
    /// `$1`
    Parameter,
    Semicolon,
    Open,
    Close,
    /// Any other single character.
    Sign,
    /// There are no more tokens.
    End,
    /// The text cannot be tokenised from here on.
    Broken,
}

/// The kinds of string constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Literal {
    /// `'…'`
    Plain,
    /// `N'…'`
    National,
    /// `E'…'`
    Escape,
    /// `U&'…'`
    Unicode,
    /// `B'…'` and `X'…'`
    Bits,
    /// `$tag$…$tag$`
    Dollar,
}

/// One token and where it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A position in a text; copying it is a look-ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    /// The start of the last token.
    start: usize,
    /// The end of the last token.
    at: usize,
    strings: StringSyntax,
    backslash: Option<usize>,
    error: Option<LexError>,
}

impl<'a> Lexer<'a> {
    /// Reads `text` from the byte `at` on.
    pub(crate) fn new(text: &'a [u8], at: usize, strings: StringSyntax) -> Self {
        Self { text, start: at, at, strings, backslash: None, error: None }
    }

    /// The first backslash in a plain literal so far.
    pub(crate) fn backslash(&self) -> Option<usize> {
        self.backslash
    }

    /// The text this reads, from its first byte on.
    pub(crate) fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The end of the last token.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn strings(&self) -> StringSyntax {
        self.strings
    }

    /// The bytes of a token.
    pub(crate) fn slice(&self, token: Token) -> &'a [u8] {
        self.text.get(token.start..token.end).unwrap_or_default()
    }

    /// The next token, or `None` at the end of the text.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Token>, LexError> {
        match (self.advance(), self.error) {
            (Kind::Broken, Some(error)) => Err(error),
            (Kind::End | Kind::Broken, _) => Ok(None),
            (kind, _) => Ok(Some(Token { kind, start: self.start, end: self.at })),
        }
    }

    /// Moves over the next token. A byte as the result, and the rest left in fields, is what makes this fast.
    fn advance(&mut self) -> Kind {
        loop {
            while self.byte(self.at) == Some(b' ') {
                self.at += 1;
            }
            let start = self.at;
            let Some(&byte) = self.text.get(start) else { return Kind::End };
            self.start = start;
            let class = class(byte);
            // The most frequent one: a branch of its own is easier to predict than a jump table.
            if matches!(class, Class::Letter) {
                return self.word(start + 1);
            }
            return match class {
                Class::Space => {
                    self.at = start + 1;
                    continue;
                }
                Class::Letter => self.word(start + 1),
                Class::Prefix => self.prefixed(start, byte),
                Class::Minus if self.byte(start + 1) == Some(b'-') => {
                    self.at = line_end(self.text, start + 2);
                    continue;
                }
                Class::Slash if self.byte(start + 1) == Some(b'*') => match self.comment(start) {
                    Some(end) => {
                        self.at = end;
                        continue;
                    }
                    None => self.broken(LexError::UnterminatedComment { at: start }),
                },
                Class::Digit => self.digits(start + 1, Kind::Number),
                Class::Quote => self.string(start, start + 1, Literal::Plain),
                Class::DoubleQuote => self.quoted(start, start + 1, Kind::Quoted),
                Class::Dollar => self.dollar(start),
                Class::Semicolon => self.sign(start, Kind::Semicolon),
                Class::Open => self.sign(start, Kind::Open),
                Class::Close => self.sign(start, Kind::Close),
                Class::Minus | Class::Slash | Class::Sign => self.sign(start, Kind::Sign),
            };
        }
    }

    #[cold]
    fn broken(&mut self, error: LexError) -> Kind {
        self.error = Some(error);
        Kind::Broken
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    fn rest(&self, at: usize) -> &'a [u8] {
        self.text.get(at..).unwrap_or_default()
    }

    fn sign(&mut self, start: usize, kind: Kind) -> Kind {
        self.at = start + 1;
        kind
    }

    fn word(&mut self, from: usize) -> Kind {
        let rest = self.rest(from);
        self.at = from + rest.iter().position(|byte| !continues_word(*byte)).unwrap_or(rest.len());
        Kind::Word
    }

    fn digits(&mut self, from: usize, kind: Kind) -> Kind {
        let rest = self.rest(from);
        self.at = from + rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        kind
    }

    /// A word that starts with a letter which may be the prefix of a literal: `b e n u x`.
    fn prefixed(&mut self, start: usize, letter: u8) -> Kind {
        let literal = match (self.byte(start + 1), letter | 0x20) {
            (Some(b'\''), b'e') => Literal::Escape,
            (Some(b'\''), b'b' | b'x') => Literal::Bits,
            (Some(b'\''), b'n') => Literal::National,
            (Some(b'&'), b'u') => {
                return match self.byte(start + 2) {
                    Some(b'\'') => self.string(start, start + 3, Literal::Unicode),
                    Some(b'"') => self.quoted(start, start + 3, Kind::UnicodeWord),
                    _ => self.word(start + 1),
                };
            }
            _ => return self.word(start + 1),
        };
        self.string(start, start + 2, literal)
    }

    /// A string constant whose content starts at `from`, with all its continuations on later lines.
    fn string(&mut self, start: usize, from: usize, literal: Literal) -> Kind {
        let mut next = Some(from);
        while let Some(at) = next {
            let Some(end) = self.segment(at, literal) else {
                return self.broken(LexError::UnterminatedString { at: start });
            };
            self.at = end;
            next = continuation(self.text, end);
        }
        Kind::String(literal)
    }

    /// The offset behind the quote that closes the segment starting at `from`.
    fn segment(&mut self, from: usize, literal: Literal) -> Option<usize> {
        let mut at = from;
        loop {
            at += self.rest(at).iter().position(|byte| matches!(byte, b'\'' | b'\\'))?;
            if self.byte(at) == Some(b'\\') {
                at += self.backslash_at(at, literal);
            } else if literal != Literal::Bits && self.byte(at + 1) == Some(b'\'') {
                at += 2;
            } else {
                return Some(at + 1);
            }
        }
    }

    /// How many bytes a backslash at `at` takes, noting it where that depends on a setting.
    fn backslash_at(&mut self, at: usize, literal: Literal) -> usize {
        if matches!(literal, Literal::Plain | Literal::National) {
            self.backslash = self.backslash.or(Some(at));
        }
        if escapes(literal, self.strings) { 2 } else { 1 }
    }

    fn quoted(&mut self, start: usize, from: usize, kind: Kind) -> Kind {
        let mut at = from;
        while let Some(quote) = self.rest(at).iter().position(|byte| *byte == b'"') {
            at += quote + 1;
            if self.byte(at) != Some(b'"') {
                self.at = at;
                return kind;
            }
            at += 1;
        }
        self.broken(LexError::UnterminatedIdentifier { at: start })
    }

    /// `$1`, `$tag$…$tag$` or a lone `$`.
    fn dollar(&mut self, start: usize) -> Kind {
        let Some(delimiter) = dollar_delimiter(self.rest(start)) else {
            return match self.byte(start + 1) {
                Some(b'0'..=b'9') => self.digits(start + 2, Kind::Parameter),
                _ => self.sign(start, Kind::Sign),
            };
        };
        let mut at = start + delimiter.len();
        while let Some(dollar) = self.rest(at).iter().position(|byte| *byte == b'$') {
            at += dollar;
            if self.rest(at).starts_with(delimiter) {
                self.at = at + delimiter.len();
                return Kind::String(Literal::Dollar);
            }
            at += 1;
        }
        self.broken(LexError::UnterminatedDollar { at: start })
    }

    /// The offset behind a block comment and those nested in it.
    fn comment(&self, start: usize) -> Option<usize> {
        let mut at = start + 2;
        let mut depth = 1_usize;
        while depth > 0 {
            at += self.rest(at).iter().position(|byte| matches!(byte, b'*' | b'/'))?;
            match (self.byte(at), self.byte(at + 1)) {
                (Some(b'*'), Some(b'/')) => depth -= 1,
                (Some(b'/'), Some(b'*')) => depth += 1,
                _ => {
                    at += 1;
                    continue;
                }
            }
            at += 2;
        }
        Some(at)
    }
}

/// Whether a backslash starts an escape sequence in such a literal.
pub(crate) fn escapes(literal: Literal, strings: StringSyntax) -> bool {
    match literal {
        Literal::Escape => true,
        Literal::Plain | Literal::National => strings == StringSyntax::Backslash,
        Literal::Unicode | Literal::Bits | Literal::Dollar => false,
    }
}

/// The opening delimiter of a dollar-quoted string at the start of `text` (`dolqdelim` in scan.l).
pub(crate) fn dollar_delimiter(text: &[u8]) -> Option<&[u8]> {
    let tag = text.get(1..)?;
    if tag.first()?.is_ascii_digit() {
        return None;
    }
    let length = tag.iter().position(|byte| *byte == b'$' || !continues_word(*byte))?;
    if tag.get(length) != Some(&b'$') {
        return None;
    }
    text.get(..length + 2)
}

/// Where a string constant goes on, if a quote follows `at` after white space with a line break in it
/// (`quotecontinue` in scan.l).
pub(crate) fn continuation(text: &[u8], mut at: usize) -> Option<usize> {
    let mut new_line = false;
    loop {
        match text.get(at)? {
            b'\n' | b'\r' => new_line = true,
            b' ' | b'\t' | 0x0b | 0x0c => {}
            b'-' if text.get(at + 1) == Some(&b'-') => {
                at = line_end(text, at + 2);
                continue;
            }
            b'\'' if new_line => return Some(at + 1),
            _ => return None,
        }
        at += 1;
    }
}

/// The offset of the line break that ends a `--` comment; a carriage return is one too.
fn line_end(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len())
}
