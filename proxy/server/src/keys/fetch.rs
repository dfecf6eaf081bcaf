//! One document over HTTP, with limits on everything.

use std::time::Duration;

use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Error, Proxy};

use crate::tls;

/// How long all of it may take: name, connection, handshake, redirects and body.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest document, in bytes; as long as the longest that `KeySet` takes.
pub(super) const MAX_BYTES: u64 = 1024 * 1024;

/// How many redirects are followed; never one from `https` to `http`.
const MAX_REDIRECTS: u32 = 3;

/// Fetches a document from an `http` or `https` address. Blocks.
///
/// The authorities are the system's (`SSL_CERT_FILE` and `SSL_CERT_DIR` override them), read anew each
/// time. `HTTPS_PROXY` and the like are honoured for `https`; `http` goes straight to the host. The
/// error is a clause for people, without anything of the answer or of the address's query.
pub(super) fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let found = rustls_native_certs::load_native_certs();
    if is_https(url) && found.certs.is_empty() {
        let cause = found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(format!("this system has no root certificates: {cause}"));
    }
    let roots: Vec<_> = found.certs.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    fetch_within(TIMEOUT, url, RootCerts::from(roots))
}

/// The same with a time and with authorities of the caller's choice.
pub(super) fn fetch_within(timeout: Duration, url: &str, roots: RootCerts) -> Result<Vec<u8>, String> {
    let response = agent(timeout, url, roots).get(url).call();
    let mut response = response.map_err(|error| problem(&error))?;
    if response.status() != 200 {
        return Err(format!("the answer has status {}", response.status().as_u16()));
    }
    // The library refuses a body as long as its limit, not only a longer one.
    let body = response.body_mut().with_config().limit(MAX_BYTES + 1).read_to_vec();
    body.map_err(|error| problem(&error))
}

/// An address as far as it may be shown: without query and fragment, where some put a secret.
pub(super) fn shown(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

fn agent(timeout: Duration, url: &str, roots: RootCerts) -> Agent {
    let stays_https = is_https(url);
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(tls::provider())
        .root_certs(roots)
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .https_only(stays_https)
        .proxy(if stays_https { Proxy::try_from_env() } else { None })
        .max_redirects(MAX_REDIRECTS)
        .timeout_global(Some(timeout))
        .user_agent(concat!("pgwarden/", env!("CARGO_PKG_VERSION")))
        .accept("application/jwk-set+json, application/json")
        .build();
    Agent::new_with_config(config)
}

fn is_https(url: &str) -> bool {
    url.starts_with("https://")
}

/// What happened, in our words where the library would repeat an address.
fn problem(error: &Error) -> String {
    match error {
        Error::StatusCode(status) => format!("the answer has status {status}"),
        Error::BodyExceedsLimit(_) => format!("the answer is longer than {MAX_BYTES} bytes"),
        Error::RequireHttpsOnly(_) => "it redirects from https to http".to_owned(),
        Error::TooManyRedirects => format!("it redirects more than {MAX_REDIRECTS} times"),
        Error::Timeout(_) => "no complete answer in time".to_owned(),
        Error::BadUri(_) | Error::Http(_) => "it is no valid address".to_owned(),
        error => error.to_string(),
    }
}
