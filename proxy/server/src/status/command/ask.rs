//! One question over HTTP to the admin listener, and why it can fail.

use super::Place;
use crate::status::Report;
use std::io;
use std::time::Duration;
use thiserror::Error;
use ureq::{Agent, Error as HttpError};

/// How long the whole question may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer, in bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// As it came.
    pub(super) body: String,
    /// As it is meant.
    pub(super) report: Report,
}

/// Why there is no status.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    /// Caller: the configuration has no admin listener.
    #[error("admin.listen is off: there is nobody to ask")]
    Off,
    /// Caller: an address that is none.
    #[error("--admin: {0:?} is not an address; expected http://host:port or host:port")]
    Address(String),
    /// Caller: a token that cannot be read.
    #[error("--token {0}; expected file:PATH or env:NAME")]
    Token(&'static str),
    /// Nobody answers.
    #[error(
        "nothing answers at {address}: {cause}\nIs pgwarden running there, and is this its admin.listen?"
    )]
    Silent {
        /// Who was asked.
        address: String,
        /// What happened.
        cause: String,
    },
    /// The token is missing, or not the right one.
    #[error("{address} demands a token, and {brought}")]
    Refused {
        /// Who was asked.
        address: String,
        /// What was brought.
        brought: &'static str,
    },
    /// Somebody answers, and it is not a status.
    #[error("{address} answers, but not as pgwarden does: {cause}")]
    Strange {
        /// Who was asked.
        address: String,
        /// What came.
        cause: String,
    },
    /// System: no runtime, or no handlers for signals.
    #[error("{0}")]
    System(io::Error),
}

/// Asks. Blocks.
pub(super) fn ask(place: &Place) -> Result<Answer, AskError> {
    let body = fetch(place, "/status", MAX_BYTES)?;
    let strange = |cause: String| AskError::Strange { address: place.address.clone(), cause };
    let report = serde_json::from_str(&body).map_err(|error| strange(error.to_string()))?;
    Ok(Answer { body, report })
}

/// What is at a path of the admin listener, up to so many bytes. Blocks.
///
/// # Errors
/// [`AskError`] when there is no answer, or not that one.
pub(crate) fn fetch(place: &Place, path: &str, most: u64) -> Result<String, AskError> {
    let address = &place.address;
    let strange = |cause: String| AskError::Strange { address: address.clone(), cause };
    let config = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        .user_agent(concat!("pgwarden/", env!("CARGO_PKG_VERSION")))
        .build();
    let mut request = Agent::new_with_config(config).get(format!("http://{address}{path}"));
    if let Some(token) = &place.token {
        request = request.header("Authorization", format!("Bearer {}", token.expose()));
    }
    let mut response = request.call().map_err(|error| unanswered(address, &error))?;
    match response.status().as_u16() {
        200 => (),
        401 => {
            let brought = if place.token.is_some() { "has another one" } else { "none is configured here" };
            return Err(AskError::Refused { address: address.clone(), brought });
        }
        status => return Err(strange(format!("HTTP status {status}"))),
    }
    response.body_mut().with_config().limit(most).read_to_string().map_err(|error| strange(error.to_string()))
}

fn unanswered(address: &str, error: &HttpError) -> AskError {
    let address = address.to_owned();
    match error {
        HttpError::Io(_) | HttpError::Timeout(_) | HttpError::HostNotFound | HttpError::ConnectionFailed => {
            let cause = match error {
                HttpError::Timeout(_) => format!("no answer within {} seconds", TIMEOUT.as_secs()),
                HttpError::Io(error) => error.to_string(),
                error => error.to_string(),
            };
            AskError::Silent { address, cause }
        }
        error => AskError::Strange { address, cause: error.to_string() },
    }
}
