//! Blanks between tokens, whatever the source has there; and names that need no quotes.

use super::Before;

/// PostgreSQL's reserved words, those that may be functions or types included (`kwlist.h`), and a few behind which a
/// parenthesis does not belong to a call.
const RESERVED: [&str; 115] = [
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "binary",
    "both",
    "by",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "conflict",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "delete",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "false",
    "fetch",
    "filter",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "insert",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "over",
    "overlaps",
    "partition",
    "placing",
    "primary",
    "recursive",
    "references",
    "returning",
    "right",
    "select",
    "session_user",
    "set",
    "similar",
    "some",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "update",
    "user",
    "using",
    "values",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "within",
];

/// Whether the word, in lower case, is a keyword that cannot be a name.
pub(super) fn is_reserved(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok_and(|word| RESERVED.binary_search(&word).is_ok())
}

/// Whether a quoted name means the same without its quotes.
pub(super) fn is_plain_name(name: &[u8]) -> bool {
    let begins = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_';
    let goes_on = |byte: &u8| begins(byte) || byte.is_ascii_digit();
    name.first().is_some_and(begins) && name.iter().all(goes_on) && !is_reserved(name)
}

/// Whether a blank stands between two tokens.
#[inline]
pub(super) fn is_apart(before: Before, next: Before) -> bool {
    match (before, next) {
        (Before::Nothing | Before::Sign(b'(' | b'[' | b'.', _), _)
        | (_, Before::Sign(b',' | b')' | b']' | b'.' | b'[' | b';', _))
        | (Before::Name, Before::Sign(b'(', _)) => false,
        (Before::Sign(b':', _), Before::Name | Before::Keyword) | (_, Before::Sign(b':', _)) => false,
        // The characters of one operator stand together in the source.
        (Before::Sign(one, end), Before::Sign(other, next)) if is_operator(one) && is_operator(other) => {
            next != end + 1
        }
        _ => true,
    }
}

fn is_operator(byte: u8) -> bool {
    b"+-*/<>=~!@#%^&|`?".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserved_words_are_sorted() {
        assert!(RESERVED.is_sorted());
    }

    #[test]
    fn quotes_go_where_they_say_nothing() {
        assert!(is_plain_name(b"users") && is_plain_name(b"_a1"));
        for name in ["Users", "user", "a b", "", "1a", "\u{e9}"] {
            assert!(!is_plain_name(name.as_bytes()), "{name}");
        }
    }
}
