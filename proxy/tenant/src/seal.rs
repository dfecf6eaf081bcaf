//! Sealing contexts: what a seal is made of. The readers of `deploy/sql/seal.sql` verify it in the database.
//!
//! ```text
//! 1 | key id: 8 | expiry: 16 | number: 16 | HMAC-SHA256: 64        lower-case hexadecimal, one after the other
//! ```
//! The code covers everything in front of it, the server process, and SHA-256 of the names and values.

use crate::encode::{ROLE, encode};
use aws_lc_rs::digest::{Context as Hash, SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use pgwarden_session::{Carrier, SEAL_LENGTH, Seal, Sealer, Sealing};
use std::io::Write as _;
use std::sync::Arc;
use thiserror::Error;
use zeroize::Zeroizing;

/// How long a key is, in bytes.
const KEY_LENGTH: usize = 32;
/// How long the authentication code is, in hexadecimal digits.
const CODE_LENGTH: usize = 64;
/// The block of SHA-256, to which HMAC fills its key up (RFC 2104).
const BLOCK: usize = 64;
/// What follows the seal among the parameters of Bind (result formats), in SET LOCAL, and in an assignment.
const BEHIND: [usize; 3] = [2, 3, 1];

/// A key that seals contexts.
#[derive(Debug)]
pub struct SealKey {
    id: String,
    hmac: hmac::Key,
}

/// A key in the form in which the readers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pads {
    /// The key, exclusive-or with 0x36.
    pub inner: Zeroizing<[u8; BLOCK]>,
    /// The key, exclusive-or with 0x5c.
    pub outer: Zeroizing<[u8; BLOCK]>,
}

/// The text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a key of contexts has 64 hexadecimal digits, as \"pgwarden seal keygen\" writes them")]
pub struct NotASealKey;

impl SealKey {
    /// Reads a key: 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`NotASealKey`] for anything else.
    pub fn parse(text: &str) -> Result<Self, NotASealKey> {
        let bytes = bytes_of(text)?;
        // What it is called follows from what it is: no two keys are taken for each other.
        let hash = digest(&SHA256, bytes.as_slice());
        let id = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { id, hmac: hmac::Key::new(HMAC_SHA256, bytes.as_slice()) })
    }

    /// What seals and readers call it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A seal that no transaction may begin with from `expiry` on, in microseconds since 2000 on the server's clock.
    #[must_use]
    pub fn seal(&self, identity: &[u8], expiry: u64, number: u64, digest: &[u8; 32]) -> Seal {
        let mut seal = [0; SEAL_LENGTH];
        let (head, code) = seal.split_at_mut(SEAL_LENGTH - CODE_LENGTH);
        let _fits = write!(&mut *head, "1{}{expiry:016x}{number:016x}", self.id);
        let mut context = hmac::Context::with_key(&self.hmac);
        for part in [head, identity, digest] {
            context.update(part);
        }
        for (digits, byte) in code.chunks_exact_mut(2).zip(context.sign().as_ref()) {
            let pair = [byte >> 4, byte & 0xF];
            digits.iter_mut().zip(pair).for_each(|(to, value)| *to = digit(value));
        }
        seal
    }
}

impl Pads {
    /// What the readers keep of a key.
    ///
    /// # Errors
    /// [`NotASealKey`] when the text is none.
    pub fn parse(text: &str) -> Result<Self, NotASealKey> {
        let bytes = bytes_of(text)?;
        let pad = |with: u8| {
            let mut pad = Zeroizing::new([with; BLOCK]);
            pad.iter_mut().zip(bytes.iter()).for_each(|(to, byte)| *to = byte ^ with);
            pad
        };
        Ok(Self { inner: pad(0x36), outer: pad(0x5c) })
    }
}

