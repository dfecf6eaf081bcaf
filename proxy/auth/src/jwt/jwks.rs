//! JSON Web Keys and sets of them (RFC 7517, RFC 7518 section 6, RFC 8037).

use aws_lc_rs::signature::RsaPublicKeyComponents;
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::Algorithm;
use super::keys::{Key, KeyError, MAX_KEYS, MINIMUM_SECRET_LENGTH};

/// Some issuers pad, against RFC 7515 section 2; a key is the same with and without.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The marker of an uncompressed point, SEC 1 section 2.3.3.
const UNCOMPRESSED_POINT: u8 = 0x04;

/// Reads a set or a single key; returns the usable keys and the number of those left out.
pub(super) fn parse(bytes: &[u8]) -> Result<(Vec<Key>, usize), KeyError> {
    let document: Value = serde_json::from_slice(bytes).map_err(|_| KeyError::MalformedJson)?;
    let document = document.as_object().ok_or(KeyError::NotKeys)?;
    let entries = match document.get("keys") {
        Some(Value::Array(entries)) => entries.iter().collect(),
        Some(_) => return Err(KeyError::NotKeys),
        None if document.contains_key("kty") => return single(document),
        None => return Err(KeyError::NotKeys),
    };
    many(entries)
}

fn single(entry: &Map<String, Value>) -> Result<(Vec<Key>, usize), KeyError> {
    let key = parse_key(entry).ok_or(KeyError::NoUsableKey)?;
    Ok((vec![key], 0))
}

fn many(entries: Vec<&Value>) -> Result<(Vec<Key>, usize), KeyError> {
    if entries.len() > MAX_KEYS {
        return Err(KeyError::TooManyKeys);
    }
    let total = entries.len();
    let keys: Vec<Key> = entries.into_iter().filter_map(|entry| parse_key(entry.as_object()?)).collect();
    if keys.is_empty() {
        return Err(KeyError::NoUsableKey);
    }
    let skipped = total - keys.len();
    Ok((keys, skipped))
}

/// A key that can verify signatures, or none.
fn parse_key(entry: &Map<String, Value>) -> Option<Key> {
    let is_for_signatures = entry.get("use").is_none_or(|purpose| purpose == "sig");
    let may_verify = entry.get("key_ops").is_none_or(may_verify);
    if !is_for_signatures || !may_verify {
        return None;
    }
    let key = match text(entry, "kty")? {
        "oct" => secret(entry),
        "RSA" => rsa(entry),
        "EC" => elliptic_curve(entry),
        "OKP" => octet_key_pair(entry),
        _ => None,
    }?;
    let key = match entry.get("alg") {
        None => key,
        Some(Value::String(name)) => key.restricted_to(name.parse().ok()?)?,
        Some(_) => return None,
    };
    match entry.get("kid") {
        None => Some(key),
        Some(Value::String(id)) => Some(key.with_id(id)),
        Some(_) => None,
    }
}

fn secret(entry: &Map<String, Value>) -> Option<Key> {
    let secret = Zeroizing::new(bytes(entry, "k")?);
    (secret.len() >= MINIMUM_SECRET_LENGTH).then(|| Key::hmac(&secret))
}

fn rsa(entry: &Map<String, Value>) -> Option<Key> {
    let n = without_leading_zeros(bytes(entry, "n")?);
    let e = without_leading_zeros(bytes(entry, "e")?);
    Key::rsa(&RsaPublicKeyComponents { n, e }).ok()
}

fn elliptic_curve(entry: &Map<String, Value>) -> Option<Key> {
    let (algorithm, coordinate_length) = match text(entry, "crv")? {
        "P-256" => (Algorithm::ES256, 32),
        "P-384" => (Algorithm::ES384, 48),
        _ => return None,
    };
    let (x, y) = (bytes(entry, "x")?, bytes(entry, "y")?);
    if x.len() != coordinate_length || y.len() != coordinate_length {
        return None;
    }
    let point = [vec![UNCOMPRESSED_POINT], x, y].concat();
    Key::single(algorithm, &point)
}

fn octet_key_pair(entry: &Map<String, Value>) -> Option<Key> {
    let key = bytes(entry, "x")?;
    (text(entry, "crv")? == "Ed25519" && key.len() == 32).then(|| Key::single(Algorithm::EdDSA, &key))?
}

fn may_verify(operations: &Value) -> bool {
    operations.as_array().is_some_and(|list| list.iter().any(|operation| operation == "verify"))
}

fn text<'a>(entry: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    entry.get(name)?.as_str()
}

fn bytes(entry: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    BASE64URL.decode(text(entry, name)?).ok()
}

fn without_leading_zeros(number: Vec<u8>) -> Vec<u8> {
    number.into_iter().skip_while(|digit| *digit == 0).collect()
}
