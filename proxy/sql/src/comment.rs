//! The token of a transaction in a comment at either end of a text, as `sqlcommenter` writes them:
//! `/*action='list',pgwarden_token='…'*/`.

use std::ops::Range;

const KEY: &[u8] = b"pgwarden_token";

/// A text without the token that its comment held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncommented {
    /// The token, percent signs decoded.
    pub token: Vec<u8>,
    /// The text without it; the comment stays if it says something else too.
    pub text: Vec<u8>,
    /// How many characters were taken from the front, so that positions in the rest can be put right.
    pub removed: usize,
}

/// Takes the token out of the first or the last comment of a text; `None` where there is none.
///
/// A text without a comment at its ends costs two comparisons.
#[must_use]
pub fn without_token(text: &[u8]) -> Option<Uncommented> {
    leading(text).or_else(|| trailing(text))
}

fn leading(text: &[u8]) -> Option<Uncommented> {
    let mut start = blanks(text);
    // Another comment may come first.
    while text.get(start..)?.starts_with(b"/*") {
        let body = start + 2;
        let end = body + find(text.get(body..)?, b"*/")?;
        let content = text.get(body..end)?;
        if content.windows(2).any(|pair| pair == b"/*") {
            return None;
        }
        if let Some(found) = take(text, start..end + 2) {
            let removed = characters(text) - characters(&found.text);
            return Some(Uncommented { removed, ..found });
        }
        start = end + 2;
        start += blanks(text.get(start..)?);
    }
    None
}

fn trailing(text: &[u8]) -> Option<Uncommented> {
    let end = text.iter().rposition(|byte| !is_blank(*byte) && *byte != b';')? + 1;
    let body = text.get(..end)?.strip_suffix(b"*/")?;
    let start = body.windows(2).rposition(|pair| pair == b"/*")?;
    let content = body.get(start + 2..)?;
    if content.windows(2).any(|pair| pair == b"*/") {
        return None;
    }
    take(text, start..end)
}

/// Takes the token out of the comment at `comment`.
fn take(text: &[u8], comment: Range<usize>) -> Option<Uncommented> {
    let body = comment.start + 2..comment.end.checked_sub(2)?;
    let content = text.get(body.clone())?;
    let (pair, token) = pair(content)?;
    let rest = [content.get(..pair.start)?, content.get(pair.end..)?];
    let cut = if rest.iter().all(|part| part.iter().copied().all(is_blank)) {
        comment
    } else {
        body.start + pair.start..body.start + pair.end
    };
    let text = [text.get(..cut.start)?, text.get(cut.end..)?].concat();
    Some(Uncommented { token, text, removed: 0 })
}

/// Where `pgwarden_token='…'` stands, one comma next to it included, and its value.
fn pair(content: &[u8]) -> Option<(Range<usize>, Vec<u8>)> {
    let mut at = 0;
    loop {
        let start = at + find(content.get(at..)?, KEY)?;
        at = start + KEY.len();
        let before = content.get(..start)?.iter().rposition(|byte| !is_blank(*byte));
        let separated = before.is_none_or(|before| content.get(before) == Some(&b','));
        let Some(value) = content.get(at..)?.strip_prefix(b"='") else { continue };
        if !separated {
            continue;
        }
        let length = closing_quote(value)?;
        let end = at + 2 + length + 1;
        let behind = content.get(end..)?;
        let comma = blanks(behind);
        let range = match (before, behind.get(comma)) {
            (_, Some(b',')) => start..end + comma + 1,
            (Some(before), None) => before..end,
            _ => start..end,
        };
        return Some((range, decoded(value.get(..length)?)));
    }
}

/// `\'` does not end a value.
fn closing_quote(value: &[u8]) -> Option<usize> {
    let mut escaped = false;
    value.iter().position(|byte| {
        let ends = *byte == b'\'' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })
}

/// `%2B` is `+`, `\'` is `'`.
fn decoded(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => match hexadecimal(after) {
                Some(decoded) => {
                    out.push(decoded);
                    rest = after.get(2..).unwrap_or_default();
                }
                None => out.push(b'%'),
            },
            b'\\' if after.first() == Some(&b'\'') => (),
            other => out.push(*other),
        }
    }
    out
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits.get(..2)?).ok()?;
    if digits.starts_with('+') { None } else { u8::from_str_radix(digits, 16).ok() }
}

/// How many characters a text has in UTF-8: every byte that does not continue one.
fn characters(text: &[u8]) -> usize {
    text.iter().filter(|byte| (**byte & 0xC0) != 0x80).count()
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

fn blanks(text: &[u8]) -> usize {
    text.iter().take_while(|byte| is_blank(**byte)).count()
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> Option<(String, String, usize)> {
        let found = without_token(text.as_bytes())?;
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Some((text(found.token), text(found.text), found.removed))
    }

    #[test]
    fn a_comment_at_either_end_is_taken_out() {
        assert_eq!(taken("/*pgwarden_token='a.b'*/SELECT 1"), Some(("a.b".into(), "SELECT 1".into(), 24)));
        assert_eq!(taken("SELECT 1 /*pgwarden_token='a'*/"), Some(("a".into(), "SELECT 1 ".into(), 0)));
        assert_eq!(taken("SELECT 1/* pgwarden_token='a' */; "), Some(("a".into(), "SELECT 1; ".into(), 0)));
        assert_eq!(
            taken(" /* x */ /*pgwarden_token='a'*/ SELECT 1"),
            Some(("a".into(), " /* x */  SELECT 1".into(), 22))
        );
    }

    #[test]
    fn what_else_the_comment_says_stays() {
        for (before, after) in [
            ("SELECT 1 /*a='1',pgwarden_token='t',b='2'*/", "SELECT 1 /*a='1',b='2'*/"),
            ("SELECT 1 /*a='1',pgwarden_token='t'*/", "SELECT 1 /*a='1'*/"),
            ("SELECT 1 /*pgwarden_token='t',b='2'*/", "SELECT 1 /*b='2'*/"),
        ] {
            assert_eq!(taken(before).map(|found| found.1).as_deref(), Some(after), "{before}");
        }
    }

    #[test]
    fn values_are_percent_decoded() {
        assert_eq!(
            taken("SELECT 1 /*pgwarden_token='a%2Bb%3d\\'%zz'*/").map(|t| t.0).as_deref(),
            Some("a+b='%zz")
        );
    }

    #[test]
    fn what_is_no_token_comment_is_left_alone() {
        for text in [
            "SELECT 1",
            "",
            "/",
            "*/",
            "/*",
            "SELECT '/*pgwarden_token=''t''*/'",
            "SELECT /*pgwarden_token='t'*/ 1",
            "SELECT 1 /*my_pgwarden_token='t'*/",
            "SELECT 1 /*a='pgwarden_token'*/",
            "SELECT 1 /*pgwarden_token='t*/",
            "SELECT 1 /* /* pgwarden_token='t' */ */",
        ] {
            assert_eq!(taken(text), None, "{text}");
        }
    }
}
