//! The one character that JSON has and PostgreSQL has not.

use std::borrow::Cow;

/// JSON without `\u0000`, which no text of PostgreSQL can hold; U+FFFD stands there instead.
#[must_use]
pub fn without_nul(text: &str) -> Cow<'_, str> {
    const NUL: &str = "\\u0000";
    if !text.contains(NUL) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        clean.push_str(before);
        // An escape begins here: one that stands for a backslash is two characters.
        let length = if escape.starts_with(NUL) { NUL.len() } else { 2 };
        let (escape, behind) = escape.split_at_checked(length).unwrap_or((escape, ""));
        clean.push_str(if escape == NUL { "\\ufffd" } else { escape });
        rest = behind;
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_replaced_and_a_backslash_in_front_of_such_letters_is_none() {
        for (text, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"b"}"#),
            (r#"{"a":"\u0000\n"}"#, r#"{"a":"\ufffd\n"}"#),
            (r#"{"a":"\\u0000"}"#, r#"{"a":"\\u0000"}"#),
            (r#"{"a":"\\\u0000é"}"#, r#"{"a":"\\\ufffdé"}"#),
        ] {
            assert_eq!(without_nul(text), expected);
        }
    }
}
