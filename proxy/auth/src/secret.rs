//! Stored secrets, in the three forms that PostgreSQL knows.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::crypto::{KEY_LENGTH, Key, hmac_sha256, salted_password, sha256};

/// PostgreSQL's `SCRAM_SHA_256_DEFAULT_ITERATIONS` (`src/include/common/scram-common.h`).
pub const DEFAULT_ITERATIONS: NonZeroU32 = match NonZeroU32::new(4096) {
    Some(iterations) => iterations,
    None => NonZeroU32::MIN,
};

/// The highest iteration count that a stored verifier may ask for.
///
/// The count is a cost per login (about a quarter of a second here), so that a mistyped verifier
/// must not be able to stall the proxy.
pub const MAX_VERIFIER_ITERATIONS: u32 = 1_000_000;

const MAX_SALT_LENGTH: usize = 1024;
const SCRAM_PREFIX: &str = "SCRAM-SHA-256$";
const MD5_PREFIX: &str = "md5";
const MD5_HEX_LENGTH: usize = 32;

/// What is stored for a user, as in `pg_authid.rolpassword` or a PgBouncer `userlist.txt`.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The password itself.
    Clear(Zeroizing<String>),
    /// The 32 hexadecimal digits of `md5(password || user)`; as good as the password for md5 logins.
    Md5([u8; 32]),
    /// A SCRAM-SHA-256 verifier.
    Scram(ScramVerifier),
}

/// Why a text is no usable secret; never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The text is empty; PostgreSQL accepts no empty password either.
    #[error("the secret is empty")]
    Empty,
    /// The text holds a zero byte, which no password message can carry.
    #[error("the secret contains a zero byte")]
    ZeroByte,
    /// The text starts like a SCRAM verifier and is none.
    #[error("the secret starts with \"SCRAM-SHA-256$\" but is no valid verifier")]
    MalformedScram,
}

impl Secret {
    /// Reads a secret in the forms of `get_password_type` (`src/backend/libpq/crypt.c`).
    ///
    /// `md5` and 32 lower-case hexadecimal digits are a hash, `SCRAM-SHA-256$…` is a verifier,
    /// anything else is a password in clear text. PostgreSQL takes a broken verifier for clear
    /// text; here it is an error, since nobody means that.
    ///
    /// # Errors
    /// [`SecretError`], see its variants.
    pub fn parse(text: &str) -> Result<Secret, SecretError> {
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        if text.contains('\0') {
            return Err(SecretError::ZeroByte);
        }
        if text.starts_with(SCRAM_PREFIX) {
            return ScramVerifier::parse(text).map(Secret::Scram);
        }
        Ok(match parse_md5(text) {
            Some(hash) => Secret::Md5(hash),
            None => Secret::Clear(Zeroizing::new(text.to_owned())),
        })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Secret::Clear(_) => "Clear(..)",
            Secret::Md5(_) => "Md5(..)",
            Secret::Scram(_) => "Scram(..)",
        })
    }
}

