//! Keys that verify tokens, each bound to the algorithms of its type.

use std::fmt;

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use aws_lc_rs::{hmac, rsa};

use super::{Algorithm, TokenError, der, jwks};

/// The shortest HMAC secret, in bytes: the key length that RFC 7518 section 3.2 asks of HS256.
pub const MINIMUM_SECRET_LENGTH: usize = 32;

/// The most keys in one set; a token without a key id is tried with all that fit.
pub const MAX_KEYS: usize = 100;

/// The longest text of keys, in bytes.
const MAX_LENGTH: usize = 1024 * 1024;

/// RSA keys below 2048 bits are refused (RFC 7518 section 3.3), and above 8192 bits too slow.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// What a secret does not start with, but a web page, a key of another kind or a cut one does.
const FOREIGN_STARTS: [&[u8]; 10] = [
    b"<!",
    b"<?",
    b"<html",
    b"<HTML",
    b"<RSAKeyValue",
    b"ssh-",
    b"ecdsa-sha2-",
    b"sk-ssh-",
    b"---- BEGIN",
    b"MII",
];

const RSA_ALGORITHMS: [(Algorithm, &RsaParameters); 6] = [
    (Algorithm::RS256, &signature::RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::RS384, &signature::RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::RS512, &signature::RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::PS256, &signature::RSA_PSS_2048_8192_SHA256),
    (Algorithm::PS384, &signature::RSA_PSS_2048_8192_SHA384),
    (Algorithm::PS512, &signature::RSA_PSS_2048_8192_SHA512),
];

/// The keys that may sign tokens.
///
/// Every key is good for the algorithms of its type only: an RSA key for `RS*` and `PS*`, an HMAC
/// secret for `HS*`, a P-256 key for `ES256`, a P-384 key for `ES384`, an Ed25519 key for `EdDSA`; a
/// JWK that names its algorithm for that one.
#[derive(Clone)]
pub struct KeySet {
    keys: Vec<Key>,
    skipped: usize,
}

/// Why keys cannot be used; never holds anything of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is nothing.
    #[error("the key is empty")]
    Empty,
    /// There is more than a megabyte.
    #[error("the keys are longer than 1048576 bytes")]
    TooLong,
    /// An HMAC secret is too short.
    #[error("the HMAC secret is shorter than {MINIMUM_SECRET_LENGTH} bytes")]
    SecretTooShort,
    /// What would be an HMAC secret looks like something public, which everybody could sign with.
    #[error("this is no key but looks like a web page, a UTF-16 text or a public key in an unknown form")]
    LooksPublic,
    /// A PEM block is broken.
    #[error("the PEM text is malformed")]
    MalformedPem,
    /// A PEM block holds a private key, which does not belong here.
    #[error("the PEM text holds a private key where a public key is expected")]
    PrivateKey,
    /// A PEM block is neither a public key nor a certificate.
    #[error("the PEM text holds something that is neither a public key nor a certificate")]
    UnsupportedPem,
    /// A public key is of no supported type.
    #[error("the public key is not RSA, P-256, P-384 or Ed25519")]
    UnsupportedKey,
    /// An RSA key has not between 2048 and 8192 bits.
    #[error("the RSA key is not between 2048 and 8192 bits long")]
    RsaLength,
    /// The text starts like JSON and is none.
    #[error("the JSON text is malformed")]
    MalformedJson,
    /// The JSON is neither a JWK nor a set of them.
    #[error("the JSON text is neither a JWK nor a JWK set")]
    NotKeys,
    /// There are more than [`MAX_KEYS`] keys.
    #[error("there are more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// No key of a set can verify tokens.
    #[error("none of the keys can verify tokens")]
    NoUsableKey,
}

/// One key, ready for each algorithm of its type.
#[derive(Clone)]
pub(super) struct Key {
    id: Option<String>,
    verifiers: Vec<(Algorithm, Verifier)>,
}

