//! TLS towards clients.

use std::sync::Arc;

use pgwarden_auth::scram::ChannelBinding;
use pgwarden_config::{ClientCert, ClientTls, TlsMode};
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoClientAuth, NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError,
    WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::{ALPN, TlsError, end_point, pem, provider};

/// How handshakes with clients go.
#[derive(Debug, Clone)]
pub(crate) struct Acceptor {
    /// After an `SSLRequest`. ALPN is optional, as before PostgreSQL 17; a client that offers only
    /// other protocols is refused.
    pub(crate) for_ssl_request: Arc<ServerConfig>,
    /// From the first byte on (PostgreSQL 17, `sslnegotiation=direct`). A client that does not offer
    /// `postgresql` by ALPN is refused in the handshake (`ProcessSSLStartup`, `backend_startup.c`).
    pub(crate) for_direct: Arc<ServerConfig>,
    /// What a client's SCRAM exchange can be bound to: the certificate that both show.
    pub(crate) binding: ChannelBinding,
}

/// Loads what `[tls]` names; nothing if the mode is `disable`.
///
/// With [`ClientCert::Verify`] a client is asked for a certificate, and one that it sends must be
/// valid and signed by the authorities. A client without any gets through the handshake, as in
/// PostgreSQL with `ssl_ca_file`, and is refused by the login: there it can be told why.
///
/// # Errors
///
/// [`TlsError`] for the first file that cannot be used.
pub(crate) fn acceptor(tls: &ClientTls) -> Result<Option<Acceptor>, TlsError> {
    match tls.mode {
        TlsMode::Disable => return Ok(None),
        TlsMode::Allow | TlsMode::Require => {}
    }
    let provider = provider();
    let identity = tls.identity.as_ref().ok_or(TlsError::NoIdentity)?;
    let identity = pem::identity(identity, &provider)?;
    let binding = identity.cert.first().map_or(ChannelBinding::Unavailable, |leaf| end_point(leaf));
    let shown = Arc::new(SingleCertAndKey::from(identity));
    let verifier = client_verifier(&tls.client_cert)?;
    let config = |resolver: Arc<dyn ResolvesServerCert>| {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Library)?;
        let builder = builder.with_client_cert_verifier(Arc::clone(&verifier));
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    };
    let direct = Arc::new(OnlyWithAlpn(Arc::clone(&shown)));
    Ok(Some(Acceptor { for_ssl_request: config(shown)?, for_direct: config(direct)?, binding }))
}

fn client_verifier(asked: &ClientCert) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let ca = match asked {
        ClientCert::None => return Ok(Arc::new(NoClientAuth)),
        ClientCert::Verify { ca } => ca,
    };
    let store = pem::authorities(ca)?.store;
    let builder = WebPkiClientVerifier::builder_with_provider(store, provider());
    builder.allow_unauthenticated().build().map_err(|error| match error {
        VerifierBuilderError::NoRootAnchors => TlsError::NoCertificate { path: ca.clone() },
        error => TlsError::Library(rustls::Error::General(error.to_string())),
    })
}

/// Shows the certificate only to a client that offers `postgresql` by ALPN.
///
/// The library refuses a client that offers only other protocols, but lets one through that offers
/// none. Without a certificate there is no handshake, so that no caller has to think of it.
#[derive(Debug)]
struct OnlyWithAlpn(Arc<SingleCertAndKey>);

impl ResolvesServerCert for OnlyWithAlpn {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_offered = hello.alpn().is_some_and(|mut offered| offered.any(|name| name == ALPN));
        if is_offered { ResolvesServerCert::resolve(&*self.0, hello) } else { None }
    }
}
