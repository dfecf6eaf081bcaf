//! Where in the application a statement comes from: the keys that sqlcommenter and its kin write into a comment at one of
//! its ends, `/*controller='items',traceparent='00-…-…-01'*/`.

use crate::finding::Origin;
use std::collections::HashMap;

/// Longer comments are not read, and longer values are cut.
const LONGEST: usize = 4096;
const LONGEST_VALUE: usize = 200;

/// The comment at one end of a text.
pub(crate) fn comment(text: &[u8]) -> Option<&[u8]> {
    let text = text.trim_ascii();
    let text = text.strip_suffix(b";").unwrap_or(text).trim_ascii();
    let trailing = || {
        let body = text.strip_suffix(b"*/")?;
        let start = body.windows(2).rposition(|pair| pair == b"/*")?;
        body.get(start + 2..)
    };
    let leading = || {
        let body = text.strip_prefix(b"/*")?;
        let end = body.windows(2).position(|pair| pair == b"*/")?;
        body.get(..end)
    };
    trailing().or_else(leading).filter(|comment| comment.len() <= LONGEST)
}

/// What a comment says of its origin; `None` where that is nothing.
pub(crate) fn origin(comment: &[u8]) -> Option<Origin> {
    let comment = std::str::from_utf8(comment).ok()?;
    let pairs: HashMap<&str, String> = comment.split(',').filter_map(pair).collect();
    let first = |keys: &[&str]| keys.iter().find_map(|key| pairs.get(key)).cloned();
    let handler = || {
        let parts = ["controller", "action"].map(|key| pairs.get(key).map(String::as_str));
        let [controller, action] = parts;
        match (controller, action) {
            (Some(controller), Some(action)) => Some(format!("{controller}#{action}")),
            (one, other) => one.or(other).map(str::to_owned),
        }
    };
    let origin = Origin {
        trace_id: pairs.get("traceparent").and_then(|value| trace_id(value)),
        route: first(&["route"]).or_else(handler),
        file: first(&["file", "source_location", "line"]),
    };
    (origin != Origin::default()).then_some(origin)
}

/// `key='value'`, or `key:value` as Rails wrote it first.
fn pair(text: &str) -> Option<(&str, String)> {
    let text = text.trim();
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, value.strip_prefix('\'')?.strip_suffix('\'')?),
        None => text.split_once(':')?,
    };
    Some((key.trim(), decoded(value.trim())))
}

/// The second part of `version-trace-span-flags`: 32 digits, not all of them zero.
fn trace_id(traceparent: &str) -> Option<String> {
    let id = traceparent.split('-').nth(1)?;
    let is_hexadecimal = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hexadecimal && id.bytes().any(|byte| byte != b'0')).then(|| id.to_ascii_lowercase())
}

/// Percent signs decoded, control characters left out.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.filter(|_| *byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = if code.is_some() { after.get(2..).unwrap_or_default() } else { after };
        bytes.push(code.unwrap_or(*byte));
    }
    let text = String::from_utf8_lossy(&bytes);
    text.chars().filter(|character| !character.is_control()).take(LONGEST_VALUE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<Origin> {
        origin(comment(text.as_bytes())?)
    }

    #[test]
    fn the_keys_of_sqlcommenter_are_read() {
        let text = "SELECT 1 /*controller='items',action='list',traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'*/";
        assert_eq!(
            found(text),
            Some(Origin {
                trace_id: Some("5bd66ef5095369c7b0d1f8f4bd33716a".into()),
                route: Some("items#list".into()),
                file: None
            })
        );
        assert_eq!(
            found("/* route='%2Fitems%2F:id', file='app/x.py:7' */ SELECT 1")
                .map(|one| (one.route, one.file)),
            Some((Some("/items/:id".into()), Some("app/x.py:7".into())))
        );
        assert_eq!(
            found("SELECT 1 /*line:app/models/x.rb:4*/;").and_then(|one| one.file).as_deref(),
            Some("app/models/x.rb:4")
        );
    }

    #[test]
    fn other_comments_say_nothing() {
        for text in [
            "SELECT 1",
            "SELECT 1 /* hello */",
            "SELECT 1 /*traceparent='x'*/",
            "*/",
            "/*",
            "SELECT 1 /*a=b*/",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
