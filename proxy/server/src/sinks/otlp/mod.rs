//! OpenTelemetry logs: OTLP over HTTP with binary Protobuf.
//!
//! What is retried, and when, follows the protocol (`docs/specification.md`, "OTLP/HTTP Response"), with one exception: what
//! an operator can put right (a wrong address, a missing header) is tried again as well, because a trail must not lose
//! records by that.

mod answer;
mod logs;
mod message;

use super::entry::Entry;
use super::failure::{Class, Failure};
use super::pump::Sink;
use crate::tls;
use answer::Answer;
use pgwarden_config::OtlpSink;
use prost::Message;
use rustls::pki_types::CertificateDer;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Error, Proxy};

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// A receiver of logs.
#[derive(Debug)]
pub(super) struct Receiver(Arc<Way>);

/// How it is reached.
#[derive(Debug)]
struct Way {
    agent: Agent,
    settings: OtlpSink,
}

impl Receiver {
    /// The receiver of the settings, with the authorities of its certificate.
    pub(super) fn new(settings: &OtlpSink, roots: &[CertificateDer<'static>]) -> Self {
        let agent = agent(&settings.endpoint, settings.timeout, roots);
        Self(Arc::new(Way { agent, settings: settings.clone() }))
    }
}

impl Sink for Receiver {
    async fn deliver(&mut self, entries: &[Entry]) -> Result<u64, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let request = logs::request(entries, &self.0.settings.resource, nanos).encode_to_vec();
        let way = Arc::clone(&self.0);
        let answered = tokio::task::spawn_blocking(move || way.post(&request)).await;
        let answer =
            answered.map_err(|_| Failure::new(Class::Unreachable, "the request was abandoned"))??;
        answer.outcome(now.as_secs())
    }
}

impl Way {
    /// Posts a request. Blocks, for the time of the settings at most.
    fn post(&self, body: &[u8]) -> Result<Answer, Failure> {
        let mut request = self.agent.post(&self.settings.endpoint).content_type("application/x-protobuf");
        for (name, value) in &self.settings.headers {
            request = request.header(name, value.expose());
        }
        let mut response = request.send(body).map_err(|error| failure(&error, self.settings.timeout))?;
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let (after, kind) = (header("retry-after"), header("content-type"));
        let status = response.status().as_u16();
        let read = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec();
        // An answer too long, or cut off, still has its status.
        Ok(Answer { status, after, kind, body: read.unwrap_or_default() })
    }
}

fn agent(endpoint: &str, timeout: Duration, roots: &[CertificateDer<'static>]) -> Agent {
    let stays_https = endpoint.starts_with("https://");
    let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(tls::provider())
        .root_certs(RootCerts::from(roots))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .https_only(stays_https)
        .proxy(if stays_https { Proxy::try_from_env() } else { None })
        // The body would not be sent again.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_global(Some(timeout))
        .user_agent(concat!("pgwarden/", env!("CARGO_PKG_VERSION")))
        .build();
    Agent::new_with_config(config)
}

/// What happened, in our words where the library would repeat an address.
fn failure(error: &Error, timeout: Duration) -> Failure {
    match error {
        Error::Timeout(_) => Failure::timed_out(timeout),
        Error::Io(error) if error.kind() == ErrorKind::TimedOut => Failure::timed_out(timeout),
        // How the library hands on what goes wrong within TLS.
        Error::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            Failure::new(Class::Tls, error.to_string())
        }
        Error::Tls(_) | Error::Rustls(_) => Failure::new(Class::Tls, error.to_string()),
        Error::BadUri(_) => Failure::new(Class::Refused, "audit.otlp.endpoint is no valid address"),
        error => Failure::new(Class::Unreachable, error.to_string()),
    }
}