/// Encodes the values of the variables `names`, sealed in the variable `seal`.
#[must_use]
pub fn encode_sealed(names: &[&str], values: &[String], seal: &str, sealer: Arc<dyn Sealer>) -> Carrier {
    let place = "0".repeat(SEAL_LENGTH);
    let all_names: Vec<&str> = names.iter().copied().chain([seal]).collect();
    let all_values: Vec<String> = values.iter().cloned().chain([place]).collect();
    let mut carrier = encode(&all_names, &all_values);
    let last = carrier.assignments.last().map_or(0, Vec::len);
    let ends = [carrier.values.len(), carrier.text.len(), last];
    let mut places = [0; 3];
    for (place, (end, behind)) in places.iter_mut().zip(ends.into_iter().zip(BEHIND)) {
        *place = end.saturating_sub(SEAL_LENGTH + behind);
    }
    carrier.sealing = Some(Sealing { sealer, digest: digest_of(names, values), places });
    carrier
}

/// SHA-256 over each name and value, with its length in front. The role is no variable that a reader would verify: the
/// server itself says who may be which.
fn digest_of(names: &[&str], values: &[String]) -> [u8; 32] {
    let mut hash = Hash::new(&SHA256);
    let sealed = names.iter().zip(values).filter(|(name, _)| **name != ROLE);
    for part in sealed.flat_map(|(name, value)| [*name, value.as_str()]) {
        hash.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finish().as_ref().try_into().unwrap_or_default()
}

/// The hexadecimal digit of a value below 16.
fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' - 10 + value }
}

fn bytes_of(text: &str) -> Result<Zeroizing<[u8; KEY_LENGTH]>, NotASealKey> {
    let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
    if text.len() != 2 * KEY_LENGTH || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(NotASealKey);
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| NotASealKey)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| NotASealKey)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgwarden_session::Process;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    const HEAD: &str = "1630dcd290002c5f1000000010000000000000007";
    const CODE: &str = "f08d1c2f995d52631b9a7dbf1291fa11067ea203be33cb444ebf711243421dd2";

    #[derive(Debug)]
    struct Fixed;

    impl Sealer for Fixed {
        fn seal(&self, _: &Process, _: u64, _: &[u8; 32]) -> Seal {
            [b'x'; SEAL_LENGTH]
        }
    }

    /// Computed with `hmac` and `hashlib` of Python 3.11.
    #[test]
    fn a_seal_is_what_hmac_makes_of_head_process_and_digest() {
        let key = SealKey::parse(KEY).expect("a key");
        let digest = digest_of(&["app.a", "app.b"], &["x".into(), String::new()]);
        let seal = key.seal(b"process", 0x0002_c5f1_0000_0001, 7, &digest);
        let text = String::from_utf8(seal.to_vec()).expect("ascii");
        assert_eq!(text.split_at(41), (HEAD, CODE));
    }

    #[test]
    fn the_pads_are_those_of_hmac() {
        let pads = Pads::parse(KEY).expect("a key");
        assert_eq!((pads.inner[1], pads.inner[63]), (0x37, 0x36));
        assert_eq!((pads.outer[1], pads.outer[63]), (0x5d, 0x5c));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "00", &KEY[1..], &KEY.replace('0', "é"), &format!("{KEY}00"), &KEY.replace('0', "+")]
        {
            assert_eq!(SealKey::parse(text).err(), Some(NotASealKey), "{text}");
        }
    }

    #[test]
    fn neither_the_end_of_a_value_nor_the_order_of_names_can_be_moved() {
        let digest = |names: &[&str], values: &[&str]| {
            digest_of(names, &values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>())
        };
        let all = [
            digest(&["a", "b"], &["x", "y"]),
            digest(&["b", "a"], &["x", "y"]),
            digest(&["a", "b"], &["y", "x"]),
            digest(&["a", "b"], &["xy", ""]),
            digest(&["a"], &["xby"]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one));
        }
    }

    #[test]
    fn the_place_of_the_seal_is_found_in_every_form() {
        let carrier = encode_sealed(&["app.a"], &["1".into()], "app.context_seal", Arc::new(Fixed));
        let sealing = carrier.sealing.clone().expect("sealed");
        let place = "0".repeat(SEAL_LENGTH).into_bytes();
        for (bytes, at) in [(&carrier.values, 0), (&carrier.text, 1), (&carrier.assignments[1], 2)]
            .map(|(b, i)| (b, sealing.places[i]))
        {
            assert_eq!(bytes[at..at + SEAL_LENGTH], place);
        }
        assert_eq!(carrier.blanks[1], b"\"app\".\"context_seal\" = E''");
    }
}
