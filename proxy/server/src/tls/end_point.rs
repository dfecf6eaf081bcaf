//! What a SCRAM exchange is bound to: `tls-server-end-point`, the hash of the server's certificate.

use aws_lc_rs::digest::{Algorithm, SHA224, SHA256, SHA384, SHA512, digest};
use pgwarden_auth::scram::ChannelBinding;
use x509_cert::Certificate;
use x509_cert::der::{Any, Decode, Tag, TagNumber, Tagged};
use x509_cert::spki::{AlgorithmIdentifierOwned, ObjectIdentifier};

/// The signature algorithm that says in its parameters what it hashes with.
const RSASSA_PSS: &str = "1.2.840.113549.1.1.10";

/// The hash that each algorithm signs; where that is MD5 or SHA-1, the one that stands in for it.
const SIGNATURES: [(&str, &Algorithm); 16] = [
    ("1.2.840.113549.1.1.4", &SHA256),
    ("1.2.840.113549.1.1.5", &SHA256),
    ("1.2.840.113549.1.1.14", &SHA224),
    ("1.2.840.113549.1.1.11", &SHA256),
    ("1.2.840.113549.1.1.12", &SHA384),
    ("1.2.840.113549.1.1.13", &SHA512),
    ("1.2.840.10045.4.1", &SHA256),
    ("1.2.840.10045.4.3.1", &SHA224),
    ("1.2.840.10045.4.3.2", &SHA256),
    ("1.2.840.10045.4.3.3", &SHA384),
    ("1.2.840.10045.4.3.4", &SHA512),
    ("1.2.840.10040.4.3", &SHA256),
    ("2.16.840.1.101.3.4.3.1", &SHA224),
    ("2.16.840.1.101.3.4.3.2", &SHA256),
    ("2.16.840.1.101.3.4.3.3", &SHA384),
    ("2.16.840.1.101.3.4.3.4", &SHA512),
];

/// The same for the hashes that stand in the parameters of RSASSA-PSS.
const HASHES: [(&str, &Algorithm); 5] = [
    ("1.3.14.3.2.26", &SHA256),
    ("2.16.840.1.101.3.4.2.4", &SHA224),
    ("2.16.840.1.101.3.4.2.1", &SHA256),
    ("2.16.840.1.101.3.4.2.2", &SHA384),
    ("2.16.840.1.101.3.4.2.3", &SHA512),
];

/// The binding to a server's certificate, in DER (RFC 5929 section 4; `be_tls_get_certificate_hash` in
/// `be-secure-openssl.c`).
///
/// Unavailable where the signature has no hash of its own (Ed25519), for which the RFC defines nothing, and for what
/// cannot be parsed.
pub(crate) fn end_point(certificate: &[u8]) -> ChannelBinding {
    let parsed = Certificate::from_der(certificate).ok();
    let algorithm = parsed.and_then(|parsed| signed_hash(parsed.signature_algorithm()));
    algorithm.map_or(ChannelBinding::Unavailable, |algorithm| {
        ChannelBinding::TlsServerEndPoint(digest(algorithm, certificate).as_ref().to_vec())
    })
}

fn signed_hash(signature: &AlgorithmIdentifierOwned) -> Option<&'static Algorithm> {
    if signature.oid != ObjectIdentifier::new_unwrap(RSASSA_PSS) {
        return find(&SIGNATURES, &signature.oid);
    }
    let fields: Vec<Any> = signature.parameters.as_ref()?.decode_as().ok()?;
    let hash = fields.iter().find(|field| is_first(field.tag()));
    match hash.map(|hash| AlgorithmIdentifierOwned::from_der(hash.value())) {
        Some(hash) => find(&HASHES, &hash.ok()?.oid),
        // SHA-1 is what the parameters leave out (RFC 4055 section 3.1).
        None => Some(&SHA256),
    }
}

fn is_first(tag: Tag) -> bool {
    matches!(tag, Tag::ContextSpecific { number: TagNumber(0), .. })
}

fn find(known: &[(&str, &'static Algorithm)], identifier: &ObjectIdentifier) -> Option<&'static Algorithm> {
    let written = identifier.to_string();
    known.iter().find(|(name, _)| *name == written).map(|(_, algorithm)| *algorithm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A certificate that `openssl` signs by itself, in DER.
    fn signed(options: &[&str]) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-nodes", "-config", "/dev/null", "-subj", "/CN=server"]);
        openssl.args(["-outform", "DER", "-keyout", &path("key"), "-out", &path("certificate")]);
        assert!(openssl.args(options).output().unwrap().status.success(), "{options:?}");
        std::fs::read(path("certificate")).unwrap()
    }

    #[test]
    fn the_hash_is_that_of_the_certificates_signature() {
        const EC: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
        const RSA: [&str; 2] = ["-newkey", "rsa:2048"];
        const PSS: [&str; 4] = ["-newkey", "rsa:2048", "-sigopt", "rsa_padding_mode:pss"];
        const KEYS: [&[&str]; 3] = [&RSA, &EC, &PSS];
        for (hash, keys, expected) in [
            ("-md5", &KEYS[..1], &SHA256),
            ("-sha1", &KEYS, &SHA256),
            ("-sha224", &KEYS, &SHA224),
            ("-sha256", &KEYS, &SHA256),
            ("-sha384", &KEYS, &SHA384),
            ("-sha512", &KEYS, &SHA512),
        ] {
            for key in keys {
                let certificate = signed(&[*key, &[hash]].concat());
                let hashed = digest(expected, &certificate).as_ref().to_vec();
                assert_eq!(
                    end_point(&certificate),
                    ChannelBinding::TlsServerEndPoint(hashed),
                    "{hash} {key:?}"
                );
            }
        }
    }

    #[test]
    fn there_is_no_binding_without_a_hash() {
        assert_eq!(end_point(&signed(&["-newkey", "ed25519"])), ChannelBinding::Unavailable);
        assert_eq!(end_point(b"no certificate"), ChannelBinding::Unavailable);
    }
}
