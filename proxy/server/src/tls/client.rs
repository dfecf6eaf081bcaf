//! TLS towards receivers that are no PostgreSQL servers: their certificate must name the host, and be signed by somebody
//! who is trusted.

use super::{TlsError, pem, provider};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// The authorities that a file names, else those of the system (`SSL_CERT_FILE` and `SSL_CERT_DIR` override them).
///
/// # Errors
/// [`TlsError`] when there are none.
pub(crate) fn authorities(file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    match file {
        Some(path) => Ok(pem::authorities(path)?.certificates),
        None => {
            let found = rustls_native_certs::load_native_certs().certs;
            if found.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(found) }
        }
    }
}

/// How handshakes with a host go.
///
/// # Errors
/// [`TlsError`] when the host cannot stand in a certificate.
pub(crate) fn client(
    host: &str,
    authorities: &[CertificateDer<'static>],
) -> Result<(Arc<ClientConfig>, ServerName<'static>), TlsError> {
    let mut store = RootCertStore::empty();
    // Of the system's, some may be of a kind that the library does not take.
    store.add_parsable_certificates(authorities.iter().cloned());
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Library)?;
    let config = builder.with_root_certificates(store).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned());
    Ok((Arc::new(config), name.map_err(|_| TlsError::BadHost { host: host.to_owned() })?))
}
