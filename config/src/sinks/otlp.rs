//! `[audit.otlp]`: the trail as OpenTelemetry logs.

use std::path::PathBuf;
use std::time::Duration;

use super::{pace, surroundings};
use crate::mistake::Fault;
use crate::reader::Reader;
use crate::secret::SecretText;

const SECTION: &str = "audit.otlp";
const ENDPOINT: &str = "audit.otlp.endpoint";
const HEADERS: &str = "audit.otlp.headers";
const RESOURCE: &str = "audit.otlp.resource";
const ROOT: &str = "audit.otlp.root_cert";
const OTHERS: [&str; 5] = [HEADERS, RESOURCE, ROOT, "audit.otlp.timeout", "audit.otlp.batch"];
const SHAPE: &str = "an address like https://collector:4318/v1/logs";
const TIMEOUT: Duration = Duration::from_secs(10);

/// A receiver of OpenTelemetry logs over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpSink {
    /// Where logs are posted, path included.
    pub endpoint: String,
    /// What is sent with each request: name and value.
    pub headers: Vec<(String, SecretText)>,
    /// What is said of this pgwarden besides its name: attributes of the resource.
    pub resource: Vec<(String, String)>,
    /// The authorities of the receiver's certificate, PEM; the system's if not said.
    pub root_cert: Option<PathBuf>,
    /// How long a request may take.
    pub timeout: Duration,
    /// The most records of one request.
    pub batch: usize,
}

/// Reads `[audit.otlp]`; nothing without an endpoint.
pub(super) fn resolve(reader: &mut Reader<'_>) -> Option<OtlpSink> {
    surroundings(reader, ENDPOINT, &OTHERS, SHAPE);
    let (timeout, batch) = pace(reader, SECTION, TIMEOUT);
    let endpoint = reader.parse(ENDPOINT, endpoint);
    let headers = headers(reader);
    let resource = resource(reader);
    let root_cert = reader.path(ROOT);
    Some(OtlpSink { endpoint: endpoint?, headers, resource, root_cert, timeout, batch })
}

/// An address with a host, and without what would be shown in logs: a login.
fn endpoint(text: &str) -> Result<String, Fault> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    if authority.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Fault::new("is no HTTP address", SHAPE));
    }
    if authority.contains('@') {
        return Err(Fault::new("has a login", "a header for it, audit.otlp.headers"));
    }
    if text.contains(['?', '#']) {
        return Err(Fault::new("has a query", SHAPE));
    }
    let path = rest.and_then(|rest| rest.split_once('/')).map_or("", |(_, path)| path);
    // Without a path it is the base address, as in OTEL_EXPORTER_OTLP_ENDPOINT.
    Ok(if path.is_empty() { format!("{}/v1/logs", text.trim_end_matches('/')) } else { text.to_owned() })
}

fn headers(reader: &mut Reader<'_>) -> Vec<(String, SecretText)> {
    const EXPECTED: &str = "name=env:NAME or name=file:PATH";
    let mut headers = Vec::new();
    for item in reader.items(HEADERS).unwrap_or_default() {
        let split = item.text.split_once('=').map(|(name, source)| (name.trim(), source.trim()));
        let read = match split {
            Some((name, source)) if is_token(name) => {
                reader.indirect(source).and_then(visible).map(|value| (name.to_ascii_lowercase(), value))
            }
            _ => Err(Fault::new("is no header", EXPECTED)),
        };
        headers.extend(reader.keep(read, &item.origin, HEADERS));
    }
    headers
}

/// What may stand in a header's value.
fn visible(value: SecretText) -> Result<SecretText, Fault> {
    let is_visible = |c: char| c.is_ascii_graphic() || c == ' ';
    match value.expose().chars().all(is_visible) {
        true => Ok(value),
        false => Err(Fault::new("the secret cannot be a header's value", "printable ASCII characters")),
    }
}

/// A token of HTTP (RFC 9110, 5.6.2).
fn is_token(name: &str) -> bool {
    let in_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(in_token)
}

fn resource(reader: &mut Reader<'_>) -> Vec<(String, String)> {
    let mut attributes = Vec::new();
    for item in reader.items(RESOURCE).unwrap_or_default() {
        let split = item.text.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
        let read = match split {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                Ok((name.to_owned(), value.to_owned()))
            }
            _ => Err(Fault::new(
                format!("{:?} is no attribute", item.text),
                "name=value, like deployment.environment.name=production",
            )),
        };
        attributes.extend(reader.keep(read, &item.origin, RESOURCE));
    }
    attributes
}
