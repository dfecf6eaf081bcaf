//! Why there is no connection to the server.

use crate::meters::ConnectFailure;
use pgwarden_session::Refusal;
use pgwarden_wire::{ErrorFields, FrameError};
use std::io;
use thiserror::Error;

/// Why a connection to the server could not be made.
#[derive(Debug, Error)]
pub(crate) enum UpstreamError {
    /// Resource: it cannot be reached, or hung up.
    #[error("the server cannot be reached: {0}")]
    Io(#[from] io::Error),
    /// Resource: it did not answer in time.
    #[error("the server did not answer within {0} seconds")]
    Timeout(u64),
    /// Backend: it refused the login, or a start-up setting.
    #[error("the server refused the connection: {message} (SQLSTATE {sqlstate})")]
    Refused {
        /// The server's SQLSTATE.
        sqlstate: String,
        /// The server's message.
        message: String,
        /// The whole ErrorResponse payload.
        payload: Vec<u8>,
    },
    /// Backend: it does not follow the protocol.
    #[error("the server does not follow the protocol: {0}")]
    Protocol(String),
    /// Policy: it does not speak TLS, and the configuration demands it.
    #[error("the server does not accept TLS, which upstream.tls.mode demands")]
    NoTls,
    /// Policy: TLS could not be agreed on, or its certificate is not trusted.
    #[error("TLS with the server failed: {0}")]
    Tls(String),
    /// Policy: the login is not bound to the TLS connection, and the configuration demands it.
    #[error("the server {0}, and upstream.tls.channel_binding is \"require\"")]
    Unbound(&'static str),
    /// Backend: it does not know the secret itself, or stores another verifier than that of the keys.
    #[error("the server does not follow the protocol: it could not prove that it knows the password")]
    Unproved,
    /// Policy: what a client's login has left is no longer good on the server.
    #[error("the server no longer takes what clients of user \"{user}\" have logged in with")]
    Outdated {
        /// The login.
        user: String,
    },
    /// Policy: no secret is known for the login that the server asks for.
    #[error(
        "the server asks for {method} authentication of user \"{user}\", for whom no usable secret is known"
    )]
    NoSecret {
        /// What the server asks for.
        method: &'static str,
        /// The login.
        user: String,
    },
}

impl From<FrameError> for UpstreamError {
    fn from(error: FrameError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<crate::packet::PacketError> for UpstreamError {
    fn from(error: crate::packet::PacketError) -> Self {
        match error {
            crate::packet::PacketError::Io(error) => Self::Io(error),
            other => Self::Protocol(other.to_string()),
        }
    }
}

impl UpstreamError {
    /// The server's own error.
    pub(crate) fn refused(payload: Vec<u8>) -> Self {
        let fields = ErrorFields::new(&payload);
        let sqlstate = String::from_utf8_lossy(&fields.sqlstate()).into_owned();
        let message = String::from_utf8_lossy(fields.find(b'M').unwrap_or_default()).into_owned();
        Self::Refused { sqlstate, message, payload }
    }

    /// Whether another secret could have been right.
    pub(crate) fn is_about_the_secret(&self) -> bool {
        match self {
            Self::Refused { sqlstate, .. } => sqlstate == "28P01",
            other => matches!(other, Self::Unproved),
        }
    }

    /// The cause, as it is counted.
    pub(crate) fn cause(&self) -> ConnectFailure {
        match self {
            Self::Io(_) => ConnectFailure::Unreachable,
            Self::Timeout(_) => ConnectFailure::TimedOut,
            Self::Refused { .. } | Self::Outdated { .. } => ConnectFailure::Refused,
            Self::Protocol(_) | Self::Unproved => ConnectFailure::Protocol,
            Self::NoTls | Self::Tls(_) | Self::Unbound(_) => ConnectFailure::Tls,
            Self::NoSecret { .. } => ConnectFailure::NoSecret,
        }
    }

    /// What a client may read of it: nothing about addresses, logins or certificates.
    pub(crate) fn refusal(&self) -> Refusal {
        if let Self::Refused { sqlstate, message, .. } = self
            && let Some(code) = about_the_client(sqlstate)
        {
            return Refusal::new(code, message.clone(), "The database server refused the connection.", "");
        }
        match self {
            // Its own: what it logged in with.
            Self::Outdated { user } => Refusal::new(
                "28P01",
                format!("password authentication failed for user \"{user}\""),
                "The database server no longer takes the password with which this user logged in to pgwarden.",
                "Log in again with the password that is valid now.",
            ),
            Self::Io(_) | Self::Timeout(_) => Refusal::new(
                "57P03",
                "the database server cannot be reached",
                "pgwarden is running, but has no connection to the server behind it.",
                "Try again later; the operator finds the cause in pgwarden's log.",
            ),
            _ => Refusal::new(
                "57P03",
                "pgwarden could not log in to the database server",
                "",
                "The operator finds the cause in pgwarden's log.",
            ),
        }
    }
}

/// Errors that concern what the client asked for: an unknown database, too many connections, a setting that there
/// is not, or that cannot have this value, or not now (`guc.c`).
const ABOUT_THE_CLIENT: [&str; 12] = [
    "3D000", "53300", "57P03", "55000", "42501", "42704", "42601", "42602", "22023", "22P02", "55P02",
    "0A000",
];

fn about_the_client(sqlstate: &str) -> Option<&'static str> {
    ABOUT_THE_CLIENT.into_iter().find(|code| *code == sqlstate)
}
