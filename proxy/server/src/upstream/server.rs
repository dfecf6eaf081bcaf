//! One server: its address, its TLS, and connections to it.

use crate::cancel::BackendKey;
use crate::meters::{HandshakeOutcome, Meters, Side};
use crate::stream::{Encrypted, Stream};
use crate::tls::{Connector, end_point};
use crate::upstream::error::UpstreamError;
use dashmap::{DashMap, DashSet};
use pgwarden_auth::scram::ChannelBinding;
use pgwarden_config::{Endpoint, Tcp, UpstreamTlsMode};
use pgwarden_session::{Capabilities, Route, SimpleForm, Vehicle};
use pgwarden_wire::Writer;
use socket2::SockRef;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{TlsConnector, TlsStream};

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F];
const CANCEL_REQUEST: i32 = 80_877_102;

/// What was learned of the server when a login first entered a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// `server_version_num`, such as 150018.
    pub(crate) version: u32,
    /// How a context travels there.
    pub(crate) capabilities: Capabilities,
}

/// Whether the login may execute set_config; a hardened server revokes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetConfig {
    /// It may.
    Allowed,
    /// It may not.
    Revoked,
}

/// Whether contexts are sealed, for which the server's process has to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Seals {
    /// They are not.
    Off,
    /// They are.
    On,
}

/// A server.
#[derive(Debug)]
pub(crate) struct Server {
    endpoint: Endpoint,
    connector: Connector,
    /// Whether logins are bound to the TLS connection.
    pub(super) binding: pgwarden_config::ChannelBinding,
    tcp: Tcp,
    /// How long connecting and logging in may take.
    pub(crate) timeout: Duration,
    /// Whether a transaction pooler stands in between.
    pub(crate) pooler: pgwarden_config::Pooler,
    /// Databases of which it is known whether sealed contexts are verified there.
    pub(super) asked_for_readers: DashSet<String>,
    meters: Arc<Meters>,
    /// How triggers sign what they say, if anybody listens.
    pub(super) nonce: Option<Arc<str>>,
    /// By login and database: who may execute a function is said in each database.
    facts: DashMap<(String, String), Facts>,
    /// What the last connection reported; 0 before the first.
    version: AtomicU32,
}

impl Server {
    /// A server that has not been talked to yet.
    pub(crate) fn new(
        upstream: &pgwarden_config::Upstream,
        connector: Connector,
        tcp: &Tcp,
        meters: Arc<Meters>,
    ) -> Self {
        Self {
            endpoint: upstream.endpoint.clone(),
            connector,
            binding: upstream.tls.channel_binding,
            tcp: tcp.clone(),
            timeout: upstream.connect_timeout,
            pooler: upstream.downstream_pooler,
            asked_for_readers: DashSet::new(),
            meters,
            nonce: None,
            facts: DashMap::new(),
            version: AtomicU32::new(0),
        }
    }

    /// The same server, whose triggers are told how to sign what they say.
    pub(crate) fn signing(self, nonce: Option<Arc<str>>) -> Self {
        Self { nonce, ..self }
    }

    /// How triggers sign what they say. None of them speaks behind a pooler, which would refuse the setting.
    pub(crate) fn nonce(&self) -> Option<&Arc<str>> {
        self.nonce.as_ref().filter(|_| self.pooler == pgwarden_config::Pooler::No)
    }

