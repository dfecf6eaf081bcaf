//! Checkpoints: the trail up to a record, signed with Ed25519.
//!
//! What is signed is the text `pgwarden checkpoint 1\n<seq>\n<hash>\n<count>\n<time>\n<instance>\n`.

use crate::hash::{hex, unhex};
use crate::timestamp::Timestamp;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;
use zeroize::Zeroizing;

/// The trail up to a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The number of the last record that it covers.
    pub seq: u64,
    /// The hash of that record.
    pub hash: String,
    /// How many records there are since the checkpoint before.
    pub count: u64,
    /// When it was made.
    pub time: Timestamp,
    /// The pgwarden that made it.
    pub instance: String,
    /// Over all of that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signature: Option<String>,
}

/// What signs checkpoints.
pub struct Signer(Ed25519KeyPair);

/// What verifies them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// The text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a key of the audit trail has 64 hexadecimal digits, as \"pgwarden audit keygen\" writes them")]
pub struct NotASigningKey;

impl Signer {
    /// Reads a key: 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`NotASigningKey`] for anything else.
    pub fn parse(text: &str) -> Result<Self, NotASigningKey> {
        let seed = Zeroizing::new(unhex::<32>(text.trim()).ok_or(NotASigningKey)?);
        Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map(Self).map_err(|_| NotASigningKey)
    }

    /// What verifies its signatures.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(self.0.public_key().as_ref()).for_each(|(to, byte)| *to = *byte);
        PublicKey(bytes)
    }

    /// Signs.
    pub fn sign(&self, checkpoint: &mut Checkpoint) {
        checkpoint.signature = Some(hex(self.0.sign(checkpoint.signed().as_bytes()).as_ref()));
    }
}

impl PublicKey {
    /// Reads a key: 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`NotASigningKey`] for anything else.
    pub fn parse(text: &str) -> Result<Self, NotASigningKey> {
        unhex(text.trim()).map(Self).ok_or(NotASigningKey)
    }

    /// Whether this key's owner has signed it.
    #[must_use]
    pub fn verifies(&self, checkpoint: &Checkpoint) -> bool {
        let signature = checkpoint.signature.as_deref().and_then(unhex::<64>);
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        signature.is_some_and(|signature| key.verify(checkpoint.signed().as_bytes(), &signature).is_ok())
    }
}

impl Checkpoint {
    fn signed(&self) -> String {
        let Self { seq, hash, count, time, instance, .. } = self;
        format!("pgwarden checkpoint 1\n{seq}\n{hash}\n{count}\n{time}\n{instance}\n")
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Signer").field(&self.public_key()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            seq: 7,
            hash: "0".repeat(64),
            count: 7,
            time: Timestamp(0),
            instance: "a".to_owned(),
            signature: None,
        }
    }

    #[test]
    fn only_what_was_signed_by_the_owner_of_the_key_is_verified() {
        let (signer, other) =
            (Signer::parse(&"01".repeat(32)).unwrap(), Signer::parse(&"02".repeat(32)).unwrap());
        let mut signed = checkpoint();
        assert!(!signer.public_key().verifies(&signed));
        signer.sign(&mut signed);
        assert!(signer.public_key().verifies(&signed));
        assert!(!other.public_key().verifies(&signed));
        signed.seq = 8;
        assert!(!signer.public_key().verifies(&signed));
    }

    #[test]
    fn a_public_key_reads_back() {
        let key = Signer::parse(&"01".repeat(32)).unwrap().public_key();
        assert_eq!(PublicKey::parse(&key.to_string()), Ok(key));
        assert_eq!(PublicKey::parse("01"), Err(NotASigningKey));
    }
}
