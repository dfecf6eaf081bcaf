//! What a record is about.

use pgwarden_shadow::{Kind, Severity};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// The kind of a record: that of a finding, or one of the words below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// The policies would have changed something.
    Finding(Kind),
    /// What happened to the trail, to pgwarden or to the policies.
    Life(Life),
}

/// What is recorded besides findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Life {
    /// Executions that a detector looked at, or could not look at.
    Coverage,
    /// A service's session.
    Service,
    /// pgwarden has started.
    Started,
    /// pgwarden has stopped: what was recorded until then is here.
    Stopped,
    /// The configuration was read again.
    Reloaded,
    /// The mode is another one than before.
    ModeChanged,
    /// The policies of a database are others than before.
    PoliciesChanged,
    /// Policies were staged, promoted or demoted, or a finding is ignored.
    Staging,
    /// A file of the trail begins.
    Segment,
    /// The trail up to here, signed.
    Checkpoint,
    /// Old files of the trail were removed.
    Retention,
    /// So much could not be recorded.
    Dropped,
    /// The trail could not be written for a while.
    Interrupted,
    /// The end of the last file was no record, and was cut off.
    TornTail,
    /// The clock was put back; the time of records stays until it has caught up.
    ClockWentBack,
}

impl Life {
    /// All of them, with the words that stand for them.
    const WORDS: [(Self, &'static str); 15] = [
        (Self::Coverage, "coverage"),
        (Self::Service, "service"),
        (Self::Started, "started"),
        (Self::Stopped, "stopped"),
        (Self::Reloaded, "reloaded"),
        (Self::ModeChanged, "mode_changed"),
        (Self::PoliciesChanged, "policies_changed"),
        (Self::Staging, "staging"),
        (Self::Segment, "segment"),
        (Self::Checkpoint, "checkpoint"),
        (Self::Retention, "retention"),
        (Self::Dropped, "dropped"),
        (Self::Interrupted, "interrupted"),
        (Self::TornTail, "torn_tail"),
        (Self::ClockWentBack, "clock_went_back"),
    ];
}

impl RecordKind {
    /// The kind as it is written.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Finding(kind) => kind.label(),
            Self::Life(life) => {
                Life::WORDS.iter().find(|(one, _)| *one == life).map_or("unknown", |(_, word)| word)
            }
        }
    }

    /// How much a record of this kind weighs.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::Finding(kind) => kind.severity(),
            Self::Life(Life::Dropped | Life::Interrupted | Life::TornTail | Life::ClockWentBack) => {
                Severity::Warning
            }
            Self::Life(_) => Severity::Info,
        }
    }

    /// The kind of the finding that a record is.
    #[must_use]
    pub fn finding(self) -> Option<Kind> {
        match self {
            Self::Finding(kind) => Some(kind),
            Self::Life(_) => None,
        }
    }
}

impl From<Life> for RecordKind {
    fn from(life: Life) -> Self {
        Self::Life(life)
    }
}

impl FromStr for RecordKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let life = Life::WORDS.iter().find(|(_, word)| *word == text).map(|(life, _)| Self::Life(*life));
        let finding = || Kind::ALL.into_iter().find(|kind| kind.label() == text).map(Self::Finding);
        life.or_else(finding).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// No record is of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of record")]
pub struct UnknownKind(String);

impl fmt::Display for RecordKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.label())
    }
}

impl Serialize for RecordKind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.label())
    }
}

impl<'de> Deserialize<'de> for RecordKind {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back() {
        let life = Life::WORDS.into_iter().map(|(life, _)| RecordKind::Life(life));
        for kind in life.chain(Kind::ALL.map(RecordKind::Finding)) {
            assert_eq!(kind.label().parse(), Ok(kind));
        }
    }
}