    /// Whether these settings describe the same server, reached in the same way.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (&self.endpoint, &self.tcp, self.timeout, self.pooler, self.binding, &self.nonce)
            == (&other.endpoint, &other.tcp, other.timeout, other.pooler, other.binding, &other.nonce)
            && self.connector.is_like(&other.connector)
    }

    /// `server_version_num` of the server that was reached last; `None` before the first connection.
    pub(crate) fn version(&self) -> Option<u32> {
        Some(self.version.load(Ordering::Relaxed)).filter(|version| *version > 0)
    }

    /// What is known of the server, unless it is another one behind the same address by now: an upgrade.
    pub(super) fn facts(&self, login: &str, database: &str, version: u32) -> Option<Facts> {
        self.version.store(version, Ordering::Relaxed);
        let facts = self.facts.get(&(login.to_owned(), database.to_owned()))?;
        (facts.version == version).then_some(*facts)
    }

    /// Remembers what was learned.
    pub(super) fn learned(&self, login: &str, database: &str, version: u32, set_config: SetConfig) -> Facts {
        let facts = Facts { version, capabilities: capabilities(self.pooler, version, set_config) };
        self.facts.insert((login.to_owned(), database.to_owned()), facts);
        facts
    }

    /// Opens a connection, with TLS as configured.
    ///
    /// # Errors
    /// [`UpstreamError`] when there is none.
    pub(crate) async fn open(&self) -> Result<Stream, UpstreamError> {
        if let Some(path) = self.endpoint.socket_path() {
            return Ok(Stream::Unix(UnixStream::connect(path).await?));
        }
        let Endpoint::Tcp(host, port) = &self.endpoint else {
            return Err(UpstreamError::Protocol("no address".into()));
        };
        let socket = TcpStream::connect((host.as_str(), *port)).await?;
        crate::stream::prepare(&SockRef::from(&socket), &self.tcp)?;
        let Some(config) = &self.connector.config else { return Ok(Stream::Tcp(socket)) };
        let mut socket = socket;
        socket.write_all(&SSL_REQUEST).await?;
        // One byte exactly: anything the server sends behind it is TLS or an attack (CVE-2021-23222).
        match socket.read_u8().await? {
            b'S' => {
                let connector = TlsConnector::from(config.clone());
                let connected = connector.connect(self.connector.name.clone(), socket).await;
                let outcome = connected.as_ref().map_or(HandshakeOutcome::Failed, |_| HandshakeOutcome::Ok);
                self.meters.tls_handshake(Side::Server, outcome);
                let stream = connected.map_err(|error| UpstreamError::Tls(error.to_string()))?;
                let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                let binding = shown.map_or(ChannelBinding::Unavailable, |leaf| end_point(leaf));
                Ok(Stream::Tls(Box::new(Encrypted { stream: TlsStream::Client(stream), binding })))
            }
            b'N' if self.connector.mode == UpstreamTlsMode::Prefer => Ok(Stream::Tcp(socket)),
            b'N' => Err(UpstreamError::NoTls),
            other => Err(UpstreamError::Protocol(format!("unexpected answer {other:#04x} to SSLRequest"))),
        }
    }

    /// Asks the server to cancel what a backend runs; returns when the server has closed the connection.
    ///
    /// # Errors
    /// [`UpstreamError`] when it cannot be asked.
    pub(crate) async fn cancel(&self, key: &BackendKey) -> Result<(), UpstreamError> {
        let exchange = async {
            let mut stream = self.open().await?;
            let mut request = Vec::new();
            Writer::new(&mut request).counted(|p| {
                p.int32(CANCEL_REQUEST).bytes(&key.pid.to_be_bytes()).bytes(&key.secret);
            });
            crate::packet::write(&mut stream, &request).await?;
            let mut rest = [0; 16];
            while stream.read(&mut rest).await? > 0 {}
            Ok(())
        };
        tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or(Err(UpstreamError::Timeout(self.timeout.as_secs())))
    }
}

/// How a context travels to such a server.
fn capabilities(pooler: pgwarden_config::Pooler, version: u32, set_config: SetConfig) -> Capabilities {
    let vehicle = match (pooler, set_config) {
        (_, SetConfig::Revoked) => Vehicle::Commands,
        (pgwarden_config::Pooler::Transaction, SetConfig::Allowed) => Vehicle::InBatch,
        (pgwarden_config::Pooler::No, SetConfig::Allowed) => Vehicle::Prepared,
    };
    let form =
        if version >= 180_000 || vehicle != Vehicle::Prepared { SimpleForm::Text } else { SimpleForm::Front };
    let route = match pooler {
        pgwarden_config::Pooler::No => Route::Direct,
        pgwarden_config::Pooler::Transaction => Route::Pooler,
    };
    Capabilities { vehicle, form, route }
}
