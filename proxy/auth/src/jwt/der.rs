//! PEM blocks, and the way to the public key inside a certificate.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;

/// A PEM block (RFC 7468), decoded.
pub(super) struct PemBlock<'a> {
    /// `PUBLIC KEY`, `CERTIFICATE` …
    pub(super) label: &'a str,
    /// The DER inside.
    pub(super) der: Vec<u8>,
}

/// Finds every PEM block in a text; none if one of them is broken.
pub(super) fn pem_blocks(text: &str) -> Option<Vec<PemBlock<'_>>> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_explanation, after)) = rest.split_once(BEGIN) {
        let (label, after) = after.split_once(DASHES)?;
        let (body, after) = after.split_once(END)?;
        let after = after.strip_prefix(label)?.strip_prefix(DASHES)?;
        blocks.push(PemBlock { label, der: base64_lines(body)? });
        rest = after;
    }
    Some(blocks)
}

/// Decodes base64 that may be broken into lines.
pub(super) fn base64_lines(text: &str) -> Option<Vec<u8>> {
    let joined: String = text.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    STANDARD.decode(joined).ok()
}

/// The bytes, if they are one DER sequence that starts with a sequence or a number, as keys and
/// certificates do; white space behind it is cut off.
pub(super) fn whole_structure(bytes: &[u8]) -> Option<&[u8]> {
    let element = Element::read(bytes)?.with_tag(SEQUENCE)?;
    let first = element.content.first()?;
    let is_whole = element.rest.trim_ascii().is_empty() && matches!(*first, SEQUENCE | INTEGER);
    is_whole.then_some(element.whole)
}

/// The `SubjectPublicKeyInfo` of an X.509 certificate (RFC 5280 section 4.1), as DER.
///
/// Only the position is looked up: neither the certificate's signature nor its dates are checked.
pub(super) fn certificate_public_key(der: &[u8]) -> Option<&[u8]> {
    let certificate = Element::read(der)?.with_tag(SEQUENCE)?;
    let mut rest = Element::read(certificate.content)?.with_tag(SEQUENCE)?.content;
    let first = Element::read(rest)?;
    if first.tag == VERSION {
        rest = first.rest;
    }
    // serialNumber, signature, issuer, validity, subject
    for _ in 0..5 {
        rest = Element::read(rest)?.rest;
    }
    Some(Element::read(rest)?.with_tag(SEQUENCE)?.whole)
}

/// A DER element at the start of some bytes.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (tag, after_tag) = bytes.split_first()?;
        let (length, body) = read_length(after_tag)?;
        let (content, rest) = body.split_at_checked(length)?;
        let (whole, _) = bytes.split_at_checked(bytes.len() - rest.len())?;
        Some(Element { tag: *tag, content, whole, rest })
    }

    fn with_tag(self, tag: u8) -> Option<Self> {
        (self.tag == tag).then_some(self)
    }
}

/// Reads a definite length of up to four bytes.
fn read_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first < 0x80 {
        return Some((usize::from(*first), rest));
    }
    let count = usize::from(*first & 0x7f);
    if count == 0 || count > 4 {
        return None;
    }
    let (digits, rest) = rest.split_at_checked(count)?;
    let length = digits.iter().fold(0_u32, |length, digit| (length << 8) | u32::from(*digit));
    Some((usize::try_from(length).ok()?, rest))
}
