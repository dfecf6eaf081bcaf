//! A statement without its literals, and a number for all statements that differ in nothing else.
//!
//! Constants and parameters are places, comments are gone, names are folded as PostgreSQL folds them, and lists of
//! constants and rows of VALUES count once. So a text, and what `pg_stat_statements` shows of it, have one fingerprint,
//! although that module replaces constants by the parse tree (`fill_in_constant_lengths`), and this one by tokens. What
//! follows from the difference:
//!
//! - a minus in front of a constant counts for nothing: the grammar makes it a part of the constant (`doNegate`);
//! - `TRUE`, `FALSE` and `NULL` are constants except behind IS, and so are `LIMIT ALL` and the field of EXTRACT;
//! - `DATE'…'` becomes `DATE$1` there, one word: the end of a word from `$` and digits on is a place.

use crate::StringSyntax;
use crate::lexer::{Kind, Lexer, Literal, Token};
use crate::shape::Shape;
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

mod constants;
mod spacing;

/// A place in the text, before the places are numbered: no byte of a token in PostgreSQL's grammar.
const PLACE: u8 = 1;

/// Bytes of memory that are kept between statements, at most.
const MOST_KEPT: usize = 64 * 1024;

/// Reads statements; keeps its memory between them.
#[derive(Debug, Default)]
pub struct Normaliser {
    text: Vec<u8>,
    /// The places that had a minus in front which may be an operator: for people.
    subtracted: Vec<usize>,
}

/// What stands in front of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// A word that is no reserved keyword, or a quoted name.
    Name,
    Keyword,
    Place,
    /// One character, and where it ends in the source.
    Sign(u8, usize),
}

/// Rows of VALUES, or of an IN list.
#[derive(Debug, Clone, Copy)]
struct Rows {
    /// The parentheses around a row's own.
    depth: usize,
    /// Where this row begins.
    start: usize,
    /// The row in front.
    previous: Option<(usize, usize)>,
}

impl Normaliser {
    /// Reads one statement; its fingerprint, or `None` where it cannot be tokenised.
    pub fn read(&mut self, text: &[u8], strings: StringSyntax) -> Option<u64> {
        if self.text.capacity() > MOST_KEPT {
            self.text = Vec::new();
        }
        self.text.clear();
        self.subtracted.clear();
        let lexer = Lexer::new(text, 0, strings);
        let mut reader = Reader {
            lexer,
            out: self,
            before: Before::Nothing,
            words: [Shape::of(Kind::End, b""); 2],
            depth: 0,
            rows: None,
        };
        reader.all()?;
        let mut hasher = SipHasher13::new();
        hasher.write(&self.text);
        Some(hasher.finish())
    }

    /// The statement that was read last, its places numbered from `$1` on; `None` where it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let mut text = Vec::with_capacity(self.text.len() + 16);
        let mut number = 0_usize;
        for (at, byte) in self.text.iter().enumerate() {
            if *byte == PLACE {
                number += 1;
                let sign = if self.subtracted.contains(&at) { "- " } else { "" };
                text.extend_from_slice(format!("{sign}${number}").as_bytes());
            } else {
                text.push(*byte);
            }
        }
        String::from_utf8(text).ok()
    }
}

/// A fingerprint as it is written: 16 hexadecimal digits.
#[must_use]
pub fn fingerprint(number: u64) -> String {
    format!("{number:016x}")
}

struct Reader<'a, 'o> {
    lexer: Lexer<'a>,
    out: &'o mut Normaliser,
    before: Before,
    /// The last two words, the later one first; other tokens between them do not count.
    words: [Shape; 2],
    depth: usize,
    rows: Option<Rows>,
}

