//! TLS on both sides: what the configuration names, loaded and checked, ready for a handshake.
//!
//! | module | role |
//! |---|---|
//! | [`acceptor`](mod@acceptor) | towards clients: after an `SSLRequest`, or from the first byte |
//! | [`client`](mod@client) | towards receivers of the audit trail |
//! | [`connector`](mod@connector) | towards the server, for each `sslmode` |
//! | [`end_point`](mod@end_point) | what SCRAM binds to: the hash of the server's certificate |
//! | [`peer`] | the names in a client's certificate |
//! | [`pem`] | certificates and keys from files |
//! | [`verifier`] | how much of the server's certificate is checked |
//!
//! There are no sockets here. Every file is read when an [`Acceptor`] or a [`Connector`] is built, so a
//! new certificate comes into use by building a new one. The cryptography is aws-lc-rs, passed
//! explicitly: no process-wide default is read or set. As in PostgreSQL (`be_tls_init`,
//! `be-secure-openssl.c`) no session is resumed: each handshake checks certificates anew.

mod acceptor;
mod client;
mod connector;
mod end_point;
mod error;
mod peer;
mod pem;
mod verifier;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub(crate) use self::acceptor::{Acceptor, acceptor};
pub(crate) use self::client::{authorities, client};
pub(crate) use self::connector::{Connector, connector};
pub(crate) use self::end_point::end_point;
pub(crate) use self::error::TlsError;
pub(crate) use self::peer::peer_names;

/// The protocol name in ALPN (`PG_ALPN_PROTOCOL`, `src/include/libpq/pqcomm.h`).
pub(crate) const ALPN: &[u8] = b"postgresql";

/// The one source of cryptography for TLS.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;
