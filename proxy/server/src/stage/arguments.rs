//! The arguments of the commands that lead to enforcement and back.

use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Which database is changed, and by whom. Without --url, the configuration's upstream.
#[derive(Debug, Args)]
pub(crate) struct Whom {
    /// The TOML file, as for serve. Beside --url, it says what is staged alone.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The server and the login of an owner of the tables, or of a superuser:
    /// `postgres://user:password@host:port/database?sslmode=…`.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Print the SQL, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long to try for the lock of a table. Each try waits a tenth of a second at most, so that nobody else does.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) patience: Duration,
}

/// What is staged, and for whom.
#[derive(Debug, Args)]
pub(crate) struct Stage {
    /// The database.
    #[command(flatten)]
    pub(crate) whom: Whom,
    /// What is pending.
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// A role that the application acts as; without it, whoever has rights on the tables.
    #[arg(long, value_name = "ROLE")]
    pub(crate) app: Vec<String>,
    /// The login of the observer, which may become the shadow roles; without it, that of the configuration.
    #[arg(long, value_name = "ROLE")]
    pub(crate) observer: Option<String>,
    /// Switch row level security on where it is off. The application would notice some of that: read what is said.
    #[arg(long)]
    pub(crate) enable_rls: bool,
    /// Install the triggers that look at writes as well, as `pgwarden writes install` does.
    #[arg(long = "writes", num_args = 0, default_missing_value = "install", default_value = "leave")]
    pub(crate) writes: Triggers,
}

/// What is done about the triggers that look at writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Triggers {
    /// Nothing.
    Leave,
    /// They are installed.
    Install,
}

/// Where pending policies are written. Without any, the tenant columns of the configuration are taken.
#[derive(Debug, Args)]
pub(crate) struct Sources {
    /// A migration with CREATE POLICY statements.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["column", "existing"])]
    pub(crate) from: Option<PathBuf>,
    /// What the migration's DO blocks drop: the name of a policy, * stands for anything.
    #[arg(long, value_name = "NAME", requires = "from")]
    pub(crate) drops: Vec<String>,
    /// A tenant column: a name means every table that has it, `schema.table.column` one table.
    #[arg(long, value_name = "COLUMN", conflicts_with = "existing")]
    pub(crate) column: Vec<String>,
    /// The setting that holds the tenant; without it, the variable of the configuration that does, else
    /// `app.current_org_id`.
    #[arg(long, value_name = "NAME")]
    pub(crate) setting: Option<String>,
    /// Policies that exist and are not in force: row level security is off, or does not bind the owner.
    #[arg(long)]
    pub(crate) existing: bool,
}

/// What is taken away again.
#[derive(Debug, Args)]
pub(crate) struct Unstage {
    /// The database.
    #[command(flatten)]
    pub(crate) whom: Whom,
    /// The tables.
    #[command(flatten)]
    pub(crate) tables: Tables,
}

/// What is put in force, or out of it.
#[derive(Debug, Args)]
pub(crate) struct Move {
    /// The database.
    #[command(flatten)]
    pub(crate) whom: Whom,
    /// The tables.
    #[command(flatten)]
    pub(crate) tables: Tables,
    /// promote: although the verdict is not READY. demote: end the sessions that hold the table.
    #[arg(long)]
    pub(crate) force: bool,
    /// Why; it is recorded.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// promote: the directory of the audit trail that the verdict comes from; again for each further pgwarden. Without it,
    /// that of the pgwarden of --through, or of the configuration.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) trail: Vec<PathBuf>,
    /// The admin listener of the pgwarden before this database, which holds its traffic for a moment.
    #[arg(long, value_name = "URL")]
    pub(crate) through: Option<String>,
    /// The token of the admin listener: `file:PATH` or `env:NAME`.
    #[arg(long, value_name = "SOURCE", requires = "through")]
    pub(crate) token: Option<String>,
}

/// Some tables, or all.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Tables {
    /// The tables, as `schema.table`.
    pub(crate) tables: Vec<String>,
    /// All of them.
    #[arg(long)]
    pub(crate) all: bool,
}

/// What is shown.
#[derive(Debug, Args)]
pub(crate) struct Staged {
    /// The database.
    #[command(flatten)]
    pub(crate) whom: Whom,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Between a tenth of a second and an hour.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=3_600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds from 0.1 to 3600".to_owned())
}
