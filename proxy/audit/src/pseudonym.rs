//! Pseudonyms of tenants and users: the same for the same one, and nobody without the key can tell whose.

use crate::hash::hex;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use std::fmt;

/// How many bytes of the code a pseudonym has.
const LENGTH: usize = 16;

/// What makes pseudonyms.
#[derive(Clone)]
pub struct Pseudonyms(hmac::Key);

impl Pseudonyms {
    /// Those of a key, which may be any text.
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, key.as_bytes()))
    }

    /// The pseudonym of a tenant.
    #[must_use]
    pub fn tenant(&self, id: &str) -> String {
        self.of("tenant", id)
    }

    /// The pseudonym of a user.
    #[must_use]
    pub fn user(&self, id: &str) -> String {
        self.of("user", id)
    }

    fn of(&self, sort: &str, id: &str) -> String {
        let code = hmac::sign(&self.0, format!("{sort}:{id}").as_bytes());
        format!("{sort}~{}", hex(code.as_ref().get(..LENGTH).unwrap_or_default()))
    }
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Pseudonyms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_is_the_same_each_time_and_another_with_another_key() {
        let (one, other) = (Pseudonyms::new("k"), Pseudonyms::new("l"));
        assert_eq!(one.tenant("1"), one.tenant("1"));
        assert_ne!(one.tenant("1"), one.tenant("2"));
        assert_ne!(one.tenant("1"), one.user("1"));
        assert_ne!(one.tenant("1"), other.tenant("1"));
        assert!(!one.tenant("acme").contains("acme"));
    }
}
