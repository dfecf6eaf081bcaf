//! TLS towards the server.

use std::net::Ipv4Addr;
use std::sync::Arc;

use pgwarden_config::{UpstreamTls, UpstreamTlsMode};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;

use super::verifier::{ServerVerifier, Trust};
use super::{ALPN, TlsError, pem, provider};

/// How connections to the server are made.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    /// Whether TLS is asked for, and what happens when the server has none.
    pub(crate) mode: UpstreamTlsMode,
    /// How the handshake goes; nothing exactly if the mode is `disable`.
    pub(crate) config: Option<Arc<ClientConfig>>,
    /// The host, as it is sent in the handshake and, with `verify-full`, looked for in the certificate.
    /// Without a `config` it means nothing.
    pub(crate) name: ServerName<'static>,
    /// Every certificate that was read: what is trusted, and what is shown.
    certificates: Vec<CertificateDer<'static>>,
}

impl Connector {
    /// Whether handshakes go the same way with both: the same mode, host and certificates. (A key that fits the same
    /// certificate is the same key.)
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.mode, &self.name, &self.certificates) == (other.mode, &other.name, &other.certificates)
    }
}

/// Loads what `[upstream.tls]` names, for connections to one host.
///
/// `verify-ca` checks the chain, `verify-full` also that a subject alternative name is the host (a
/// common name does not count). `prefer` and `require` check only that the server owns its
/// certificate, unless a root certificate is given: then they check the chain, as libpq does
/// (`initialize_SSL`, `fe-secure-openssl.c`).
///
/// # Errors
///
/// [`TlsError`] for the first file that cannot be used, or for the host.
pub(crate) fn connector(tls: &UpstreamTls, host: &str) -> Result<Connector, TlsError> {
    let mut certificates = Vec::new();
    let (config, name) = match trust(tls)? {
        None => (None, ServerName::from(Ipv4Addr::UNSPECIFIED)),
        Some(trust) => {
            certificates.extend_from_slice(trust.certificates());
            (Some(config(tls, trust, &mut certificates)?), server_name(host)?)
        }
    };
    Ok(Connector { mode: tls.mode, config, name, certificates })
}

fn trust(tls: &UpstreamTls) -> Result<Option<Trust>, TlsError> {
    let root = || tls.root_cert.as_deref().map(pem::authorities).transpose();
    let needed = || root()?.ok_or(TlsError::NoRoot { mode: tls.mode.as_str() });
    Ok(Some(match tls.mode {
        UpstreamTlsMode::Disable => return Ok(None),
        UpstreamTlsMode::Prefer | UpstreamTlsMode::Require => root()?.map_or(Trust::Anyone, Trust::Chain),
        UpstreamTlsMode::VerifyCa => Trust::Chain(needed()?),
        UpstreamTlsMode::VerifyFull => Trust::ChainAndName(needed()?),
    }))
}

fn config(
    tls: &UpstreamTls,
    trust: Trust,
    certificates: &mut Vec<CertificateDer<'static>>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let verifier = ServerVerifier::new(trust, &provider);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Library)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let shown = pem::identity(identity, &provider)?;
            certificates.extend_from_slice(&shown.cert);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::BadHost { host: host.to_owned() })
}
