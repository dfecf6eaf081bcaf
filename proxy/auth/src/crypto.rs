//! The few primitives that SCRAM and password checks are made of.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use zeroize::Zeroizing;

/// The length of every SCRAM-SHA-256 key, in bytes.
pub(crate) const KEY_LENGTH: usize = 32;

/// A SHA-256 sized value.
pub(crate) type Key = [u8; KEY_LENGTH];

/// HMAC-SHA-256 over the concatenation of `parts`.
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Key {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part);
    }
    to_key(context.sign().as_ref())
}

/// SHA-256 of `data`.
pub(crate) fn sha256(data: &[u8]) -> Key {
    to_key(digest::digest(&digest::SHA256, data).as_ref())
}

/// `SaltedPassword` of RFC 5802, with the password prepared as PostgreSQL does.
pub(crate) fn salted_password(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Zeroizing<Key> {
    let prepared = prepare(password);
    let mut salted = Zeroizing::new([0; KEY_LENGTH]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, &prepared, salted.as_mut());
    salted
}

/// Exclusive or, byte by byte.
pub(crate) fn xor(left: &Key, right: &Key) -> Key {
    let mut out = *left;
    for (byte, other) in out.iter_mut().zip(right) {
        *byte ^= other;
    }
    out
}

/// SASLprep where it succeeds, the bytes as they are where it does not.
///
/// `pg_be_scram_build_secret` and `scram_init` fall back in the same way
/// (`src/backend/libpq/auth-scram.c`, `src/interfaces/libpq/fe-auth-scram.c`), because a PostgreSQL
/// password need not be valid UTF-8. A password of which nothing is left counts as one that cannot
/// be prepared (`pg_saslprep` in `src/common/saslprep.c`).
fn prepare(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let prepared = std::str::from_utf8(password)
        .ok()
        .and_then(|text| stringprep::saslprep(text).ok())
        .map(|text| text.into_owned().into_bytes())
        .filter(|text| !text.is_empty());
    Zeroizing::new(prepared.unwrap_or_else(|| password.to_vec()))
}

fn to_key(bytes: &[u8]) -> Key {
    let mut key = [0; KEY_LENGTH];
    for (target, byte) in key.iter_mut().zip(bytes) {
        *target = *byte;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_prepared_as_postgresql_does() {
        let prepared = |password: &str| String::from_utf8(prepare(password.as_bytes()).to_vec()).unwrap();
        // RFC 4013 section 3
        assert_eq!(prepared("I\u{ad}X"), "IX");
        assert_eq!(prepared("user"), "user");
        assert_eq!(prepared("USER"), "USER");
        assert_eq!(prepared("\u{aa}"), "a");
        assert_eq!(prepared("\u{2168}"), "IX");
        // prohibited, mixed directions, nothing left, no UTF-8: as they are
        assert_eq!(prepared("\u{7}"), "\u{7}");
        assert_eq!(prepared("\u{627}1"), "\u{627}1");
        assert_eq!(prepared("\u{ad}"), "\u{ad}");
        assert_eq!(prepare(b"\xff\xfe").as_slice(), b"\xff\xfe");
    }
}
