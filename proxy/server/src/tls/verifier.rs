//! How much of the server's certificate is checked.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

use super::pem::Authorities;

/// Which servers are trusted.
#[derive(Debug)]
pub(super) enum Trust {
    /// All that own the certificate that they show.
    Anyone,
    /// Those with a certificate from these authorities, for whatever host.
    Chain(Authorities),
    /// Those with a certificate from these authorities for the host that was asked for.
    ChainAndName(Authorities),
}

impl Trust {
    /// The certificates that are trusted; none where all are.
    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        match self {
            Self::Anyone => &[],
            Self::Chain(authorities) | Self::ChainAndName(authorities) => &authorities.certificates,
        }
    }
}

/// Checks a server's certificate as far as [`Trust`] says, and always that the server owns it.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(super) fn new(trust: Trust, provider: &CryptoProvider) -> Self {
        Self { trust, algorithms: provider.signature_verification_algorithms }
    }

    fn check_chain(
        &self,
        authorities: &Authorities,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if authorities.certificates.iter().any(|trusted| trusted == shown) {
            return check_dates(shown, now);
        }
        let shown = ParsedCertificate::try_from(shown)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&shown, &authorities.store, intermediates, now, algorithms)
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.trust {
            Trust::Anyone => {}
            Trust::Chain(authorities) => self.check_chain(authorities, shown, intermediates, now)?,
            Trust::ChainAndName(authorities) => {
                self.check_chain(authorities, shown, intermediates, now)?;
                verify_server_name(&ParsedCertificate::try_from(shown)?, host)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, shown, signature, &self.algorithms)
    }

    /// Where nothing of the certificate is checked, it need not be one that the library can parse. That
    /// takes none of version 1, which `openssl x509 -req` makes up to OpenSSL 3.0.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.trust {
            Trust::Anyone if ParsedCertificate::try_from(shown).is_err() => {
                let key = public_key(shown).ok_or(CertificateError::BadEncoding)?;
                verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
            }
            Trust::Anyone | Trust::Chain(_) | Trust::ChainAndName(_) => {
                verify_tls13_signature(message, shown, signature, &self.algorithms)
            }
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Checks the dates of a certificate that is itself among the trusted ones: the self-signed
/// certificate of a single server, which the library refuses as "an authority that acts as a server".
fn check_dates(shown: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let parsed = Certificate::from_der(shown).map_err(|_| CertificateError::BadEncoding)?;
    let validity = parsed.tbs_certificate().validity();
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

fn public_key(shown: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let parsed = Certificate::from_der(shown).ok()?;
    Some(parsed.tbs_certificate().subject_public_key_info().to_der().ok()?.into())
}
