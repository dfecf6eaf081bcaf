//! Why there is no report.

use crate::stage::Failure;
use crate::trail::command::TrailError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why there is no report, or why a finding cannot be ignored.
#[derive(Debug, Error)]
pub(crate) enum ReportError {
    /// Caller: nothing says where the trail is.
    #[error(
        "nothing says where the trail is\nName its directory with --trail, a running pgwarden with --admin, or set audit.directory in the configuration."
    )]
    Nowhere,
    /// Caller: an argument cannot be used.
    #[error("{name}: {problem}")]
    Argument {
        /// Which one.
        name: &'static str,
        /// What is wrong with it, and what was expected.
        problem: String,
    },
    /// Caller: no trail is there.
    #[error("there is no trail in {directory}\nIs this the audit.directory of a pgwarden that has run?")]
    NoTrail {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// System: the trail cannot be read.
    #[error("the trail in {directory} cannot be read: {error}")]
    Trail {
        /// Where it is.
        directory: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Caller: no finding has this name.
    #[error(
        "no finding, and no statement, is called {id}\n`pgwarden report` lists them; the first digits are enough where they are clear."
    )]
    Unknown {
        /// What was asked for.
        id: String,
    },
    /// Caller: several have.
    #[error(
        "{id} is the begin of more than one finding or statement\nWrite more digits, or name the database with --database."
    )]
    Ambiguous {
        /// What was asked for.
        id: String,
    },
    /// Caller: a key is none, or cannot be read.
    #[error("--public-key")]
    Key(#[source] Box<TrailError>),
    /// Backend: the server cannot be asked, or refuses.
    #[error(transparent)]
    Server(Box<Failure>),
    /// Backend: nothing was ever staged there.
    #[error(
        "database {database} has no journal (pgwarden.journal)\nStage its policies first: pgwarden stage makes the journal."
    )]
    NoJournal {
        /// Where it was looked for.
        database: String,
    },
    /// Whoever was asked over HTTP.
    #[error(transparent)]
    Asked(#[from] crate::status::command::AskError),
    /// System: the report cannot be written.
    #[error("{path} cannot be written: {error}")]
    Output {
        /// Where to.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// System: no runtime.
    #[error("{0}")]
    System(io::Error),
}

impl From<Failure> for ReportError {
    fn from(failure: Failure) -> Self {
        Self::Server(Box::new(failure))
    }
}
