//! Certificates and keys from files in PEM.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use pgwarden_config::Identity;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use zeroize::Zeroizing;

use super::TlsError;

/// The longest file, in bytes; a system's whole list of authorities is a quarter of this.
const MAX_BYTES: u64 = 1024 * 1024;

/// How the header of a private key with a passphrase reads, in PKCS#8 and in the older form.
const ENCRYPTED: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];

/// Certificates that are trusted because a file names them.
#[derive(Debug)]
pub(super) struct Authorities {
    /// What a chain may end in.
    pub(super) store: Arc<RootCertStore>,
    /// The same certificates, whole.
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

/// Reads a certificate chain and its key, and checks that they belong together.
pub(super) fn identity(identity: &Identity, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(&identity.cert)?;
    let key = private_key(&identity.key)?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|_| TlsError::BadKey { path: identity.key.clone() })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => {
            Err(TlsError::KeyMismatch { cert: identity.cert.clone(), key: identity.key.clone() })
        }
        Err(source) => Err(TlsError::BadCertificate { path: identity.cert.clone(), source }),
    }
}

/// Reads the authorities that a file names.
pub(super) fn authorities(path: &Path) -> Result<Authorities, TlsError> {
    let certificates = certificates(path)?;
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        let added = store.add(certificate.clone());
        added.map_err(|source| TlsError::BadCertificate { path: path.to_owned(), source })?;
    }
    Ok(Authorities { store: Arc::new(store), certificates })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(TlsError::NoCertificate { path: path.to_owned() }),
        Ok(certificates) => Ok(certificates),
        // What the parser says is dropped: it quotes lines, and the file may be one with a key.
        Err(_) => Err(TlsError::MalformedPem { path: path.to_owned() }),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    let path = || path.to_owned();
    let has = |mark: &&[u8]| text.windows(mark.len()).any(|window| window == *mark);
    if ENCRYPTED.iter().any(has) {
        return Err(TlsError::EncryptedKey { path: path() });
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        PemError::NoItemsFound => TlsError::NoKey { path: path() },
        _ => TlsError::MalformedPem { path: path() },
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let mut text = Zeroizing::new(Vec::new());
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut text));
    match read {
        Err(source) => Err(TlsError::Unreadable { path: path.to_owned(), source }),
        Ok(length) if u64::try_from(length).is_ok_and(|length| length <= MAX_BYTES) => Ok(text),
        Ok(_) => Err(TlsError::TooLong { path: path.to_owned(), limit: MAX_BYTES }),
    }
}
