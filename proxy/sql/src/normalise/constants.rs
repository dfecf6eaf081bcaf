//! What counts as a constant: numbers with all that belongs to them, words that stand for one, and lists.

use super::Before;
use crate::lexer::{Kind, Lexer, Token};
use crate::shape::Shape;

/// A word without the place that it became one with, and whether there is one: `DATE$1`.
pub(super) fn without_place(word: &[u8]) -> (&[u8], bool) {
    let digits = word.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let front = word.len().checked_sub(digits + 1).filter(|_| digits > 0);
    match front {
        Some(front @ 1..) if word.get(front) == Some(&b'$') => (word.get(..front).unwrap_or_default(), true),
        _ => (word, false),
    }
}

/// Whether a word is the name of a constant, in any case.
pub(super) fn is_named(word: &[u8]) -> bool {
    matches!(Shape::lower(word).as_bytes(), b"true" | b"false" | b"null")
}

/// Whether a word stands for a constant, behind these words (the nearest first).
pub(super) fn is_constant(word: &[u8], [last, earlier]: [&[u8]; 2], before: Before) -> bool {
    match word {
        b"true" | b"false" | b"null" => {
            let behind_is = last == b"is" || (last == b"not" && earlier == b"is");
            !(behind_is && before == Before::Keyword || matches!(before, Before::Sign(b'.', _)))
        }
        b"all" => last == b"limit" && before == Before::Keyword,
        b"nfc" | b"nfd" | b"nfkc" | b"nfkd" => true,
        _ => last == b"extract" && matches!(before, Before::Sign(b'(', _)),
    }
}

/// Where the number ends whose first digits end at `end`.
pub(super) fn end_of_number(text: &[u8], end: usize) -> usize {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count()
    };
    let byte = |at: usize| text.get(at).copied().unwrap_or_default();
    let decimal = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'_').count()
    };
    if matches!(byte(end) | 0x20, b'x' | b'o' | b'b')
        && byte(end.saturating_sub(1)) == b'0'
        && byte(end + 1).is_ascii_hexdigit()
    {
        return digits(end);
    }
    let mut at = decimal(end);
    if byte(at) == b'.' && byte(at + 1) != b'.' {
        at = decimal(at + 1);
    }
    if byte(at) | 0x20 == b'e' {
        let sign = usize::from(matches!(byte(at + 1), b'+' | b'-'));
        if byte(at + 1 + sign).is_ascii_digit() {
            at = decimal(at + 1 + sign);
        }
    }
    at
}

/// Behind the bracket that closes a list of nothing but constants; the lexer stands behind the one that opens it.
pub(super) fn end_of_list(lexer: Lexer<'_>, close: u8) -> Option<usize> {
    let mut list = List { lexer };
    loop {
        list.constant()?;
        let mut token = list.lexer.next().ok()??;
        while list.is(token, b':') {
            token = list.behind_cast()?;
        }
        if list.is(token, close) {
            return Some(token.end);
        }
        if !list.is(token, b',') {
            return None;
        }
    }
}

struct List<'a> {
    lexer: Lexer<'a>,
}

impl List<'_> {
    fn is(&self, token: Token, byte: u8) -> bool {
        self.lexer.slice(token) == [byte]
    }

    fn go_on_at(&mut self, at: usize) {
        self.lexer = Lexer::new(self.lexer.text(), at, self.lexer.strings());
    }

    /// A constant, with a sign or the name of its type in front.
    fn constant(&mut self) -> Option<()> {
        let mut token = self.lexer.next().ok()??;
        if self.is(token, b'-') {
            token = self.lexer.next().ok()??;
        }
        let is_dot = self.is(token, b'.');
        match token.kind {
            Kind::String(_) | Kind::Parameter => Some(()),
            Kind::Number => {
                self.go_on_at(end_of_number(self.lexer.text(), token.end));
                Some(())
            }
            Kind::Sign if is_dot && self.lexer.text().get(token.end)?.is_ascii_digit() => {
                self.go_on_at(end_of_number(self.lexer.text(), token.end));
                Some(())
            }
            Kind::Word => {
                let word = self.lexer.slice(token);
                if without_place(word).1 || is_named(word) {
                    return Some(());
                }
                let typed = self.lexer.next().ok()??;
                matches!(typed.kind, Kind::String(_)).then_some(())
            }
            _ => None,
        }
    }

    /// The first token behind `::type`, of which the first colon was read.
    fn behind_cast(&mut self) -> Option<Token> {
        let colon = self.lexer.next().ok()??;
        if !self.is(colon, b':') {
            return None;
        }
        let name = self.lexer.next().ok()??;
        let is_name = matches!(name.kind, Kind::Word | Kind::Quoted | Kind::UnicodeWord);
        let mut token = self.lexer.next().ok()?.filter(|_| is_name)?;
        loop {
            token = match token.kind {
                // The rest of a name: `pg_catalog.int4`, `timestamp with time zone`.
                Kind::Word | Kind::Quoted => self.lexer.next().ok()??,
                Kind::Sign if self.is(token, b'.') => self.lexer.next().ok()??,
                Kind::Open => self.behind(b')')?,
                Kind::Sign if self.is(token, b'[') => self.behind(b']')?,
                _ => return Some(token),
            };
        }
    }

    /// The first token behind the next one of these, with nothing but numbers in front of it.
    fn behind(&mut self, close: u8) -> Option<Token> {
        loop {
            let token = self.lexer.next().ok()??;
            if self.is(token, close) {
                return self.lexer.next().ok()?;
            }
            if !matches!(token.kind, Kind::Number | Kind::Parameter) && !self.is(token, b',') {
                return None;
            }
        }
    }
}
