//! Hashes, keys and signatures as hexadecimal digits.

use aws_lc_rs::digest::{Context, SHA256};
use std::fmt::Write as _;

/// A hash of SHA-256.
pub(crate) type Hash = [u8; 32];

/// SHA-256 of the parts, one behind the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Two lower-case digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _fits = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes of exactly so many lower-case digits.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (to, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *to = value(*high)? << 4 | value(*low)?;
    }
    Some(bytes)
}

/// What one digit stands for.
fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// SHA-256 of a text, as hexadecimal digits: of a configuration, say.
#[must_use]
pub fn hash_of(text: &str) -> String {
    hex(&sha256(&[text.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_lower_case_and_read_back() {
        assert_eq!(hex(&[0, 171, 255]), "00abff");
        assert_eq!(unhex::<3>("00abff"), Some([0, 171, 255]));
        for wrong in ["00abf", "00abfg", "00ABFF", "00abff00"] {
            assert_eq!(unhex::<3>(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_hash_is_that_of_fips_180() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash_of("abc"), abc);
    }
}