/// A SCRAM-SHA-256 verifier, in PostgreSQL's text form
/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` (all but the count in base64).
///
/// It is enough to check a login and to prove our own identity to the client; it is not enough to
/// log in somewhere. [`fmt::Display`] prints the whole verifier and is meant for storing it.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

impl ScramVerifier {
    /// Reads the text form, see `parse_scram_secret` in `src/backend/libpq/auth-scram.c`.
    ///
    /// # Errors
    /// [`SecretError::MalformedScram`] for anything but a verifier with 1 to
    /// [`MAX_VERIFIER_ITERATIONS`] iterations and a salt of 1 to 1024 bytes.
    pub fn parse(text: &str) -> Result<ScramVerifier, SecretError> {
        parse_scram(text).ok_or(SecretError::MalformedScram)
    }

    /// Derives the verifier of a password, with SASLprep where it applies.
    ///
    /// Costs about a millisecond of CPU at 4096 iterations.
    #[must_use]
    pub fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> ScramVerifier {
        let salted = salted_password(password, salt, iterations);
        let client_key = Zeroizing::new(hmac_sha256(salted.as_ref(), &[b"Client Key"]));
        ScramVerifier {
            iterations,
            salt: salt.to_vec(),
            stored_key: sha256(client_key.as_ref()),
            server_key: hmac_sha256(salted.as_ref(), &[b"Server Key"]),
        }
    }

    /// Puts a verifier together from its parts.
    pub(crate) fn from_parts(
        iterations: NonZeroU32,
        salt: Vec<u8>,
        stored_key: Key,
        server_key: Key,
    ) -> Self {
        ScramVerifier { iterations, salt, stored_key, server_key }
    }

    /// The number of PBKDF2 iterations that the client has to do.
    #[must_use]
    pub fn iterations(&self) -> NonZeroU32 {
        self.iterations
    }

    /// The salt, as raw bytes.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// `StoredKey` of RFC 5802, the hash that a client's proof is checked against.
    #[must_use]
    pub fn stored_key(&self) -> &[u8; 32] {
        &self.stored_key
    }

    /// `ServerKey` of RFC 5802, with which the server proves that it knows the verifier.
    #[must_use]
    pub fn server_key(&self) -> &[u8; 32] {
        &self.server_key
    }
}

impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{SCRAM_PREFIX}{}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key)
        )
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

fn parse_md5(text: &str) -> Option<[u8; 32]> {
    let hex: [u8; MD5_HEX_LENGTH] = text.strip_prefix(MD5_PREFIX)?.as_bytes().try_into().ok()?;
    hex.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(hex)
}

fn parse_scram(text: &str) -> Option<ScramVerifier> {
    let (parameters, keys) = text.strip_prefix(SCRAM_PREFIX)?.split_once('$')?;
    let (iterations, salt) = parameters.split_once(':')?;
    let (stored_key, server_key) = keys.split_once(':')?;
    let salt = STANDARD.decode(salt).ok()?;
    if salt.is_empty() || salt.len() > MAX_SALT_LENGTH {
        return None;
    }
    let iterations = parse_iterations(iterations, MAX_VERIFIER_ITERATIONS)?;
    Some(ScramVerifier {
        iterations,
        salt,
        stored_key: parse_key(stored_key)?,
        server_key: parse_key(server_key)?,
    })
}

/// Reads a positive decimal number of digits only, up to `limit`.
pub(crate) fn parse_iterations(text: &str, limit: u32) -> Option<NonZeroU32> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse::<NonZeroU32>().ok().filter(|iterations| iterations.get() <= limit)
}

/// Reads a key of exactly 32 bytes in base64.
pub(crate) fn parse_key(text: &str) -> Option<Key> {
    let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    let key: [u8; KEY_LENGTH] = bytes.as_slice().try_into().ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
        WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn kind(text: &str) -> &'static str {
        match Secret::parse(text) {
            Ok(Secret::Clear(password)) => {
                assert_eq!(*password, text);
                "clear"
            }
            Ok(Secret::Md5(_)) => "md5",
            Ok(Secret::Scram(_)) => "scram",
            Err(_) => "error",
        }
    }

    #[test]
    fn the_form_of_a_secret_decides_its_kind() {
        assert_eq!(kind("md5900150983cd24fb0d6963f7d28e17f72"), "md5");
        assert_eq!(kind("md5900150983CD24FB0D6963F7D28E17F72"), "clear");
        assert_eq!(kind("md5900150983cd24fb0d6963f7d28e17f7"), "clear");
        assert_eq!(kind("md5"), "clear");
        assert_eq!(kind(VERIFIER), "scram");
        assert_eq!(kind("SCRAM-SHA-256"), "clear");
        assert_eq!(kind(" pässword "), "clear");
        assert_eq!(Secret::parse("").unwrap_err(), SecretError::Empty);
        assert_eq!(Secret::parse("a\0b").unwrap_err(), SecretError::ZeroByte);
    }

    #[test]
    fn a_verifier_survives_reading_and_writing() {
        let verifier = ScramVerifier::parse(VERIFIER).unwrap();
        assert_eq!(verifier.to_string(), VERIFIER);
        assert_eq!(ScramVerifier::derive(b"pencil", verifier.salt(), verifier.iterations()), verifier);
    }

    #[test]
    fn our_verifiers_are_those_of_other_implementations() {
        let theirs = postgres_protocol::password::scram_sha_256("pässword".as_bytes());
        let verifier = ScramVerifier::parse(&theirs).unwrap();
        let ours = ScramVerifier::derive("pässword".as_bytes(), verifier.salt(), verifier.iterations());
        assert_eq!(ours.to_string(), theirs);
    }

    #[test]
    fn a_broken_verifier_is_an_error_and_no_password() {
        let broken = [
            VERIFIER.replace("4096", "0"),
            VERIFIER.replace("4096", "-1"),
            VERIFIER.replace("4096", "+1"),
            VERIFIER.replace("4096", "1000001"),
            VERIFIER.replace("4096", "99999999999999"),
            VERIFIER.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
            VERIFIER.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "W22Z!"),
            VERIFIER.replace("WG5d", ""),
            VERIFIER.replace("2dU=", ""),
            format!("{VERIFIER}x"),
            "SCRAM-SHA-256$".to_owned(),
            "SCRAM-SHA-256$4096:AA==".to_owned(),
        ];
        for text in broken {
            assert_eq!(Secret::parse(&text).unwrap_err(), SecretError::MalformedScram, "{text}");
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        for text in ["hunter2", "md5900150983cd24fb0d6963f7d28e17f72", VERIFIER] {
            let printed = format!("{:?}", Secret::parse(text).unwrap());
            assert!(printed.len() < 12, "{printed}");
        }
        let printed = format!("{:?}", ScramVerifier::parse(VERIFIER).unwrap());
        assert!(!printed.contains('[') && printed.contains("4096"), "{printed}");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,60}", tail in "[0-9:$+/=A-Za-z]{0,80}") {
            let _ = Secret::parse(&text);
            let _ = Secret::parse(&format!("SCRAM-SHA-256${tail}"));
            let _ = Secret::parse(&format!("md5{tail}"));
        }
    }
}