impl<'a> Reader<'a, '_> {
    fn all(&mut self) -> Option<()> {
        while let Some(token) = self.lexer.next().ok()? {
            match token.kind {
                Kind::Word => self.word(token),
                Kind::Quoted | Kind::UnicodeWord => self.quoted(self.lexer.slice(token)),
                Kind::String(Literal::National) => {
                    self.push(b"n", Before::Name);
                    self.place();
                }
                Kind::String(_) | Kind::Parameter => self.place(),
                Kind::Number => self.number(token.end),
                Kind::Semicolon => self.semicolon(token),
                Kind::Open => self.open(token),
                Kind::Close => self.close(token),
                Kind::Sign => self.sign(token),
                Kind::End | Kind::Broken => (),
            }
        }
        Some(())
    }

    /// Writes a token with what stands between it and the one in front.
    fn push(&mut self, bytes: &[u8], what: Before) {
        if spacing::is_apart(self.before, what) {
            self.out.text.push(b' ');
        }
        self.out.text.extend_from_slice(bytes);
        self.before = what;
    }

    fn place(&mut self) {
        self.push(&[PLACE], Before::Place);
        self.words = [Shape::of(Kind::End, b""), self.words[0]];
    }

    fn word(&mut self, token: Token) {
        let whole = self.lexer.slice(token);
        let (bytes, has_place) = constants::without_place(whole);
        let shape = Shape::lower(bytes);
        if constants::is_constant(
            shape.as_bytes(),
            [self.words[0].as_bytes(), self.words[1].as_bytes()],
            self.before,
        ) {
            return self.place();
        }
        let what = if spacing::is_reserved(shape.as_bytes()) { Before::Keyword } else { Before::Name };
        if spacing::is_apart(self.before, what) {
            self.out.text.push(b' ');
        }
        self.out.text.extend(bytes.iter().map(u8::to_ascii_lowercase));
        self.before = what;
        self.words = [shape, self.words[0]];
        if has_place {
            self.place();
        }
    }

    /// A quoted name that says the same without quotes loses them.
    fn quoted(&mut self, raw: &[u8]) {
        let content = raw.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        let plain = content.filter(|name| spacing::is_plain_name(name));
        match plain {
            Some(name) => self.push(name, Before::Name),
            None => {
                let shown: Vec<u8> =
                    raw.iter().map(|byte| if *byte == PLACE { b'?' } else { *byte }).collect();
                self.push(&shown, Before::Name);
            }
        }
        self.words = [Shape::of(Kind::End, b""), self.words[0]];
    }

    fn number(&mut self, end: usize) {
        self.go_on_at(constants::end_of_number(self.lexer.text(), end));
        self.place();
    }

    fn go_on_at(&mut self, at: usize) {
        self.lexer = Lexer::new(self.lexer.text(), at, self.lexer.strings());
    }

    fn semicolon(&mut self, token: Token) {
        let mut ahead = self.lexer;
        if matches!(ahead.next(), Ok(Some(_))) {
            self.push(b";", Before::Sign(b';', token.end));
        }
    }

    fn open(&mut self, token: Token) {
        let word = self.words[0];
        let last = word.as_bytes();
        let behind_in = last == b"in" && self.before == Before::Keyword;
        if behind_in && self.list(b')', token, b'(') {
            return;
        }
        let begins = last == b"values" && matches!(self.before, Before::Name | Before::Keyword);
        let within = last == b"in" && self.before == Before::Sign(b'(', token.start);
        self.push(b"(", Before::Sign(b'(', token.end));
        let start = self.out.text.len();
        match &mut self.rows {
            None if begins || within => {
                self.rows = Some(Rows { depth: self.depth, start, previous: None });
            }
            Some(rows) if rows.depth == self.depth => rows.start = start,
            _ => (),
        }
        self.depth += 1;
    }

    fn close(&mut self, token: Token) {
        self.depth = self.depth.saturating_sub(1);
        self.push(b")", Before::Sign(b')', token.end));
        let end = self.out.text.len();
        let Some(rows) = &mut self.rows else { return };
        if rows.depth > self.depth {
            self.rows = None;
        } else if rows.depth == self.depth {
            let row = |(from, to): (usize, usize)| self.out.text.get(from..to);
            match rows.previous {
                Some(previous) if row(previous) == row((rows.start, end)) => {
                    self.out.text.truncate(previous.1);
                    self.out.subtracted.retain(|at| *at < previous.1);
                }
                _ => rows.previous = Some((rows.start, end)),
            }
        }
    }

    fn sign(&mut self, token: Token) {
        let byte = self.lexer.slice(token).first().copied().unwrap_or_default();
        match byte {
            b'[' if self.list(b']', token, b'[') => (),
            b'.' if self.begins_fraction(token) => self.number(token.end),
            b'-' if self.is_in_front_of_constant() => {
                if matches!(self.before, Before::Name | Before::Place | Before::Sign(b')' | b']', _)) {
                    let blank = usize::from(spacing::is_apart(self.before, Before::Place));
                    self.out.subtracted.push(self.out.text.len() + blank);
                }
            }
            _ => {
                let ends_rows = byte != b',' && self.rows.is_some_and(|rows| rows.depth == self.depth);
                if ends_rows {
                    self.rows = None;
                }
                self.push(&[byte], Before::Sign(byte, token.end));
            }
        }
    }

    /// Takes a list of nothing but constants, which counts as one of them.
    fn list(&mut self, close: u8, token: Token, open: u8) -> bool {
        let Some(behind) = constants::end_of_list(self.lexer, close) else { return false };
        self.push(&[open], Before::Sign(open, token.end));
        self.place();
        self.push(&[close], Before::Sign(close, behind));
        self.go_on_at(behind);
        true
    }

    fn begins_fraction(&self, token: Token) -> bool {
        let digit = self.lexer.text().get(token.end).is_some_and(u8::is_ascii_digit);
        digit && !matches!(self.before, Before::Name | Before::Sign(b')' | b']', _))
    }

    /// Whether a constant comes next, behind any further signs.
    fn is_in_front_of_constant(&self) -> bool {
        let mut ahead = self.lexer;
        while let Ok(Some(token)) = ahead.next() {
            return match token.kind {
                Kind::Number | Kind::Parameter => true,
                Kind::String(literal) => literal != Literal::National,
                Kind::Word => constants::is_named(ahead.slice(token)),
                Kind::Sign if ahead.slice(token) == b"-" => continue,
                Kind::Sign if ahead.slice(token) == b"." => {
                    ahead.text().get(token.end).is_some_and(u8::is_ascii_digit)
                }
                _ => false,
            };
        }
        false
    }
}

#[cfg(test)]
mod tests;
