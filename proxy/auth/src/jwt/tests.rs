use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{EncodingKey, Header as TheirHeader};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: u64 = 1_700_000_000;
const SECRET: &[u8] = b"a secret of thirty-two bytes.....";

/// A key pair that was made for the tests: our view of the public, another library's of the private.
struct Issuer {
    public_der: Vec<u8>,
    jwk: Value,
    signing: EncodingKey,
}

static RSA: LazyLock<Issuer> = LazyLock::new(|| rsa_issuer(KeySize::Rsa2048));
static P256: LazyLock<Issuer> = LazyLock::new(|| ec_issuer(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"));
static P384: LazyLock<Issuer> = LazyLock::new(|| ec_issuer(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"));
static ED: LazyLock<Issuer> = LazyLock::new(ed_issuer);
static HMAC: LazyLock<Issuer> = LazyLock::new(|| Issuer {
    public_der: SECRET.to_vec(),
    jwk: json!({"kty": "oct", "k": b64(SECRET)}),
    signing: EncodingKey::from_secret(SECRET),
});

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn pem(label: &str, der: &[u8]) -> String {
    let body: Vec<String> =
        STANDARD.encode(der).as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", body.join("\n"))
}

fn rsa_issuer(size: KeySize) -> Issuer {
    let pair = aws_lc_rs::rsa::KeyPair::generate(size).unwrap();
    let pkcs8 = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der>::as_der(&pair).unwrap();
    let pair = RsaKeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let parts = signature::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    Issuer {
        public_der: AsDer::<aws_lc_rs::encoding::PublicKeyX509Der>::as_der(pair.public_key())
            .unwrap()
            .as_ref()
            .to_vec(),
        jwk: json!({"kty": "RSA", "n": b64(&parts.n), "e": b64(&parts.e)}),
        signing: EncodingKey::from_rsa_pem(pem("PRIVATE KEY", pkcs8.as_ref()).as_bytes()).unwrap(),
    }
}

fn ec_issuer(algorithm: &'static EcdsaSigningAlgorithm, curve: &str) -> Issuer {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref()).unwrap();
    let point = pair.public_key().as_ref();
    let (x, y) = point[1..].split_at(point.len() / 2);
    Issuer {
        public_der: AsDer::<aws_lc_rs::encoding::PublicKeyX509Der>::as_der(pair.public_key())
            .unwrap()
            .as_ref()
            .to_vec(),
        jwk: json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)}),
        signing: EncodingKey::from_ec_der(pkcs8.as_ref()),
    }
}

fn ed_issuer() -> Issuer {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    Issuer {
        public_der: AsDer::<aws_lc_rs::encoding::PublicKeyX509Der>::as_der(pair.public_key())
            .unwrap()
            .as_ref()
            .to_vec(),
        jwk: json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref())}),
        signing: EncodingKey::from_ed_der(pkcs8.as_ref()),
    }
}

fn issuer(algorithm: Algorithm) -> &'static Issuer {
    match algorithm.name() {
        "ES256" => &P256,
        "ES384" => &P384,
        "EdDSA" => &ED,
        name if name.starts_with("HS") => &HMAC,
        _ => &RSA,
    }
}

fn sign(algorithm: Algorithm, kid: Option<&str>, claims: &Value) -> String {
    let mut header = TheirHeader::new(algorithm.name().parse().unwrap());
    header.kid = kid.map(str::to_owned);
    jsonwebtoken::encode(&header, claims, &issuer(algorithm).signing).unwrap()
}

/// A token with a header and a payload of any kind, signed with the HMAC secret.
fn sign_raw(header: &str, payload: &[u8], secret: &[u8]) -> String {
    let signed = format!("{}.{}", b64(header.as_bytes()), b64(payload));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", b64(tag.as_ref()))
}

