//! The classes of bytes in the lexical grammar (`src/backend/parser/scan.l`).

/// What a byte starts.
#[derive(Clone, Copy)]
pub(crate) enum Class {
    Space,
    Letter,
    Prefix,
    Digit,
    Quote,
    DoubleQuote,
    Dollar,
    Minus,
    Slash,
    Semicolon,
    Open,
    Close,
    Sign,
}

const fn classify(byte: u8) -> Class {
    match byte {
        b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Class::Space,
        b'b' | b'B' | b'e' | b'E' | b'n' | b'N' | b'u' | b'U' | b'x' | b'X' => Class::Prefix,
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => Class::Letter,
        b'0'..=b'9' => Class::Digit,
        b'\'' => Class::Quote,
        b'"' => Class::DoubleQuote,
        b'$' => Class::Dollar,
        b'-' => Class::Minus,
        b'/' => Class::Slash,
        b';' => Class::Semicolon,
        b'(' => Class::Open,
        b')' => Class::Close,
        _ => Class::Sign,
    }
}

/// What a byte starts, and whether it may stand inside a word.
static BYTES: [(Class, bool); 256] = byte_table();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, where an index out of range is an error"
)]
const fn byte_table() -> [(Class, bool); 256] {
    let mut table = [(Class::Sign, false); 256];
    let mut byte = 0_u8;
    let mut at = 0;
    while at < table.len() {
        let class = classify(byte);
        let inside = matches!(class, Class::Letter | Class::Prefix | Class::Digit | Class::Dollar);
        table[at] = (class, inside);
        byte = byte.wrapping_add(1);
        at += 1;
    }
    table
}

/// What a byte starts.
#[inline]
pub(crate) fn class(byte: u8) -> Class {
    BYTES.get(usize::from(byte)).map_or(Class::Sign, |entry| entry.0)
}

/// Whether a byte may stand inside a word (`ident_cont`).
#[inline]
pub(crate) fn continues_word(byte: u8) -> bool {
    BYTES.get(usize::from(byte)).is_some_and(|entry| entry.1)
}
