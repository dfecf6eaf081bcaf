//! What a token has to look like, before anybody is asked what it stands for.

use crate::evidence::Evidence;
use crate::finding::Finding;
use crate::grant::Denial;
use pgwarden_session::Refusal;

/// How tokens may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRules {
    /// Whether comments of statements are searched for them.
    pub in_comments: bool,
    /// The longest, in bytes.
    pub limit: usize,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self { in_comments: true, limit: 8192 }
    }
}

impl TokenRules {
    /// A token as evidence.
    ///
    /// # Errors
    /// [`Denial`] for one that is too long, or holds anything but visible ASCII characters.
    pub fn read(&self, token: &[u8]) -> Result<Evidence, Denial> {
        if token.len() > self.limit {
            return Err(denial(format!("It has {} bytes; the limit is {}.", token.len(), self.limit)));
        }
        match std::str::from_utf8(token) {
            Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Evidence::Token(text.into())),
            _ => Err(denial("It holds something else than visible ASCII characters.".to_owned())),
        }
    }
}

fn denial(detail: String) -> Denial {
    let hint = "Show the token as it was issued, without quotes or white space.";
    let refusal = Refusal::new("28000", "the token is malformed", detail, hint);
    Denial { finding: Finding::ContextDenied, refusal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_visible_ascii_of_limited_length() {
        let rules = TokenRules { limit: 5, ..TokenRules::default() };
        assert_eq!(rules.read(b"a.b-_").ok(), Some(Evidence::Token("a.b-_".into())));
        for token in [b"123456".as_slice(), b"a b", b"\xc3\xa9", b"a\0", b"\xff"] {
            let denial = rules.read(token).expect_err("malformed");
            assert_eq!(denial.refusal.sqlstate, "28000");
        }
    }
}
