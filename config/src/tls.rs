//! TLS towards clients.

use std::path::PathBuf;

use crate::mistake::Fault;
use crate::reader::Reader;
use crate::word::{Word, words};

/// Whether clients may or must use TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsMode {
    /// It is not offered.
    Disable,
    /// It is offered.
    Allow,
    /// Without it nobody gets in (unix sockets excepted).
    Require,
}

words!(TlsMode { Disable = "disable", Allow = "allow", Require = "require" });

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// Whether clients that use TLS must bring a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCert {
    /// They are not asked.
    None,
    /// They must bring one that these authorities have signed, whatever `auth.method` is, as with
    /// `clientcert=verify-ca` in PostgreSQL's pg_hba.conf. One that is not valid ends the handshake; without any the
    /// login is refused. Clients in clear text bring none: only [`TlsMode::Require`] keeps them out.
    Verify {
        /// The authorities, PEM.
        ca: PathBuf,
    },
}

/// TLS towards clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// Whether clients may or must use it.
    pub mode: TlsMode,
    /// pgwarden's own certificate; present unless the mode is `disable`.
    pub identity: Option<Identity>,
    /// Whether clients that use TLS must bring a certificate.
    pub client_cert: ClientCert,
}

/// The words of `tls.client_cert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    None,
    Verify,
}

impl Word for Asked {
    const WORDS: &'static [(&'static str, Self)] = &[("none", Self::None), ("verify", Self::Verify)];
}

/// Reads `[tls]`.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> ClientTls {
    let identity = identity(reader, "tls.cert", "tls.key");
    let otherwise = if reader.is_written("tls.cert") { TlsMode::Allow } else { TlsMode::Disable };
    let tls = ClientTls {
        mode: reader.word("tls.mode").unwrap_or(otherwise),
        identity,
        client_cert: client_cert(reader),
    };
    if tls.mode != TlsMode::Disable && !reader.is_written("tls.cert") && !reader.is_written("tls.key") {
        let fault = Fault::new("is missing, TLS needs it", "the path of a certificate in PEM");
        reader.missing("tls.cert", "tls.mode", fault);
    }
    tls
}

/// Reads a certificate and its key, which come together or not at all.
pub(crate) fn identity(reader: &mut Reader<'_>, cert_key: &str, key_key: &str) -> Option<Identity> {
    for (here, there) in [(cert_key, key_key), (key_key, cert_key)] {
        if reader.is_written(there) && !reader.is_written(here) {
            let problem = format!("is missing beside {there}");
            reader.missing(here, there, Fault::new(problem, "certificate and key together"));
        }
    }
    let (cert, key) = (reader.path(cert_key), reader.path(key_key));
    Some(Identity { cert: cert?, key: key? })
}

fn client_cert(reader: &mut Reader<'_>) -> ClientCert {
    let ca = reader.path("tls.client_ca");
    let asked = reader.word("tls.client_cert");
    if asked == Some(Asked::Verify) && !reader.is_written("tls.client_ca") {
        let fault = Fault::new("is missing, client certificates need it", "the path of certificates in PEM");
        reader.missing("tls.client_ca", "tls.client_cert", fault);
    }
    match (asked, ca) {
        (Some(Asked::None), _) | (_, None) => ClientCert::None,
        (Some(Asked::Verify) | None, Some(ca)) => ClientCert::Verify { ca },
    }
}
