//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the configuration file; line and column count from 1, columns in characters.
    File {
        /// The path as it was given.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// In an environment variable.
    Environment {
        /// Its name.
        name: String,
    },
    /// In a flag of the command line.
    Flag {
        /// The flag as one types it, for instance `--pool-size`.
        name: String,
    },
    /// Nowhere: it should have been written and was not.
    Absent,
}

/// One mistake in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where it was written.
    pub origin: Origin,
    /// The dotted key, for instance `pool.size`; empty when the place has no key (a syntax error, an
    /// unknown variable).
    pub key: String,
    /// What is wrong; never shows a secret.
    pub problem: String,
    /// What would have been right.
    pub expected: String,
}

/// What is wrong with a value, before it is known where the value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What is wrong; must not show a secret.
    pub(crate) problem: String,
    /// What would have been right.
    pub(crate) expected: String,
}

impl Fault {
    pub(crate) fn new(problem: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { problem: problem.into(), expected: expected.into() }
    }

    /// The mistake that this fault is at `origin`, under `key`.
    pub(crate) fn at(self, origin: Origin, key: &str) -> Mistake {
        Mistake { origin, key: key.to_owned(), problem: self.problem, expected: self.expected }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(out, "{}:{line}:{column}", path.display()),
            Self::Environment { name } | Self::Flag { name } => out.write_str(name),
            Self::Absent => out.write_str("configuration"),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(out, "{}: ", self.key)?;
        }
        write!(out, "{}; expected {}", self.problem, self.expected)
    }
}

impl std::error::Error for Mistake {}
