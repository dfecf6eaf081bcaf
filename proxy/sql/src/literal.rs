//! The values of string constants and quoted identifiers.

use std::borrow::Cow;

use crate::lexer::{Kind, Literal, Token, continuation, dollar_delimiter, escapes};
use crate::shape::Cursor;
use crate::{Statement, StringSyntax};

/// The decoded values of a statement's string constants: `'…'`, `N'…'`, `E'…'`, `U&'…'` and `$$…$$`.
///
/// Bit strings and quoted identifiers are not among them. Unicode escapes come out as UTF-8. An escape sequence that
/// PostgreSQL rejects is left as it is.
#[must_use]
pub fn string_literals<'a>(
    text: &'a [u8],
    statement: &Statement,
    strings: StringSyntax,
) -> Vec<Cow<'a, [u8]>> {
    let mut cursor = Cursor::new(text, statement.span.start, statement.span.end, strings);
    let mut values = Vec::new();
    while let Some(token) = cursor.token() {
        if let Kind::String(literal) = token.kind
            && literal != Literal::Bits
        {
            values.push(string_value(token, literal, &mut cursor));
        }
    }
    values
}

/// The value of the string constant before the cursor, which moves behind its UESCAPE clause.
pub(crate) fn string_value<'a>(token: Token, literal: Literal, cursor: &mut Cursor<'a>) -> Cow<'a, [u8]> {
    let raw = cursor.lexer().slice(token);
    let prefix = match literal {
        Literal::Plain => 1,
        Literal::National | Literal::Escape | Literal::Bits => 2,
        Literal::Unicode => 3,
        Literal::Dollar => dollar_delimiter(raw).map_or(0, <[u8]>::len),
    };
    let suffix = if literal == Literal::Dollar { prefix } else { 1 };
    let content = raw.get(prefix..raw.len().saturating_sub(suffix)).unwrap_or_default();
    match literal {
        Literal::Dollar => Cow::Borrowed(content),
        Literal::Unicode => {
            let escape = take_uescape(cursor);
            Cow::Owned(unescape_unicode(&unquote(content, StringSyntax::Standard), escape))
        }
        _ if escapes(literal, cursor.lexer().strings()) => unquote(content, StringSyntax::Backslash),
        _ => unquote(content, StringSyntax::Standard),
    }
}

/// The name that an identifier token stands for; `cursor` is behind the token and is used to look for UESCAPE.
///
/// The case is kept as written, in unquoted identifiers too.
pub(crate) fn identifier<'a>(raw: &'a [u8], kind: Kind, mut cursor: Cursor<'a>) -> Cow<'a, [u8]> {
    let prefix = match kind {
        Kind::Quoted => 1,
        Kind::UnicodeWord => 3,
        _ => return Cow::Borrowed(raw),
    };
    let content = raw.get(prefix..raw.len().saturating_sub(1)).unwrap_or_default();
    let name = if content.contains(&b'"') { Cow::Owned(undouble(content)) } else { Cow::Borrowed(content) };
    match kind {
        Kind::UnicodeWord => Cow::Owned(unescape_unicode(&name, take_uescape(&mut cursor))),
        _ => name,
    }
}

/// The escape character of a `UESCAPE 'c'` that follows (`base_yylex`, `src/backend/parser/parser.c`).
pub(crate) fn take_uescape(cursor: &mut Cursor<'_>) -> u8 {
    let mut ahead = *cursor;
    if ahead.shape().as_bytes() != b"uescape" {
        return b'\\';
    }
    let Some(Token { kind: Kind::String(literal), start, end }) = ahead.token() else { return b'\\' };
    let value = string_value(Token { kind: Kind::String(literal), start, end }, literal, &mut ahead);
    *cursor = ahead;
    value.first().copied().unwrap_or(b'\\')
}

fn undouble(content: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(content.len());
    let mut bytes = content.iter();
    while let Some(byte) = bytes.next() {
        name.push(*byte);
        if *byte == b'"' {
            bytes.next();
        }
    }
    name
}

