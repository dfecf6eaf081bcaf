//! `pgwarden audit` on the command line.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What can be done about an audit trail.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Say whether a trail is intact, or where and how it breaks.
    Verify(Verify),
    /// Show the last records.
    Tail(Tail),
    /// Make a new key for audit.signing_key, and print the public key that verifies its signatures.
    Keygen {
        /// The file to write the key to, for its owner alone; it must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// What is verified, and with what.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The directory of the trail.
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// The key that signed its checkpoints: 64 digits, or `file:PATH`.
    #[arg(long, value_name = "KEY")]
    pub(crate) public_key: Option<String>,
    /// A file with checkpoints that were kept in a second place: without them nobody can tell whether the end of the trail
    /// is missing.
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoints: Option<PathBuf>,
}

/// Which records are shown, and how.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// The directory of the trail.
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// How many.
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 10)]
    pub(crate) records: usize,
    /// Go on with those that are written from now on.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How they are shown.
    #[command(flatten)]
    pub(crate) output: super::Output,
}