#[derive(Clone)]
enum Verifier {
    Hmac(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl KeySet {
    /// Reads keys from a file or a variable, whose kind shows in the text.
    ///
    /// JSON (it starts with `{` or `[`) is a JWK or a JWK set. A text with `-----BEGIN` is PEM:
    /// public keys and certificates, of which each becomes a key. A public key in DER, plain or in
    /// base64 (as some issuers show it), is taken as that, and refused if its type is not
    /// supported: whoever knows a public key could sign with it, were it taken for a secret. All
    /// else is an HMAC secret, as raw bytes, without one newline at its end.
    ///
    /// Do not use this for what comes from a URL; [`KeySet::parse_jwks`] never takes an error page for a secret.
    ///
    /// # Errors
    /// [`KeyError`], see its variants.
    pub fn parse(bytes: &[u8]) -> Result<KeySet, KeyError> {
        check_length(bytes)?;
        let bytes = bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).ok();
        if bytes.trim_ascii_start().starts_with(b"{") || bytes.trim_ascii_start().starts_with(b"[") {
            return KeySet::parse_jwks(bytes);
        }
        if let Some(text) = text.filter(|text| text.contains("-----BEGIN")) {
            return KeySet::parse_pem(text);
        }
        let decoded = text.and_then(der::base64_lines);
        let candidates = [Some(bytes), decoded.as_deref()].into_iter().flatten();
        match candidates.filter_map(der::whole_structure).next() {
            Some(structure) => public_key_in_der(structure).map(KeySet::of),
            None => KeySet::from_secret(without_newline(bytes)),
        }
    }

    /// Reads a JWK set or a single JWK, and nothing else: what a JWKS URL returns.
    ///
    /// Keys for encryption, of unknown types, or that are broken are left out and counted.
    ///
    /// # Errors
    /// [`KeyError`] if it is no such document or holds no usable key.
    pub fn parse_jwks(bytes: &[u8]) -> Result<KeySet, KeyError> {
        check_length(bytes)?;
        let (keys, skipped) = jwks::parse(bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes))?;
        Ok(KeySet { keys, skipped })
    }

    /// Reads PEM blocks: `PUBLIC KEY`, `RSA PUBLIC KEY` and `CERTIFICATE`.
    ///
    /// A certificate is only a container here: its dates and its issuer are not checked.
    ///
    /// # Errors
    /// [`KeyError`] if a block cannot be used.
    pub fn parse_pem(text: &str) -> Result<KeySet, KeyError> {
        let blocks = der::pem_blocks(text).ok_or(KeyError::MalformedPem)?;
        if blocks.is_empty() {
            return Err(KeyError::MalformedPem);
        }
        if blocks.len() > MAX_KEYS {
            return Err(KeyError::TooManyKeys);
        }
        let keys = blocks.iter().map(key_of_pem).collect::<Result<_, _>>()?;
        Ok(KeySet { keys, skipped: 0 })
    }

    /// Takes an HMAC secret, as raw bytes.
    ///
    /// # Errors
    /// [`KeyError::SecretTooShort`], or [`KeyError::LooksPublic`] for what is no secret at all.
    pub fn from_secret(secret: &[u8]) -> Result<KeySet, KeyError> {
        let start = secret.trim_ascii_start();
        let is_foreign = FOREIGN_STARTS.iter().any(|foreign| start.starts_with(foreign));
        if is_foreign || UTF16_MARKS.iter().any(|mark| secret.starts_with(mark)) {
            return Err(KeyError::LooksPublic);
        }
        if secret.len() < MINIMUM_SECRET_LENGTH {
            return Err(KeyError::SecretTooShort);
        }
        Ok(KeySet::of(Key::hmac(secret)))
    }

    /// Adds the keys of another set.
    ///
    /// # Errors
    /// [`KeyError::TooManyKeys`] if both together are more than [`MAX_KEYS`].
    pub fn merge(mut self, other: KeySet) -> Result<KeySet, KeyError> {
        self.keys.extend(other.keys);
        self.skipped += other.skipped;
        if self.keys.len() > MAX_KEYS { Err(KeyError::TooManyKeys) } else { Ok(self) }
    }

    /// The number of usable keys; never zero.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key, which no constructor allows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The number of entries of a JWK set that were left out.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Verifies a signature with the keys that fit.
    pub(super) fn verify(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), TokenError> {
        let has_id = id.is_some_and(|id| self.keys.iter().any(|key| key.id.as_deref() == Some(id)));
        let fits = |key: &&Key| match id {
            Some(_) if has_id => key.id.as_deref() == id,
            Some(_) => key.id.is_none(),
            None => true,
        };
        let mut verifiers =
            self.keys.iter().filter(fits).filter_map(|key| key.verifier(algorithm)).peekable();
        if verifiers.peek().is_none() {
            return Err(TokenError::NoMatchingKey);
        }
        let is_good = verifiers.any(|verifier| verifier.verifies(message, signature));
        if is_good { Ok(()) } else { Err(TokenError::BadSignature) }
    }

