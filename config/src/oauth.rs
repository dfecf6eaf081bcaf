//! Where clients that bring no token get one.

use crate::mistake::Fault;
use crate::reader::Reader;

/// What a client without a token is told (RFC 7628 section 3.2.2), as the options of `oauth` in pg_hba.conf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth {
    /// The issuer, or the whole address of its discovery document.
    pub issuer: String,
    /// The scope to ask for.
    pub scope: String,
}

/// Reads `[auth.oauth]`; nothing unless both are there.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> Option<OAuth> {
    let issuer = reader.parse("auth.oauth.issuer", address);
    let scope = reader.parse("auth.oauth.scope", scope);
    Some(OAuth { issuer: issuer?, scope: scope? })
}

fn address(text: &str) -> Result<String, Fault> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'@'));
    match rest.is_some_and(|rest| !rest.is_empty()) && is_plain {
        true => Ok(text.to_owned()),
        false => Err(Fault::new(format!("{text:?} is no address"), "the https address of an issuer")),
    }
}

/// RFC 6749 section 3.3.
fn scope(text: &str) -> Result<String, Fault> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
    match is_plain {
        true => Ok(text.to_owned()),
        false => Err(Fault::new(format!("{text:?} is no scope"), "words with spaces between")),
    }
}
