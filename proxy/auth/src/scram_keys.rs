//! The keys behind a SCRAM exchange: what a client that proved itself leaves, instead of its password.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::{Key, hmac_sha256, salted_password};
use crate::secret::ScramVerifier;

/// `ClientKey` and `ServerKey` of RFC 5802: enough to log in on every server that stores the very same verifier, and
/// nowhere else; the password cannot be found from them. Wiped from memory when dropped.
#[derive(Clone)]
pub struct ScramKeys {
    pub(crate) client_key: Zeroizing<Key>,
    pub(crate) server_key: Zeroizing<Key>,
}

impl ScramKeys {
    /// The keys of a password, on servers that store this verifier.
    ///
    /// Costs about a millisecond of CPU at 4096 iterations.
    #[must_use]
    pub fn derive(password: &[u8], verifier: &ScramVerifier) -> ScramKeys {
        let salted = salted_password(password, verifier.salt(), verifier.iterations());
        let key = |label: &[u8]| Zeroizing::new(hmac_sha256(salted.as_ref(), &[label]));
        ScramKeys { client_key: key(b"Client Key"), server_key: key(b"Server Key") }
    }
}

impl PartialEq for ScramKeys {
    fn eq(&self, other: &ScramKeys) -> bool {
        let client = self.client_key.ct_eq(other.client_key.as_ref());
        bool::from(client & self.server_key.ct_eq(other.server_key.as_ref()))
    }
}

impl Eq for ScramKeys {}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramKeys(..)")
    }
}
