//! `pgwarden audit` on the command line.

use crate::sinks::export::moment;
use clap::{Args, Subcommand, ValueEnum};
use pgwarden_audit::RecordKind;
use std::path::PathBuf;

/// What can be done about an audit trail.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Say whether a trail is intact, or where and how it breaks.
    Verify(Verify),
    /// Show the last records.
    Tail(Tail),
    /// Write records for other programs.
    Export(Export),
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

/// Which records are written, and how.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The directory of the trail.
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// In which form.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = ExportFormat::Jsonl)]
    pub(crate) format: ExportFormat,
    /// Those from this time on: a day, or a time in UTC like `2026-11-21T22:15:41Z`.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<u64>,
    /// Those before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<u64>,
    /// Those of this kind, such as `rows_foreign`; may be given several times.
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Vec<RecordKind>,
    /// Those about this table, `schema.table` or its name alone; may be given several times.
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Vec<String>,
    /// The file to write them to; standard output without it.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// The form of exported records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// The lines of the trail, as they are.
    Jsonl,
    /// CSV (RFC 4180), one line for a record.
    Csv,
    /// Findings as OCSF events, class Detection Finding (2004), one JSON object on each line.
    Ocsf,
}
