//! Why records were not delivered.

use crate::causes::WithCauses;
use crate::lookup::LookupError;
use crate::tls::TlsError;
use crate::upstream::UpstreamError;
use std::io;
use std::time::Duration;
use thiserror::Error;

/// What kind of trouble there is with a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Nobody answers, or the connection broke.
    Unreachable,
    /// There was no answer in time.
    TimedOut,
    /// TLS could not be agreed on, or the certificate is not trusted.
    Tls,
    /// The login or its rights are not good enough, or the address is wrong.
    Refused,
    /// The table and its function are not there.
    Unprepared,
    /// The other side says that it cannot now.
    Busy,
    /// The other side will never take these records.
    Rejected,
    /// The other side does not follow the protocol.
    Protocol,
    /// The trail's own files cannot be read.
    Trail,
}

impl Class {
    /// Every class.
    pub(crate) const ALL: [Self; 9] = [
        Self::Unreachable,
        Self::TimedOut,
        Self::Tls,
        Self::Refused,
        Self::Unprepared,
        Self::Busy,
        Self::Rejected,
        Self::Protocol,
        Self::Trail,
    ];

    /// The class as it is written in metrics and in the status.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Tls => "tls",
            Self::Refused => "refused",
            Self::Unprepared => "unprepared",
            Self::Busy => "busy",
            Self::Rejected => "rejected",
            Self::Protocol => "protocol",
            Self::Trail => "trail",
        }
    }

    /// What the operator can do, where that is not plain.
    pub(crate) fn hint(self) -> Option<&'static str> {
        match self {
            Self::Unprepared => Some("run `pgwarden sql audit` in that database"),
            Self::Refused => {
                Some("the login needs the role pgwarden_audit_writer, or the address is another one")
            }
            _ => None,
        }
    }
}

/// Why records were not delivered. The text is for the log; it repeats nothing of a record.
#[derive(Debug, Error)]
#[error("{what}")]
pub(crate) struct Failure {
    /// The kind of trouble.
    pub(crate) class: Class,
    /// What happened.
    what: String,
    /// When the other side wants to be asked again.
    pub(crate) after: Option<Duration>,
}

impl Failure {
    /// A failure of this kind.
    pub(crate) fn new(class: Class, what: impl Into<String>) -> Self {
        Self { class, what: what.into(), after: None }
    }

    /// The same, to be tried again after a time that the other side has named.
    pub(crate) fn after(self, after: Option<Duration>) -> Self {
        Self { after, ..self }
    }

    /// Nothing came back in time.
    pub(crate) fn timed_out(patience: Duration) -> Self {
        Self::new(Class::TimedOut, format!("there was no answer within {} seconds", patience.as_secs_f64()))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let class = match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Class::TimedOut,
            io::ErrorKind::InvalidData => Class::Tls,
            _ => Class::Unreachable,
        };
        Self::new(class, error.to_string())
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::new(Class::Tls, WithCauses(&error).to_string())
    }
}

impl From<LookupError> for Failure {
    fn from(error: LookupError) -> Self {
        let class = match &error {
            LookupError::Upstream(UpstreamError::Io(_)) => Class::Unreachable,
            LookupError::Upstream(UpstreamError::Timeout(_)) | LookupError::TimedOut(_) => Class::TimedOut,
            LookupError::Upstream(
                UpstreamError::Tls(_) | UpstreamError::NoTls | UpstreamError::Unbound(_),
            ) => Class::Tls,
            LookupError::Upstream(UpstreamError::Refused { sqlstate, .. })
            | LookupError::Failed { sqlstate, .. } => of_sqlstate(sqlstate),
            LookupError::Upstream(
                UpstreamError::NoSecret { .. } | UpstreamError::Outdated { .. } | UpstreamError::Unproved,
            ) => Class::Refused,
            LookupError::Upstream(UpstreamError::Protocol(_)) | LookupError::Answer(_) => Class::Protocol,
        };
        Self::new(class, error.to_string())
    }
}

/// The kind of trouble behind a SQLSTATE of PostgreSQL (`errcodes.txt`).
fn of_sqlstate(sqlstate: &str) -> Class {
    match sqlstate {
        "57014" => Class::TimedOut,
        // A function, a table or a schema that there is not.
        "42883" | "42P01" | "3F000" => Class::Unprepared,
        "42501" | "3D000" => Class::Refused,
        _ => match sqlstate.get(..2).unwrap_or_default() {
            "28" => Class::Refused,
            // What does not fit: data, and constraints.
            "22" | "23" => Class::Rejected,
            // A standby, a deadlock, resources, locks, a shutdown, a full disk.
            "25" | "40" | "53" | "55" | "57" | "58" => Class::Busy,
            "08" => Class::Unreachable,
            _ => Class::Protocol,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_never_be_taken_is_rejected() {
        for (sqlstate, class) in [
            ("22P05", Class::Rejected),
            ("23514", Class::Rejected),
            ("42883", Class::Unprepared),
            ("42501", Class::Refused),
            ("28P01", Class::Refused),
            ("57P01", Class::Busy),
            ("57014", Class::TimedOut),
            ("53100", Class::Busy),
            ("25006", Class::Busy),
            ("XX000", Class::Protocol),
            ("", Class::Protocol),
        ] {
            assert_eq!(of_sqlstate(sqlstate), class, "{sqlstate}");
        }
    }
}