fn jwks(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

fn with(jwk: &Value, members: &Value) -> Value {
    let mut jwk = jwk.clone();
    jwk.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    jwk
}

fn secret() -> KeySet {
    KeySet::parse(SECRET).unwrap()
}

fn claims() -> Value {
    json!({"sub": "42", "iss": "https://issuer", "aud": "pgwarden", "exp": NOW + 60})
}

/// Verifies claims that are signed properly, under a policy.
fn check(claims: &Value, policy: &JwtPolicy) -> Result<Claims, TokenError> {
    verify(&sign(Algorithm::HS256, None, claims), &secret(), policy, NOW)
}

fn policy() -> JwtPolicy {
    JwtPolicy::default()
}

#[test]
fn every_algorithm_verifies_with_every_form_of_its_key_and_no_other() {
    for algorithm in Algorithm::ALL {
        let token = sign(*algorithm, None, &claims());
        let own = issuer(*algorithm);
        let mut forms = vec![KeySet::parse(&own.public_der), KeySet::parse(own.jwk.to_string().as_bytes())];
        if own.public_der != SECRET {
            forms.push(KeySet::parse(pem("PUBLIC KEY", &own.public_der).as_bytes()));
            forms.push(KeySet::parse(STANDARD.encode(&own.public_der).as_bytes()));
        }
        for keys in forms {
            let claims = verify(&token, &keys.unwrap(), &policy(), NOW).unwrap();
            assert_eq!(claims.json["sub"], "42");
        }
        for other in Algorithm::ALL {
            let other = issuer(*other);
            if other.public_der != own.public_der {
                let keys = KeySet::parse(&other.public_der).unwrap();
                assert_eq!(verify(&token, &keys, &policy(), NOW), Err(TokenError::NoMatchingKey));
            }
        }
        let mut forged = token.clone();
        let last = forged.len() - 20;
        forged.replace_range(last..=last, if &forged[last..=last] == "A" { "B" } else { "A" });
        let keys = KeySet::parse(&own.public_der).unwrap();
        assert_eq!(verify(&forged, &keys, &policy(), NOW), Err(TokenError::BadSignature));
    }
}

#[test]
fn the_tokens_and_keys_of_openssl_are_read() {
    let token = include_str!("../../tests/fixtures/issuer.token").trim_end();
    let certificate = include_str!("../../tests/fixtures/issuer.certificate.pem");
    let spki = include_str!("../../tests/fixtures/issuer.public.pem");
    let pkcs1 = include_str!("../../tests/fixtures/issuer.rsa-public.pem");
    let with_windows_newlines = format!("\u{feff}a comment\r\n{}", spki.replace('\n', "\r\n"));
    let bare: String = spki.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(certificate.lines().filter(|line| !line.starts_with('-')).collect::<String>());
    let der = der.unwrap();
    for keys in [
        certificate.as_bytes(),
        spki.as_bytes(),
        pkcs1.as_bytes(),
        with_windows_newlines.as_bytes(),
        bare.as_bytes(),
        &der,
    ] {
        let claims = verify(token, &KeySet::parse(keys).unwrap(), &policy(), NOW).unwrap();
        assert_eq!(claims.text, r#"{"sub":"42","exp":4102444800}"#);
        assert_eq!(claims.expires_at, Some(4_102_444_800));
    }
    let both = format!("{certificate}{}", pem("PUBLIC KEY", &P256.public_der));
    assert_eq!(KeySet::parse(both.as_bytes()).unwrap().len(), 2);
}

#[test]
fn a_public_key_is_never_an_hmac_secret() {
    let header = r#"{"alg":"HS256"}"#;
    let payload = claims().to_string();
    let public = pem("PUBLIC KEY", &RSA.public_der);
    for secret in [public.as_bytes(), public.trim_end().as_bytes(), &RSA.public_der] {
        let forged = sign_raw(header, payload.as_bytes(), secret);
        let keys = KeySet::parse(public.as_bytes()).unwrap();
        assert_eq!(verify(&forged, &keys, &policy(), NOW), Err(TokenError::NoMatchingKey));
    }
    // keys that cannot be used are refused instead of becoming secrets that everybody knows
    let short = include_str!("../../tests/fixtures/short.public.pem");
    let p521 = include_str!("../../tests/fixtures/p521.public.pem");
    for (text, error) in [(short, KeyError::RsaLength), (p521, KeyError::UnsupportedKey)] {
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(&body).unwrap();
        for form in [text.as_bytes(), body.as_bytes(), &der] {
            assert_eq!(KeySet::parse(form).unwrap_err(), error);
        }
    }
    let utf16: Vec<u8> =
        [0xfeff].into_iter().chain(public.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let ssh = format!("ssh-rsa {}", STANDARD.encode(&RSA.public_der));
    let page = format!("<!DOCTYPE html>{}", "x".repeat(100));
    let cut = &STANDARD.encode(&RSA.public_der)[..200];
    for public in [utf16.as_slice(), ssh.as_bytes(), page.as_bytes(), cut.as_bytes()] {
        assert_eq!(KeySet::parse(public).unwrap_err(), KeyError::LooksPublic);
    }
}

#[test]
fn unsigned_tokens_are_refused() {
    let payload = b64(claims().to_string().as_bytes());
    for alg in ["none", "None", "NONE", "", "hs256", "ES512", "RSA-OAEP"] {
        let header = b64(json!({ "alg": alg }).to_string().as_bytes());
        for token in [format!("{header}.{payload}."), format!("{header}.{payload}.AAAA")] {
            assert_eq!(verify(&token, &secret(), &policy(), NOW), Err(TokenError::UnknownAlgorithm));
        }
    }
    let header = b64(br#"{"alg":"HS256"}"#);
    let unsigned = verify(&format!("{header}.{payload}."), &secret(), &policy(), NOW);
    assert_eq!(unsigned, Err(TokenError::BadSignature));
}

#[test]
fn malformed_tokens_are_refused() {
    let good = sign(Algorithm::HS256, None, &claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let malformed = [
        String::new(),
        "..".to_owned(),
        signed.to_owned(),
        format!("{good}."),
        format!("{good}.x.y"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}="),
        format!("{header}.{payload}.{signature}!"),
        format!("{header}=.{payload}.{signature}"),
        format!("{}.{payload}.{signature}", b64(b"[]")),
        format!("{}.{payload}.{signature}", b64(b"{}")),
        format!("{}.{payload}.{signature}", b64(br#"{"alg":1}"#)),
        format!("{}.{payload}.{signature}", b64(br#"{"alg":"HS256","alg":"HS256"}"#)),
        format!("{}.{payload}.{signature}", b64(br#"{"alg":"HS256","kid":1}"#)),
        format!("{}.{payload}.{signature}", b64(b"\xff")),
        sign_raw(r#"{"alg":"HS256"}"#, b"[]", SECRET),
        sign_raw(r#"{"alg":"HS256"}"#, b"{\"a\":\"\xff\"}", SECRET),
        sign_raw(r#"{"alg":"HS256"}"#, b"{", SECRET),
        sign_raw(r#"{"alg":"HS256"}"#, "[".repeat(10_000).as_bytes(), SECRET),
    ];
    for token in malformed {
        let error = verify(&token, &secret(), &policy(), NOW).unwrap_err();
        assert!(matches!(error, TokenError::Malformed(_)), "{token}: {error}");
    }
    for crit in [json!(["b64"]), json!([]), json!(null), json!("x")] {
        let token = sign_raw(&json!({"alg": "HS256", "crit": crit}).to_string(), b"{}", SECRET);
        assert_eq!(verify(&token, &secret(), &policy(), NOW), Err(TokenError::CriticalHeader));
    }
}

#[test]
fn the_length_is_limited() {
    let with_length = |length: usize| {
        let empty = sign_raw(r#"{"alg":"HS256"}"#, br#"{"exp":9999999999,"x":""}"#, SECRET).len();
        let payload = format!(r#"{{"exp":9999999999,"x":"{}"}}"#, "x".repeat((length - empty) * 3 / 4));
        sign_raw(r#"{"alg":"HS256"}"#, payload.as_bytes(), SECRET)
    };
    let long = with_length(MAX_TOKEN_LENGTH);
    assert!(long.len() > MAX_TOKEN_LENGTH - 4 && long.len() <= MAX_TOKEN_LENGTH, "{}", long.len());
    assert!(verify(&long, &secret(), &policy(), NOW).is_ok());
    let too_long = with_length(MAX_TOKEN_LENGTH + 8);
    assert_eq!(verify(&too_long, &secret(), &policy(), NOW), Err(TokenError::TooLong { limit: 65_535 }));
}

#[test]
fn only_allowed_algorithms_pass() {
    let only = |algorithms: &[Algorithm]| JwtPolicy { algorithms: algorithms.to_vec(), ..policy() };
    let token = sign(Algorithm::HS256, None, &claims());
    assert!(verify(&token, &secret(), &only(&[Algorithm::RS256, Algorithm::HS256]), NOW).is_ok());
    let refused = verify(&token, &secret(), &only(&[Algorithm::HS512, Algorithm::RS256]), NOW);
    assert_eq!(refused, Err(TokenError::NotAllowed { alg: Algorithm::HS256 }));
    assert_eq!("HS256".parse(), Ok(Algorithm::HS256));
    assert_eq!("none".parse::<Algorithm>(), Err(UnknownAlgorithm));
}

#[test]
fn the_key_id_selects_the_key() {
    let keys = jwks(&[
        with(&RSA.jwk, &json!({"kid": "one"})),
        with(&P256.jwk, &json!({"kid": "two"})),
        with(&HMAC.jwk, &json!({"kid": "three", "alg": "HS384"})),
    ]);
    let result = |algorithm, kid| verify(&sign(algorithm, kid, &claims()), &keys, &policy(), NOW).err();
    assert_eq!(result(Algorithm::RS256, Some("one")), None);
    assert_eq!(result(Algorithm::PS512, Some("one")), None);
    assert_eq!(result(Algorithm::RS256, None), None);
    assert_eq!(result(Algorithm::ES256, Some("two")), None);
    assert_eq!(result(Algorithm::RS256, Some("two")), Some(TokenError::NoMatchingKey));
    assert_eq!(result(Algorithm::RS256, Some("four")), Some(TokenError::NoMatchingKey));
    assert_eq!(result(Algorithm::RS256, Some("")), Some(TokenError::NoMatchingKey));
    // a JWK that names its algorithm is good for that one only
    assert_eq!(result(Algorithm::HS384, Some("three")), None);
    assert_eq!(result(Algorithm::HS256, Some("three")), Some(TokenError::NoMatchingKey));
}

#[test]
fn a_key_without_an_id_serves_tokens_with_one() {
    let token = sign(Algorithm::RS256, Some("whatever"), &claims());
    let plain = KeySet::parse(&RSA.public_der).unwrap();
    assert!(verify(&token, &plain, &policy(), NOW).is_ok());
    // but not if another key claims the id
    let other = KeySet::parse(with(&P256.jwk, &json!({"kid": "whatever"})).to_string().as_bytes()).unwrap();
    let both = plain.merge(other).unwrap();
    assert_eq!(both.len(), 2);
    assert_eq!(verify(&token, &both, &policy(), NOW), Err(TokenError::NoMatchingKey));
}

#[test]
fn all_fitting_keys_are_tried_without_a_key_id() {
    let other = rsa_issuer(KeySize::Rsa2048);
    let keys = jwks(&[with(&other.jwk, &json!({"kid": "a"})), with(&RSA.jwk, &json!({"kid": "b"}))]);
    assert!(verify(&sign(Algorithm::RS256, None, &claims()), &keys, &policy(), NOW).is_ok());
    let only_other = jwks(&[other.jwk]);
    let result = verify(&sign(Algorithm::RS256, None, &claims()), &only_other, &policy(), NOW);
    assert_eq!(result, Err(TokenError::BadSignature));
}

#[test]
fn unusable_keys_of_a_set_are_skipped() {
    let garbage = [
        json!(null),
        json!([]),
        json!("text"),
        json!({}),
        json!({"kty": "unknown"}),
        json!({"kty": 1}),
        json!({"kty": "RSA"}),
        json!({"kty": "RSA", "n": "!", "e": "AQAB"}),
        json!({"kty": "RSA", "n": b64(&[0xff; 128]), "e": "AQAB"}),
        json!({"kty": "RSA", "n": b64(&[0xff; 256]), "e": ""}),
        json!({"kty": "EC", "crv": "P-256", "x": b64(&[1; 32]), "y": b64(&[1; 32])}),
        json!({"kty": "EC", "crv": "P-521", "x": b64(&[1; 66]), "y": b64(&[1; 66])}),
        json!({"kty": "EC", "crv": "secp256k1", "x": b64(&[1; 32]), "y": b64(&[1; 32])}),
        json!({"kty": "OKP", "crv": "X25519", "x": b64(&[1; 32])}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": b64(&[1; 31])}),
        json!({"kty": "oct", "k": b64(&[1; 31])}),
        with(&RSA.jwk, &json!({"use": "enc"})),
        with(&RSA.jwk, &json!({"key_ops": ["encrypt"]})),
        with(&RSA.jwk, &json!({"alg": "RSA-OAEP"})),
        with(&RSA.jwk, &json!({"alg": "HS256"})),
        with(&RSA.jwk, &json!({"kid": 1})),
        with(&P384.jwk, &json!({"crv": "P-256"})),
    ];
    for entry in &garbage {
        let document = json!({"keys": [entry]}).to_string();
        assert_eq!(KeySet::parse(document.as_bytes()).unwrap_err(), KeyError::NoUsableKey, "{entry}");
    }
    let padded = format!("{}=", P256.jwk["x"].as_str().unwrap());
    let good = [
        with(
            &RSA.jwk,
            &json!({"use": "sig", "alg": "RS256", "key_ops": ["verify"], "x5c": ["?"], "n": format!("AAAA{}", "")}),
        ),
        with(&RSA.jwk, &json!({"use": "sig", "alg": "RS256", "key_ops": ["verify"], "x5c": ["?"]})),
        with(&P256.jwk, &json!({"x": padded})),
    ];
    let keys = jwks(&[garbage.as_slice(), &good].concat());
    assert_eq!((keys.len(), keys.skipped()), (2, garbage.len() + 1));
    assert!(verify(&sign(Algorithm::RS256, None, &claims()), &keys, &policy(), NOW).is_ok());
}

#[test]
fn keys_that_cannot_be_used_say_why() {
    let error = |bytes: &[u8]| KeySet::parse(bytes).unwrap_err();
    assert_eq!(error(b""), KeyError::Empty);
    assert_eq!(error(&vec![b'x'; 1024 * 1024 + 1]), KeyError::TooLong);
    assert_eq!(error(&SECRET[..31]), KeyError::SecretTooShort);
    assert_eq!(error(b"0123456789012345678901234567890\n"), KeyError::SecretTooShort);
    assert_eq!(error(b"{"), KeyError::MalformedJson);
    assert_eq!(error(br#"{"keys": {}}"#), KeyError::NotKeys);
    assert_eq!(error(br#"{"error": "not found"}"#), KeyError::NotKeys);
    assert_eq!(error(b"[]"), KeyError::NotKeys);
    assert_eq!(error(br#"{"keys": []}"#), KeyError::NoUsableKey);
    assert_eq!(error(json!({"keys": vec![&P256.jwk; 101]}).to_string().as_bytes()), KeyError::TooManyKeys);
    assert_eq!(error(pem("PRIVATE KEY", b"x").as_bytes()), KeyError::PrivateKey);
    assert_eq!(error(pem("EC PRIVATE KEY", b"x").as_bytes()), KeyError::PrivateKey);
    assert_eq!(error(pem("PGP PUBLIC KEY BLOCK", b"x").as_bytes()), KeyError::UnsupportedPem);
    assert_eq!(error(pem("PUBLIC KEY", b"x").as_bytes()), KeyError::UnsupportedKey);
    assert_eq!(error(pem("CERTIFICATE", b"x").as_bytes()), KeyError::MalformedPem);
    assert_eq!(error(b"-----BEGIN PUBLIC KEY-----"), KeyError::MalformedPem);
    assert_eq!(error(b"-----BEGIN A-----\n!\n-----END A-----"), KeyError::MalformedPem);
    assert_eq!(error(b"-----BEGIN A-----\nAA==\n-----END B-----"), KeyError::MalformedPem);
    // what comes from a URL is JSON or nothing
    assert_eq!(KeySet::parse_jwks(&[b'x'; 64]).unwrap_err(), KeyError::MalformedJson);
    assert!(!format!("{:?}", secret()).contains("secret of"));
}

#[test]
fn one_newline_after_a_secret_does_not_count() {
    let token = sign(Algorithm::HS512, None, &claims());
    for ending in ["", "\n", "\r\n"] {
        let keys = KeySet::parse(&[SECRET, ending.as_bytes()].concat()).unwrap();
        assert!(verify(&token, &keys, &policy(), NOW).is_ok());
    }
    let keys = KeySet::parse(&[SECRET, b"\n\n"].concat()).unwrap();
    assert_eq!(verify(&token, &keys, &policy(), NOW), Err(TokenError::BadSignature));
}

#[test]
fn times_are_checked_against_the_given_clock() {
    let lenient = JwtPolicy { leeway_seconds: 10, require_exp: false, ..policy() };
    let result = |claims: &Value| check(claims, &lenient).err();
    assert_eq!(result(&json!({})), None);
    assert_eq!(result(&json!({"exp": NOW - 9})), None);
    assert_eq!(result(&json!({"exp": NOW - 10})), Some(TokenError::Expired { at: NOW - 10, now: NOW }));
    assert_eq!(result(&json!({"exp": -1})), Some(TokenError::Expired { at: 0, now: NOW }));
    assert_eq!(result(&json!({"exp": 1e300})), None);
    assert_eq!(result(&json!({"exp": u64::MAX})), None);
    assert_eq!(result(&json!({"nbf": NOW + 10, "iat": NOW + 10})), None);
    assert_eq!(result(&json!({"nbf": NOW + 11})), Some(TokenError::NotYetValid { at: NOW + 11, now: NOW }));
    assert_eq!(
        result(&json!({"iat": NOW + 11})),
        Some(TokenError::IssuedInFuture { at: NOW + 11, now: NOW })
    );
    for claim in ["exp", "nbf", "iat"] {
        for value in [json!("1"), json!(null), json!([NOW]), json!(true)] {
            assert_eq!(result(&json!({ claim: value })), Some(TokenError::ClaimType { claim }));
        }
    }
    assert_eq!(check(&json!({}), &policy()), Err(TokenError::MissingExpiry));
    assert_eq!(check(&json!({"exp": NOW}), &policy()), Err(TokenError::Expired { at: NOW, now: NOW }));
    let claims = check(&json!({"exp": NOW + 1}), &policy()).unwrap();
    assert_eq!(claims.expires_at, Some(NOW + 1));
    let fraction = sign_raw(r#"{"alg":"HS256"}"#, format!(r#"{{"exp":{NOW}.9}}"#).as_bytes(), SECRET);
    assert_eq!(verify(&fraction, &secret(), &lenient, NOW).unwrap().expires_at, Some(NOW));
}

#[test]
fn issuer_and_audience_are_checked_where_configured() {
    let strict = JwtPolicy {
        issuer: Some("https://issuer".to_owned()),
        audience: vec!["other".to_owned(), "pgwarden".to_owned()],
        ..policy()
    };
    let result = |members: Value| check(&with(&claims(), &members), &strict).err();
    assert_eq!(result(json!({})), None);
    assert_eq!(result(json!({"iss": "https://issuer/"})), Some(TokenError::WrongIssuer));
    assert_eq!(result(json!({"iss": ["https://issuer"]})), Some(TokenError::ClaimType { claim: "iss" }));
    assert_eq!(result(json!({"aud": ["x", "pgwarden"]})), None);
    assert_eq!(result(json!({"aud": ["x"]})), Some(TokenError::WrongAudience));
    assert_eq!(result(json!({"aud": []})), Some(TokenError::WrongAudience));
    assert_eq!(result(json!({"aud": "pgwarden2"})), Some(TokenError::WrongAudience));
    assert_eq!(result(json!({"aud": ["pgwarden", 1]})), Some(TokenError::ClaimType { claim: "aud" }));
    assert_eq!(result(json!({"aud": {"pgwarden": 1}})), Some(TokenError::ClaimType { claim: "aud" }));
    let bare = json!({"exp": NOW + 60, "iss": "https://issuer"});
    assert_eq!(check(&bare, &strict), Err(TokenError::MissingAudience));
    assert_eq!(check(&json!({"exp": NOW + 60}), &strict), Err(TokenError::MissingIssuer));
    assert!(check(&json!({"exp": NOW + 60}), &policy()).is_ok());
}

#[test]
fn claims_are_found_by_path() {
    let claims = check(
        &json!({
            "exp": NOW + 60, "sub": "42", "n": 7, "f": 1.5, "big": 1e20, "yes": true, "nothing": null,
            "app_metadata": {"org_id": "o-1", "deep": {"er": -3}}, "list": [1], "zero": "a\0b",
            "https://example.com/org": {"id": "x"}, "a.b": 1, "": 2,
        }),
        &policy(),
    )
    .unwrap();
    let text = |path: &str| claims.text_at(path);
    assert_eq!(text("sub").unwrap(), "42");
    assert_eq!(text("n").unwrap(), "7");
    assert_eq!(text("f").unwrap(), "1.5");
    assert_eq!(text("yes").unwrap(), "true");
    assert_eq!(text("app_metadata.org_id").unwrap(), "o-1");
    assert_eq!(text("app_metadata.deep.er").unwrap(), "-3");
    assert_eq!(text("\"https://example.com/org\".id").unwrap(), "x");
    assert_eq!(text("\"a.b\"").unwrap(), "1");
    for nothing in
        ["nothing", "list", "app_metadata", "zero", "big", "sub.x", "list.0", "missing", "a.b", "", "\"\""]
    {
        assert_eq!(text(nothing), None, "{nothing}");
    }
    assert_eq!(claims.at("list"), Some(&json!([1])));
    assert_eq!(ClaimPath::parse("a..b"), Err(ClaimPathError::EmptyName));
    assert_eq!(ClaimPath::parse("a."), Err(ClaimPathError::EmptyName));
    assert_eq!(ClaimPath::parse("\"a"), Err(ClaimPathError::Quote));
    assert_eq!(ClaimPath::parse("\"a\"b"), Err(ClaimPathError::Quote));
    assert!(!format!("{claims:?}").contains("42"));
}

#[test]
fn the_text_of_the_claims_is_untouched() {
    let payload = "{ \"b\": 1.0, \"a\":\"\\u00e9é\", \"b\": 2, \"exp\": 1800000000 }";
    let token = sign_raw(r#"{"alg":"HS256"}"#, payload.as_bytes(), SECRET);
    let claims = verify(&token, &secret(), &policy(), NOW).unwrap();
    assert_eq!(claims.text, payload);
    assert_eq!(claims.text_at("b").unwrap(), "2");
}

#[test]
fn errors_never_repeat_the_token() {
    let header = r#"{"alg":"HUNTER2","kid":"HUNTER2"}"#;
    let unknown = sign_raw(header, b"{}", SECRET);
    let wrong_type = sign_raw(r#"{"alg":"HS256"}"#, br#"{"exp":"HUNTER2"}"#, SECRET);
    let no_key = sign(Algorithm::RS256, Some("HUNTER2"), &json!({"sub": "HUNTER2"}));
    for token in [unknown, wrong_type, no_key, "HUNTER2".to_owned(), "HUNTER2.HUNTER2.HUNTER2".to_owned()] {
        let error = verify(&token, &secret(), &policy(), NOW).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("HUNTER2"), "{error}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in any::<Vec<u8>>(), text in "\\PC{0,80}") {
        let _ = KeySet::parse(&bytes);
        let _ = KeySet::parse(text.as_bytes());
        let _ = KeySet::parse_jwks(&bytes);
        let _ = KeySet::parse_pem(&format!("-----BEGIN {text}"));
        let _ = KeySet::parse(pem("CERTIFICATE", &bytes).as_bytes());
        let _ = KeySet::parse(pem("PUBLIC KEY", &bytes).as_bytes());
        let _ = KeySet::parse(&[&[0x30, 0x82], bytes.as_slice()].concat());
        let _ = ClaimPath::parse(&text);
        prop_assert!(verify(&text, &secret(), &policy(), NOW).is_err());
        let header = b64(br#"{"alg":"HS256"}"#);
        let unsigned = [header, b64(&bytes), b64(&bytes)].join(".");
        prop_assert!(verify(&unsigned, &secret(), &policy(), NOW).is_err());
        let _ = verify(&sign_raw(r#"{"alg":"HS256"}"#, &bytes, SECRET), &secret(), &policy(), NOW);
        let _ = verify(&sign_raw(&text, b"{}", SECRET), &secret(), &policy(), NOW);
    }

    #[test]
    fn a_cut_certificate_never_panics(cut in 0_usize..900, flip in 0_usize..900, bits in 1_u8..) {
        let certificate = include_str!("../../tests/fixtures/issuer.certificate.pem");
        let body: String = certificate.lines().filter(|line| !line.starts_with('-')).collect();
        let mut der = STANDARD.decode(body).unwrap();
        if let Some(byte) = der.get_mut(flip) {
            *byte ^= bits;
        }
        let _ = KeySet::parse(&der);
        der.truncate(cut);
        let _ = KeySet::parse(pem("CERTIFICATE", &der).as_bytes());
    }
}
