//! Why a question of pgwarden's own has no answer.

use crate::packet::PacketError;
use crate::upstream::UpstreamError;
use pgwarden_session::Refusal;
use pgwarden_wire::ErrorFields;
use std::io;
use std::time::Duration;
use thiserror::Error;

/// Why a question has no answer. The text is for the log; it repeats no value that the server had to do with.
#[derive(Debug, Error)]
pub(crate) enum LookupError {
    /// Resource: there is no connection, or it broke.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// Resource: the answer did not come in time.
    #[error("there was no answer within {} seconds", .0.as_secs_f64())]
    TimedOut(Duration),
    /// Backend: the statement failed.
    #[error("the statement failed: {message} (SQLSTATE {sqlstate})")]
    Failed {
        /// The server's SQLSTATE.
        sqlstate: String,
        /// The server's message, or where to find it.
        message: String,
    },
    /// Backend: the answer is none to such a question.
    #[error("the server's answer cannot be used: {0}")]
    Answer(String),
}

/// Classes of SQLSTATE whose messages speak of names and states, and never of a value.
const NOT_ABOUT_VALUES: [&str; 6] = ["28", "3D", "42", "53", "55", "57"];

impl LookupError {
    /// What an ErrorResponse says.
    pub(crate) fn refused(payload: &[u8]) -> Self {
        let fields = ErrorFields::new(payload);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self::failed(&text(&fields.sqlstate()), &text(fields.find(b'M').unwrap_or_default()))
    }

    /// What a client may read of it: nothing about anybody.
    pub(crate) fn refusal(&self) -> Refusal {
        if let Self::Upstream(UpstreamError::Io(_) | UpstreamError::Timeout(_)) | Self::TimedOut(_) = self {
            return Refusal::new(
                "57P03",
                "the database server cannot be reached",
                "pgwarden is running, but cannot ask the server behind it who may log in.",
                "Try again later; the operator finds the cause in pgwarden's log.",
            );
        }
        Refusal::new(
            "57P03",
            "pgwarden could not ask the database server who may log in",
            "",
            "The operator finds the cause in pgwarden's log.",
        )
    }

    /// The server's error, without what may repeat a value: a verifier that was cast, a token.
    pub(super) fn failed(sqlstate: &str, message: &str) -> Self {
        let speaks_of_names = NOT_ABOUT_VALUES.iter().any(|class| sqlstate.starts_with(class));
        let message = if speaks_of_names { message } else { "the server's log has the message" };
        Self::Failed { sqlstate: sqlstate.to_owned(), message: message.to_owned() }
    }
}

impl From<PacketError> for LookupError {
    fn from(error: PacketError) -> Self {
        Self::Upstream(error.into())
    }
}

impl From<io::Error> for LookupError {
    fn from(error: io::Error) -> Self {
        Self::Upstream(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_may_repeat_a_value_is_left_in_the_servers_log() {
        let shown = |sqlstate| LookupError::failed(sqlstate, "no hunter2").to_string();
        for sqlstate in ["22P02", "22023", "P0001", "23505", "XX000"] {
            assert!(!shown(sqlstate).contains("hunter2") && shown(sqlstate).contains(sqlstate), "{sqlstate}");
        }
        for sqlstate in ["42501", "42P01", "55P03", "57014", "3D000"] {
            assert!(shown(sqlstate).contains("no hunter2"), "{sqlstate}");
        }
    }
}
