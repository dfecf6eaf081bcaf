//! An error of pgwarden's own, as the client reads it, and the errors that end a session.

use pgwarden_wire::{FrameError, Malformed, Severity, Writer};
use std::borrow::Cow;
use thiserror::Error;

/// An error that pgwarden answers instead of the server: one statement fails, the session goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The SQLSTATE.
    pub sqlstate: Cow<'static, str>,
    /// Lower-case, without a full stop.
    pub message: String,
    /// Whole sentences; may be empty.
    pub detail: String,
    /// Whole sentences; may be empty.
    pub hint: String,
    /// The server's function that would have raised it, where drivers go by its name.
    pub routine: Option<&'static str>,
}

impl Refusal {
    /// A refusal with the texts given.
    #[must_use]
    pub fn new(
        sqlstate: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            sqlstate: sqlstate.into(),
            message: message.into(),
            detail: detail.into(),
            hint: hint.into(),
            routine: None,
        }
    }

    /// The class of its SQLSTATE: the first two characters.
    #[must_use]
    pub fn class(&self) -> [u8; 2] {
        self.sqlstate.as_bytes().first_chunk().copied().unwrap_or(*b"XX")
    }

    /// Writes it as an ErrorResponse.
    pub fn write(&self, severity: Severity, writer: &mut Writer<'_>) {
        writer.error(severity, &self.sqlstate, [&self.message, &self.detail, &self.hint], self.routine);
    }
}

/// Why a session cannot go on. Grouped by blame.
#[derive(Debug, Error)]
pub enum SessionError {
    /// Client: a header that no client sends.
    #[error("invalid message length: {0}")]
    Frame(#[from] FrameError),
    /// Client: a message that no client sends here.
    #[error("invalid frontend message type {0}")]
    UnknownMessage(u8),
    /// Client: the fields do not fill the message.
    #[error("invalid message format: {0}")]
    Malformed(#[from] Malformed),
    /// Client: a message over the configured limit.
    #[error("message of {length} bytes is over the limit of {limit} bytes")]
    TooLong {
        /// Bytes announced.
        length: usize,
        /// Bytes allowed.
        limit: usize,
        /// The key that says so.
        setting: &'static str,
    },
    /// Backend: a reply that was not expected; what it answers cannot be told any more.
    #[error("unexpected reply {tag:?} from the server", tag = char::from(*tag))]
    Desync {
        /// The message's tag.
        tag: u8,
    },
    /// Backend: it would not take a setting that the client had elsewhere.
    #[error("the server refused a setting of this session: {0}")]
    Setting(String),
    /// Policy: a row must not reach the client.
    #[error("{}", .0.message)]
    Cut(Box<Refusal>),
}

impl SessionError {
    /// The SQLSTATE the client is told.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Frame(_) | Self::UnknownMessage(_) | Self::Malformed(_) => "08P01",
            Self::TooLong { .. } => "54000",
            Self::Desync { .. } => "08006",
            Self::Setting(_) => "22023",
            Self::Cut(_) => "42501",
        }
    }

    /// The error as a refusal, to be sent with severity FATAL.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let hint = match self {
            Self::Cut(refusal) => return Refusal::clone(refusal),
            Self::TooLong { setting, .. } => format!("Raise {setting}, or send the data with COPY."),
            Self::Desync { .. } => "The connection to the server was closed; open a new session.".to_owned(),
            _ => String::new(),
        };
        Refusal::new(self.sqlstate(), self.to_string(), "", hint)
    }
}
