//! What the settings of sinks name, read and checked: certificates and secrets. Nothing is asked of anybody here.

use crate::start_error::StartError;
use crate::tls::{self, Connector};
use pgwarden_auth::secret::Secret;
use pgwarden_config::{Endpoint, PostgresSink, Settings, SyslogAddress, SyslogSink, Tcp};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use std::path::PathBuf;
use std::sync::Arc;

/// TLS for a stream: how, and with whom.
pub(super) type Handshake = (Arc<ClientConfig>, ServerName<'static>);

/// Sinks that can be started.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(super) settings: pgwarden_config::Sinks,
    /// Where the trail is.
    pub(super) directory: PathBuf,
    pub(super) tcp: Tcp,
    pub(super) table: Option<(Connector, Option<Secret>)>,
    /// The authorities of the receiver of OpenTelemetry logs; none in clear text.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// The authorities of the syslog receiver, and what is made of them.
    pub(super) handshake: Option<Handshake>,
    /// What the handshake was made of.
    trusted: Vec<CertificateDer<'static>>,
}

impl Prepared {
    /// Reads what the settings name; `None` where there is no sink.
    ///
    /// # Errors
    /// [`StartError`] for the first file or secret that cannot be used.
    pub(crate) fn new(all: &Settings) -> Result<Option<Self>, StartError> {
        let (settings, tcp) = (&all.sinks, &all.tcp);
        let Some(directory) = all.audit.directory.clone().filter(|_| !settings.is_empty()) else {
            return Ok(None);
        };
        let table = settings.postgres.as_ref().map(table).transpose()?;
        let authorities = match &settings.otlp {
            Some(otlp) if otlp.endpoint.starts_with("https://") => {
                tls::authorities(otlp.root_cert.as_deref())?
            }
            _ => Vec::new(),
        };
        let (trusted, handshake) = match settings.syslog.as_ref() {
            Some(SyslogSink { address: SyslogAddress::Tls(host, _), root_cert, .. }) => {
                let trusted = tls::authorities(root_cert.as_deref())?;
                let handshake = tls::client(host, &trusted)?;
                (trusted, Some(handshake))
            }
            _ => (Vec::new(), None),
        };
        let (settings, tcp) = (settings.clone(), tcp.clone());
        Ok(Some(Self { settings, directory, tcp, table, authorities, handshake, trusted }))
    }

    /// Whether the same would be started.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let connectors = match (&self.table, &other.table) {
            (Some((one, secret)), Some((another, other))) => one.is_like(another) && secret == other,
            (None, None) => true,
            _ => false,
        };
        connectors
            && (&self.settings, &self.directory, &self.tcp) == (&other.settings, &other.directory, &other.tcp)
            && (&self.authorities, &self.trusted) == (&other.authorities, &other.trusted)
    }
}

fn table(sink: &PostgresSink) -> Result<(Connector, Option<Secret>), StartError> {
    let host = match &sink.server.endpoint {
        Endpoint::Tcp(host, _) => host.as_str(),
        Endpoint::Unix { .. } => "",
    };
    let connector = tls::connector(&sink.server.tls, host)?;
    let password = sink.server.password.as_ref();
    let secret = password.map(|text| Secret::parse(text.expose())).transpose();
    Ok((connector, secret.map_err(StartError::SinkPassword)?))
}
