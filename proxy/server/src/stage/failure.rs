//! Why a step towards enforcement was not taken.

use crate::upstream::UpstreamError;
use pgwarden_shadow::policy::MigrationError;
use pgwarden_wire::ErrorFields;
use std::io;
use thiserror::Error;

/// Nobody answers, or hangs up.
const NO_ANSWER: u8 = 69;
/// The command cannot be understood, or what it names.
const BAD_CONFIGURATION: u8 = 64;
/// Something was refused, or could not be staged.
const REFUSED: u8 = 1;

/// Why a step was not taken.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// Resource: the server does not answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// Backend: the server refuses a statement.
    #[error("the server refuses it: {}", .0.told())]
    Server(Box<ServerError>),
    /// Backend: it has ended the session.
    #[error("the server has ended the session: {}", .0.told())]
    Ended(Box<ServerError>),
    /// Backend: an answer is not what was asked for.
    #[error("the server's answer cannot be read: {0}")]
    Answer(String),
    /// Caller: it is not to be done so.
    #[error("{0}")]
    Caller(Told),
    /// Policy: it would be wrong to do it.
    #[error("{0}")]
    Refused(Told),
    /// Resource: others held the table for the whole time.
    #[error("{0}")]
    Locked(Told),
    /// Caller: the migration cannot be used.
    #[error("{path}: {cause}")]
    Migration {
        /// Its path.
        path: String,
        /// Why.
        cause: MigrationError,
    },
    /// System: a file cannot be read, or there is no runtime.
    #[error("{what}: {cause}")]
    System {
        /// What was tried.
        what: String,
        /// What happened.
        cause: io::Error,
    },
}

/// A message as PostgreSQL writes them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// What is wrong.
    pub(crate) message: String,
    /// More of it.
    pub(crate) detail: String,
    /// What can be done.
    pub(crate) hint: String,
}

impl Told {
    /// A message with a detail and a hint; empty ones are left out.
    pub(crate) fn new(
        message: impl Into<String>,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { message: message.into(), detail: detail.into(), hint: hint.into() }
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)?;
        for (label, text) in [("DETAIL", &self.detail), ("HINT", &self.hint)] {
            if !text.is_empty() {
                write!(out, "\n{label}:  {text}")?;
            }
        }
        Ok(())
    }
}

/// What the server says.
#[derive(Debug, Clone)]
pub(crate) struct ServerError {
    /// Its SQLSTATE.
    pub(crate) sqlstate: String,
    /// Its message.
    pub(crate) message: String,
    detail: String,
    hint: String,
}

impl ServerError {
    /// Reads an ErrorResponse.
    pub(crate) fn read(payload: &[u8]) -> Self {
        let fields = ErrorFields::new(payload);
        let text = |tag: u8| String::from_utf8_lossy(fields.find(tag).unwrap_or_default()).into_owned();
        Self { sqlstate: text(b'C'), message: text(b'M'), detail: text(b'D'), hint: text(b'H') }
    }

    fn told(&self) -> Told {
        Told::new(format!("{} (SQLSTATE {})", self.message, self.sqlstate), &*self.detail, &*self.hint)
    }
}

impl Failure {
    /// It would be wrong.
    pub(crate) fn refused(
        message: impl Into<String>,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Refused(Told::new(message, detail, hint))
    }

    /// It cannot be understood.
    pub(crate) fn caller(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Caller(Told::new(message, "", hint))
    }

    /// What is wrong, in one line.
    pub(crate) fn summary(&self) -> String {
        match self {
            Self::Refused(told) | Self::Caller(told) | Self::Locked(told) => told.message.clone(),
            other => other.to_string(),
        }
    }

    /// Whether others were in the way: a lock that did not come in time, or a deadlock.
    pub(crate) fn is_about_locks(&self) -> bool {
        matches!(self, Self::Server(error) if error.sqlstate == "55P03" || error.sqlstate == "40P01")
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Upstream(_) | Self::Ended(_) => NO_ANSWER,
            Self::Caller(_) | Self::Migration { .. } => BAD_CONFIGURATION,
            Self::Server(_) | Self::Answer(_) | Self::Refused(_) | Self::Locked(_) => REFUSED,
            Self::System { .. } => crate::BAD_SYSTEM,
        }
    }
}

impl From<crate::packet::PacketError> for Failure {
    fn from(error: crate::packet::PacketError) -> Self {
        Self::Upstream(error.into())
    }
}
