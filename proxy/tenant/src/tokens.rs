//! What a token has to look like, before anybody is asked what it stands for.

use crate::evidence::Evidence;
use crate::grant::Denial;
use crate::offence::Offence;
use pgwarden_session::{Bearer, Refusal};

/// Whether tokens may be shown in a certain way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Granted,
    /// It may not.
    Withheld,
}

/// How tokens may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRules {
    /// Whether SET may show one.
    pub set: Permission,
    /// Whether `set_config` may.
    pub set_config: Permission,
    /// Whether a comment may.
    pub comment: Permission,
    /// The longest, in bytes.
    pub limit: usize,
}

impl TokenRules {
    /// Whether a token may come like that.
    #[must_use]
    pub fn permit(&self, bearer: Bearer) -> Permission {
        match bearer {
            Bearer::Set => self.set,
            Bearer::SetConfig => self.set_config,
            Bearer::Comment => self.comment,
        }
    }

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

/// A token that came in a way that the configuration does not know.
pub(crate) fn unwanted() -> Denial {
    let refusal = Refusal::new(
        "0A000",
        "a token cannot be shown like this",
        "context.token.carriers does not name it, or no variable is configured.",
        "Show the token in one of the ways that are named there.",
    );
    Denial { offence: Offence::ContextDenied, refusal }
}

fn denial(detail: String) -> Denial {
    let hint = "Show the token as it was issued, without quotes or white space.";
    let refusal = Refusal::new("28000", "the token is malformed", detail, hint);
    Denial { offence: Offence::ContextDenied, refusal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_visible_ascii_of_limited_length() {
        let granted = Permission::Granted;
        let rules = TokenRules { set: granted, set_config: granted, comment: granted, limit: 5 };
        assert_eq!(rules.read(b"a.b-_").ok(), Some(Evidence::Token("a.b-_".into())));
        for token in [b"123456".as_slice(), b"a b", b"\xc3\xa9", b"a\0", b"\xff"] {
            let denial = rules.read(token).expect_err("malformed");
            assert_eq!(denial.refusal.sqlstate, "28000");
        }
    }
}