/// Joins the segments of a constant, halves doubled quotes and resolves backslashes where they count.
fn unquote(content: &[u8], syntax: StringSyntax) -> Cow<'_, [u8]> {
    let backslashes = syntax == StringSyntax::Backslash;
    if !content.iter().any(|byte| *byte == b'\'' || (backslashes && *byte == b'\\')) {
        return Cow::Borrowed(content);
    }
    let mut value = Vec::with_capacity(content.len());
    let mut at = 0;
    while let Some(byte) = content.get(at) {
        match byte {
            b'\'' if content.get(at + 1) == Some(&b'\'') => {
                value.push(b'\'');
                at += 2;
            }
            b'\'' => at = continuation(content, at + 1).unwrap_or(content.len()),
            b'\\' if backslashes => at += unescape(content.get(at + 1..).unwrap_or_default(), &mut value) + 1,
            other => {
                value.push(*other);
                at += 1;
            }
        }
    }
    Cow::Owned(value)
}

/// Resolves the escape sequence behind a backslash and says how long it is (`xe` rules of scan.l).
fn unescape(rest: &[u8], value: &mut Vec<u8>) -> usize {
    let Some(first) = rest.first() else { return 0 };
    let plain = match first {
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'0'..=b'7' => return unescape_byte(rest, 0, 3, 8, value),
        b'x' if rest.get(1).is_some_and(u8::is_ascii_hexdigit) => {
            return unescape_byte(rest, 1, 2, 16, value);
        }
        b'u' => return unescape_code(rest, 4, value),
        b'U' => return unescape_code(rest, 8, value),
        other => *other,
    };
    value.push(plain);
    1
}

/// `\ooo` and `\xhh`: up to `most` digits after `skip` bytes, cut to a byte.
fn unescape_byte(rest: &[u8], skip: usize, most: usize, radix: u32, value: &mut Vec<u8>) -> usize {
    let digits = rest.iter().skip(skip).take(most).map_while(|byte| char::from(*byte).to_digit(radix));
    let length = digits.clone().count();
    let number = digits.fold(0_u32, |number, digit| number * radix + digit);
    value.push(u8::try_from(number & 0xff).unwrap_or_default());
    skip + length
}

/// `\uXXXX` and `\UXXXXXXXX`, a surrogate pair taken together.
fn unescape_code(rest: &[u8], digits: usize, value: &mut Vec<u8>) -> usize {
    let Some(code) = hex(rest, 1, digits) else {
        value.extend(rest.first());
        return 1;
    };
    let second = match (rest.get(digits + 1), rest.get(digits + 2)) {
        (Some(b'\\'), Some(b'u')) => hex(rest, digits + 3, 4).map(|low| (low, 6)),
        (Some(b'\\'), Some(b'U')) => hex(rest, digits + 3, 8).map(|low| (low, 10)),
        _ => None,
    };
    digits + 1 + push_code(code, second, value)
}

/// Resolves `\XXXX` and `\+XXXXXX` with the given escape character (`str_udeescape`, parser.c).
fn unescape_unicode(content: &[u8], escape: u8) -> Vec<u8> {
    let mut value = Vec::with_capacity(content.len());
    let mut at = 0;
    while let Some(byte) = content.get(at) {
        if *byte != escape {
            value.push(*byte);
            at += 1;
        } else if content.get(at + 1) == Some(&escape) {
            value.push(escape);
            at += 2;
        } else if let Some((code, length)) = unicode_escape(content, at, escape) {
            let second = unicode_escape(content, at + length, escape);
            at += length + push_code(code, second, &mut value);
        } else {
            value.push(*byte);
            at += 1;
        }
    }
    value
}

fn unicode_escape(content: &[u8], at: usize, escape: u8) -> Option<(u32, usize)> {
    if content.get(at) != Some(&escape) {
        return None;
    }
    match content.get(at + 1) {
        Some(b'+') => hex(content, at + 2, 6).map(|code| (code, 8)),
        _ => hex(content, at + 1, 4).map(|code| (code, 5)),
    }
}

fn hex(text: &[u8], at: usize, digits: usize) -> Option<u32> {
    let digits = text.get(at..at + digits)?;
    digits.iter().try_fold(0_u32, |code, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        code.checked_mul(16)?.checked_add(digit)
    })
}

/// Appends a code point, with its low surrogate if it needs one, and says how many bytes of the latter were used.
fn push_code(code: u32, second: Option<(u32, usize)>, value: &mut Vec<u8>) -> usize {
    let (code, used) = match (code, second) {
        (0xd800..0xdc00, Some((low @ 0xdc00..0xe000, length))) => {
            (0x10000 + ((code & 0x3ff) << 10) + (low & 0x3ff), length)
        }
        _ => (code, 0),
    };
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    used
}
