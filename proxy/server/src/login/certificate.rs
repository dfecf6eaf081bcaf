//! What a client shows by its TLS certificate. The handshake has verified it; who shows none got through as well, so
//! that it can be told why it may not come in.

use crate::login::Denied;
use crate::meters::LoginOutcome;
use crate::stream::Stream;
use crate::tls::peer_names;
use pgwarden_config::ClientCert;
use pgwarden_session::Refusal;
use rustls::ServerConnection;
use tokio_rustls::TlsStream;

/// Sees to it that a client that uses TLS has shown a certificate where `tls.client_cert` is `verify`.
///
/// This goes before every method, as `clientcert` does in pg_hba.conf (`ClientAuthentication`, `auth.c`). A client in
/// clear text can show none; `tls.mode` says whether there are such.
///
/// # Errors
/// [`Denied`] with 28000.
pub(super) fn demand(stream: &Stream, wanted: &ClientCert) -> Result<(), Denied> {
    match (wanted, connection(stream)) {
        (ClientCert::Verify { .. }, Some(tls)) if tls.peer_certificates().is_none() => Err(missing()),
        _ => Ok(()),
    }
}

/// Sees to it that the certificate names this user.
///
/// # Errors
/// [`Denied`] with 28000.
pub(super) fn names(stream: &Stream, user: &str) -> Result<(), Denied> {
    let names = brought(stream);
    match names.iter().any(|name| name == user) {
        true => Ok(()),
        false if names.is_empty() => Err(missing()),
        false => Err(refused(Refusal::new(
            "28000",
            format!("certificate authentication failed for user \"{user}\""),
            "Neither the common name nor an alternative name of the certificate is the user's name.",
            "",
        ))),
    }
}

/// The names in the certificate that a client has shown; none without one.
pub(super) fn brought(stream: &Stream) -> Vec<String> {
    connection(stream).map(peer_names).unwrap_or_default()
}

fn connection(stream: &Stream) -> Option<&ServerConnection> {
    match stream {
        Stream::Tls(encrypted) => match &encrypted.stream {
            TlsStream::Server(server) => Some(server.get_ref().1),
            TlsStream::Client(_) => None,
        },
        Stream::Tcp(_) | Stream::Unix(_) => None,
    }
}

fn missing() -> Denied {
    refused(Refusal::new(
        "28000",
        "connection requires a valid client certificate",
        "",
        "Connect over TLS and present a certificate that the proxy's CA has signed.",
    ))
}

fn refused(refusal: Refusal) -> Denied {
    Denied::Refused(refusal, LoginOutcome::RefusedAuthentication)
}
