//! How a trail can break.

use std::fmt;

/// A place where a trail breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The file; empty where it is about the whole.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The number of the record, as far as there is one.
    pub seq: Option<u64>,
    /// How.
    pub what: Break,
}

/// How a trail breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Break {
    /// The line is no record.
    NotARecord,
    /// The record is not the one that was written: its hash is another.
    Altered,
    /// Records are missing in front of this one.
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The record stands in another place, or twice.
    OutOfOrder {
        /// The number that would belong here.
        expected: u64,
    },
    /// The record continues another chain: what stood in front of it was exchanged, or it was put in.
    Spliced,
    /// The record is older than the one in front of it.
    TimeWentBack,
    /// The file's name says another first record.
    WrongFile,
    /// The last line has no end.
    Torn {
        /// How long it is.
        bytes: u64,
    },
    /// The trail does not begin with its first record, and no record says that the ones before were removed.
    Beginning,
    /// The trail ends before a record that a checkpoint knows.
    Truncated {
        /// The number of that record.
        known: u64,
    },
    /// A checkpoint names another record than the trail has.
    Checkpoint,
    /// A checkpoint was not signed with this key.
    Signature,
    /// No checkpoint was signed with this key.
    NeverSigned,
    /// pgwarden found whole lines at the end that did not belong there, or records behind one that was altered, and set
    /// them aside.
    SetAside {
        /// How many.
        lines: u64,
    },
}

impl fmt::Display for Break {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecord => out.write_str("not a record"),
            Self::Altered => out.write_str("altered: the record does not have its hash"),
            Self::Missing { from, to } if from == to => write!(out, "missing: record {from}"),
            Self::Missing { from, to } => write!(out, "missing: records {from} to {to}"),
            Self::OutOfOrder { expected } => write!(out, "out of order: record {expected} belongs here"),
            Self::Spliced => out.write_str("spliced: it does not continue the record in front of it"),
            Self::TimeWentBack => out.write_str("older than the record in front of it"),
            Self::WrongFile => out.write_str("the file's name says another first record"),
            Self::Torn { bytes } => write!(out, "torn: the last line has no end ({bytes} bytes)"),
            Self::Beginning => out.write_str("the records before are missing, and no record says why"),
            Self::Truncated { known } => {
                write!(out, "truncated: a checkpoint knows records up to {known}")
            }
            Self::Checkpoint => out.write_str("a checkpoint knows another record in this place"),
            Self::Signature => out.write_str("a checkpoint that was not signed with this key"),
            Self::NeverSigned => out.write_str("no checkpoint was signed with this key"),
            Self::SetAside { lines } => {
                write!(
                    out,
                    "{lines} lines did not belong to the chain when pgwarden started, and were set aside"
                )
            }
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(out, "{}:{}: ", self.file, self.line)?;
        }
        if let Some(seq) = self.seq {
            write!(out, "record {seq}: ")?;
        }
        write!(out, "{}", self.what)
    }
}
