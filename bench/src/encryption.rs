//! TLS between the clients and whatever they connect to: one certificate, made for the run, that every service shows.
//!
//! Clients offer one protocol version and one cipher suite, so that every lane encrypts alike, and resume no session,
//! as libpq never does.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::CertifiedKey;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Result;
use crate::{frames, process};

/// The name in the certificate, and the one that clients look for.
const NAME: &str = "localhost";

/// How a client's bytes travel.
#[derive(Clone, Debug)]
pub enum Transport {
    /// As they are.
    Plain,
    /// Through TLS, with this configuration; a server without it is refused.
    Tls(Arc<ClientConfig>),
}

/// A certificate that services show and clients accept.
#[derive(Debug)]
pub struct Identity {
    /// File with the certificate, in PEM.
    pub certificate: PathBuf,
    /// File with its key, in PEM; the services' account alone may read it.
    pub key: PathBuf,
    client: Arc<ClientConfig>,
}

/// A connection to a server, encrypted or not.
#[derive(Debug)]
pub enum Stream {
    /// Bytes as they are.
    Plain(TcpStream),
    /// Bytes through TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Identity {
    /// Makes a certificate and leaves it in `directory`.
    pub fn create(directory: &Path) -> Result<Self> {
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let write = |name: &str, text: String| -> Result<PathBuf> {
            let path = directory.join(name);
            fs::write(&path, text)?;
            // PostgreSQL refuses a key that others may read.
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            process::hand_over(&path)?;
            Ok(path)
        };
        let certificate = write("server.crt", cert.pem())?;
        let key = write("server.key", signing_key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone())?;
        Ok(Self { certificate, key, client: Arc::new(client(roots)?) })
    }

    /// How a client reaches a service that shows this certificate.
    pub fn transport(&self) -> Transport {
        Transport::Tls(Arc::clone(&self.client))
    }
}

impl Transport {
    /// Makes a stream of a connection that nothing has been sent over.
    pub async fn establish(&self, mut connection: TcpStream) -> Result<Stream> {
        let Self::Tls(config) = self else { return Ok(Stream::Plain(connection)) };
        connection.write_all(&frames::SSL_REQUEST).await?;
        if connection.read_u8().await? != b'S' {
            return Err("the server does without TLS".into());
        }
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(ServerName::try_from(NAME)?, connection).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

impl Stream {
    /// Sends all of `bytes`.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await?,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                // What the socket had no room for is kept until then.
                stream.flush().await?;
            }
        }
        Ok(())
    }

    /// Reads into `buffer`. Returns how much; nothing at the end.
    pub async fn receive(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Plain(stream) => Ok(stream.read(buffer).await?),
            Self::Tls(stream) => match stream.read(buffer).await {
                // Not everyone says goodbye in TLS; a reply that was cut off is noticed all the same.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
                outcome => Ok(outcome?),
            },
        }
    }
}

fn client(roots: RootCertStore) -> Result<ClientConfig> {
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384],
        ..aws_lc_rs::default_provider()
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_server_without_tls_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::create(directory.path()).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_all(b"N").await.unwrap();
        let outcome = identity.transport().establish(connection).await;
        assert_eq!(outcome.unwrap_err().to_string(), "the server does without TLS");
    }
}
