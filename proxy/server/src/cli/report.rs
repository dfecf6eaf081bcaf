//! The command line of reports.

use super::Output;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Where a report comes from. Without --trail and --admin, the configuration says where the trail is.
#[derive(Debug, Clone, Args)]
pub(crate) struct From {
    /// The TOML file, as for serve.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The directory of a trail; again for each further pgwarden.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "admin")]
    pub(crate) trail: Vec<PathBuf>,
    /// The admin listener of a running pgwarden: `http://host:port`.
    #[arg(long, value_name = "URL")]
    pub(crate) admin: Option<String>,
    /// Its token: `file:PATH` or `env:NAME`.
    #[arg(long, value_name = "SOURCE", requires = "admin")]
    pub(crate) token: Option<String>,
    /// The server, which knows more: steps that no trail has yet, what promotion would run into, statements that went past
    /// pgwarden. Without it, the configuration's observer asks.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The key that signs the trail: 64 digits, or `file:PATH`; again for each further one. Without it, the signing key of
    /// the configuration verifies.
    #[arg(long, value_name = "KEY", conflicts_with = "admin")]
    pub(crate) public_key: Vec<String>,
    /// Leave out what was found before: a date, a time like 2030-01-31T12:00:00Z, or an age like 2h or 30d.
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// The days for which a table has to be watched before it is ready; as report.min_days.
    #[arg(long, value_name = "DAYS", conflicts_with = "admin")]
    pub(crate) min_days: Option<u32>,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a terminal.
    Table,
    /// Everything.
    Json,
    /// The findings, for spreadsheets.
    Csv,
    /// One page without references to anything outside of it.
    Html,
}

/// What is reported, and how.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// Where it comes from.
    #[command(flatten)]
    pub(crate) from: From,
    /// How it is written.
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
    /// The file that it is written to, instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Which tables are judged.
#[derive(Debug, Args)]
pub(crate) struct Verdict {
    /// The tables, `schema.table` or `table`; all that are known, if none is named.
    #[arg(value_name = "TABLE")]
    pub(crate) tables: Vec<String>,
    /// Where the verdict comes from.
    #[command(flatten)]
    pub(crate) from: From,
    /// How it is shown.
    #[command(flatten)]
    pub(crate) output: Output,
    /// End with 1 where a table is NOT READY, and with 3 where there is INSUFFICIENT DATA.
    #[arg(long)]
    pub(crate) exit_code: bool,
}

/// Something that is said about findings, and who says it.
#[derive(Debug, Args)]
pub(crate) struct Disposal {
    /// The findings, or the fingerprints of statements that are not evaluated; their first digits are enough.
    #[arg(value_name = "FINDING", required = true)]
    pub(crate) findings: Vec<String>,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Who answers for it.
    #[arg(long, value_name = "NAME")]
    pub(crate) owner: String,
    /// Where they come from. --url is also where the journal is; without it, the upstream of the configuration.
    #[command(flatten)]
    pub(crate) from: From,
}

/// Which findings are left out, and until when.
#[derive(Debug, Args)]
pub(crate) struct Ignore {
    /// What is said of them.
    #[command(flatten)]
    pub(crate) what: Disposal,
    /// Until when: a date, a time like 2030-01-31T12:00:00Z, or a length like 30d.
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: String,
}

/// Which findings are mended.
#[derive(Debug, Args)]
pub(crate) struct Resolve {
    /// What is said of them.
    #[command(flatten)]
    pub(crate) what: Disposal,
}