    fn of(key: Key) -> KeySet {
        KeySet { keys: vec![key], skipped: 0 }
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Key {
    /// An HMAC secret, of whatever length.
    pub(super) fn hmac(secret: &[u8]) -> Key {
        let algorithms = [
            (Algorithm::HS256, hmac::HMAC_SHA256),
            (Algorithm::HS384, hmac::HMAC_SHA384),
            (Algorithm::HS512, hmac::HMAC_SHA512),
        ];
        let verifiers = algorithms
            .into_iter()
            .map(|(algorithm, digest)| (algorithm, Verifier::Hmac(Box::new(hmac::Key::new(digest, secret)))));
        Key { id: None, verifiers: verifiers.collect() }
    }

    /// An RSA public key of an acceptable length.
    pub(super) fn rsa(components: &RsaPublicKeyComponents<Vec<u8>>) -> Result<Key, KeyError> {
        if !RSA_MODULUS_BYTES.contains(&components.n.len()) {
            return Err(KeyError::RsaLength);
        }
        let verifiers = RSA_ALGORITHMS
            .into_iter()
            .map(|(algorithm, parameters)| {
                Ok((algorithm, Verifier::Public(components.to_parsed_public_key(parameters)?)))
            })
            .collect::<Result<_, aws_lc_rs::error::KeyRejected>>();
        Ok(Key { id: None, verifiers: verifiers.map_err(|_| KeyError::UnsupportedKey)? })
    }

    /// A public key of a type that has one algorithm; a point, raw bytes or `SubjectPublicKeyInfo`.
    pub(super) fn single(algorithm: Algorithm, bytes: &[u8]) -> Option<Key> {
        let parsed = match algorithm {
            Algorithm::ES256 => ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, bytes),
            Algorithm::ES384 => ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, bytes),
            Algorithm::EdDSA => ParsedPublicKey::new(&signature::ED25519, bytes),
            _ => return None,
        };
        Some(Key { id: None, verifiers: vec![(algorithm, Verifier::Public(parsed.ok()?))] })
    }

    /// The same key for one algorithm only; none if its type cannot do that.
    pub(super) fn restricted_to(mut self, algorithm: Algorithm) -> Option<Key> {
        self.verifiers.retain(|(known, _)| *known == algorithm);
        (!self.verifiers.is_empty()).then_some(self)
    }

    /// The same key with an id.
    pub(super) fn with_id(self, id: &str) -> Key {
        Key { id: Some(id.to_owned()), ..self }
    }

    fn verifier(&self, algorithm: Algorithm) -> Option<&Verifier> {
        self.verifiers.iter().find(|(known, _)| *known == algorithm).map(|(_, verifier)| verifier)
    }
}

impl Verifier {
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Verifier::Hmac(key) => hmac::verify(key, message, signature).is_ok(),
            Verifier::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

fn check_length(bytes: &[u8]) -> Result<(), KeyError> {
    match bytes.len() {
        0 => Err(KeyError::Empty),
        length if length > MAX_LENGTH => Err(KeyError::TooLong),
        _ => Ok(()),
    }
}

fn key_of_pem(block: &der::PemBlock<'_>) -> Result<Key, KeyError> {
    match block.label {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => public_key(&block.der),
        "CERTIFICATE" => public_key(der::certificate_public_key(&block.der).ok_or(KeyError::MalformedPem)?),
        label if label.ends_with("PRIVATE KEY") => Err(KeyError::PrivateKey),
        _ => Err(KeyError::UnsupportedPem),
    }
}

/// A public key or a certificate in DER.
fn public_key_in_der(bytes: &[u8]) -> Result<Key, KeyError> {
    match (public_key(bytes), der::certificate_public_key(bytes)) {
        (Err(KeyError::UnsupportedKey), Some(inner)) => public_key(inner),
        (known, _) => known,
    }
}

fn without_newline(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// Reads a `SubjectPublicKeyInfo` or a PKCS#1 `RSAPublicKey`, whose type shows in it.
fn public_key(bytes: &[u8]) -> Result<Key, KeyError> {
    if let Ok(key) = rsa::PublicKey::from_der(bytes) {
        return Key::rsa(&RsaPublicKeyComponents::from(&key));
    }
    [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]
        .into_iter()
        .find_map(|algorithm| Key::single(algorithm, bytes))
        .ok_or(KeyError::UnsupportedKey)
}
