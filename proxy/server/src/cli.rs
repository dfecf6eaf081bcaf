//! The command line: every flag is a `PGWARDEN_*` variable under another name.

mod audit;
mod report;

pub(crate) use self::audit::{AuditCommand, Export, ExportFormat, Tail, Verify};
pub(crate) use self::report::{Disposal, Format, From, Ignore, Report, Resolve, Verdict};

use crate::stage::arguments;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// What the process ends with; the README says the same.
const EXIT_CODES: &str = "\
Exit codes:
  0   done: the configuration is right, or serve has drained (SIGTERM, SIGINT, or another process took over),
      whoever was left at the deadline or at a second signal included
  1   check: something serious was found; stage: something could not be staged; promote, demote: refused;
      audit verify: the trail is not intact; verdict --exit-code: a table is not ready
  2   wrong command line
  3   verdict --exit-code: too little is known of a table
  64  the configuration, or a file that it names, cannot be used
  69  status, check, report, stage and its like: nothing answers
  71  the system does not give what is needed: the address is in use, no more threads or files; or, before a
      takeover, the server cannot be used
  77  status, report: not without the right token";

/// A transparent PostgreSQL proxy that gives every transaction a verified tenant context.
#[derive(Debug, Parser)]
#[command(name = "pgwarden", version, about, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What pgwarden can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the proxy.
    Serve(Settings),
    /// Show what a running pgwarden does: clients, backends, waits, pins.
    Status(Status),
    /// Ask the server what would let a client past its policies.
    Check(Check),
    /// Report what the policies would have done: verdicts, findings, coverage.
    Report(Report),
    /// Say whether the policies of tables may be put in force.
    Verdict(Verdict),
    /// Leave findings out of the verdict for a time.
    Ignore(Ignore),
    /// Say that findings are mended; each counts again when it is met again.
    Resolve(Resolve),
    /// Let the server evaluate pending policies, without effect on the application.
    Stage(Box<arguments::Stage>),
    /// Show what is staged, and what is in force of it.
    Staged(arguments::Staged),
    /// Take away what was staged.
    Unstage(arguments::Unstage),
    /// Put staged policies in force.
    Promote(Box<arguments::Move>),
    /// Put promoted policies out of force.
    Demote(Box<arguments::Move>),
    /// Work with sealed contexts: their keys, and the SQL that verifies them.
    Seal {
        /// What to do.
        #[command(subcommand)]
        command: SealCommand,
    },
    /// Install the triggers that look at writes, take them away, or say where they are.
    Writes {
        /// What to do.
        #[command(subcommand)]
        command: WritesCommand,
    },
    /// Work with the audit trail.
    Audit {
        /// What to do.
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Work with the configuration.
    Config {
        /// What to do with it.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print SQL for the database.
    Sql {
        /// What it is for.
        #[command(subcommand)]
        command: SqlCommand,
    },
}

/// What can be done about the triggers that look at writes.
#[derive(Debug, Subcommand)]
pub(crate) enum WritesCommand {
    /// Install them, or make them anew.
    Install(Writes),
    /// Take them away, and what tables have left behind that are gone.
    Remove(Writes),
    /// Say where they are, and why not.
    Status(Writes),
}

/// Which tables, and who does it.
#[derive(Debug, Args)]
pub(crate) struct Writes {
    /// The tables, `schema.table`; all with staged policies, if none is given.
    pub(crate) tables: Vec<String>,
    /// The TOML file, as for serve.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The server, as who owns the tables: in the place of upstream.url.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The database; that of the URL, if it is not given.
    #[arg(long, value_name = "NAME")]
    pub(crate) database: Option<String>,
    /// Print the SQL, and do nothing.
    #[arg(long = "sql", num_args = 0, default_missing_value = "sql", default_value = "done")]
    pub(crate) sql: Form,
}

/// Whether something is done, or printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// It is done.
    Done,
    /// It is printed.
    Sql,
}

/// SQL for the database.
#[derive(Debug, Subcommand)]
pub(crate) enum SqlCommand {
    /// Triggers that tell pgwarden when something changes that it looks up.
    Invalidation,
    /// The table of the audit trail, for [audit.postgres].
    Audit,
}

/// What can be done about sealed contexts.
#[derive(Debug, Subcommand)]
pub(crate) enum SealCommand {
    /// Print the SQL of the functions that verify sealed contexts, for psql.
    Install(Install),
    /// Make a new key for context.seal.key.
    Keygen {
        /// The file to write it to, for its owner alone; it must not exist. Without it, the key is printed.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print the SQL that makes the key of the configuration known, for psql. It holds the key.
    Key(Box<Settings>),
}

/// Names other than those that the SQL has.
#[derive(Debug, Args)]
pub(crate) struct Install {
    /// The role that owns the functions and the keys; made if there is none.
    #[arg(long, value_name = "ROLE")]
    pub(crate) owner: Option<String>,
    /// The variable that holds the seal, as context.seal.variable says.
    #[arg(long, value_name = "NAME")]
    pub(crate) variable: Option<String>,
}

/// What can be done with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Name every mistake, with file, line, key and what was expected.
    Check(Settings),
    /// Print the configuration as it is meant, secrets hidden.
    Show(Settings),
    /// Print the reference: every key with its default.
    Reference,
}

/// Whom to ask, and how to show the answer. Without --admin, the configuration says where the admin listener is.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The TOML file, as for serve.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    pub(crate) config: Option<PathBuf>,
    /// The admin listener: `http://host:port`. No configuration is read then.
    #[arg(long, value_name = "URL")]
    pub(crate) admin: Option<String>,
    /// The token of the admin listener: `file:PATH` or `env:NAME`.
    #[arg(long, value_name = "SOURCE", requires = "admin")]
    pub(crate) token: Option<String>,
    /// Print JSON, as the admin listener sends it.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print it again and again, until Ctrl-C.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = seconds)]
    pub(crate) watch: Option<Duration>,
}

/// Which login is looked at, and how it is shown. Without --url, the configuration says both.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The TOML file, as for serve.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub(crate) config: Option<PathBuf>,
    /// The server and the login: `postgres://user:password@host:port/database?sslmode=…`. No configuration is read then.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// A variable that decides about the tenant, besides those of the configuration.
    #[arg(long, value_name = "NAME")]
    pub(crate) setting: Vec<String>,
    /// How it is shown.
    #[command(flatten)]
    pub(crate) output: Output,
    /// Print the SQL that mends what was found.
    #[arg(long, conflicts_with = "json")]
    pub(crate) sql: bool,
}

/// For people, or for programs.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where settings come from: flags, then `PGWARDEN_*` variables, then the file.
#[derive(Debug, Args, Default)]
pub(crate) struct Settings {
    /// The TOML file.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where clients connect: `host:port`, or the directory of a unix socket; comma-separated.
    #[arg(long)]
    listen: Option<String>,
    /// Load balancers that bring a PROXY protocol header: addresses, networks or `unix`, comma-separated.
    #[arg(long)]
    proxy_protocol: Option<String>,
    /// The server: `postgres://user:password@host:port/database?sslmode=…`. A password is safer in the environment.
    #[arg(long)]
    upstream: Option<String>,
    /// `passthrough`, `shadow` or `enforce`.
    #[arg(long)]
    mode: Option<String>,
    /// `transaction` or `session`.
    #[arg(long)]
    pool_mode: Option<String>,
    /// Backends per database and user.
    #[arg(long)]
    pool_size: Option<String>,
    /// How clients authenticate: `trust`, `password`, `md5`, `scram-sha-256`,
    /// `scram-sha-256-plus`, `cert`, `jwt`, `oauthbearer`, `peer`, `passthrough`.
    #[arg(long)]
    auth: Option<String>,
    /// Lines `"name" "secret"`.
    #[arg(long)]
    users_file: Option<String>,
    /// The role that looks up secrets on the server.
    #[arg(long)]
    auth_query_user: Option<String>,
    /// Its password: `file:…` or `env:…`.
    #[arg(long)]
    auth_query_password: Option<String>,
    /// The statement that finds the secret of the user `$1`.
    #[arg(long)]
    auth_query: Option<String>,
    /// What verifies tokens: `file:…`, `env:…`, or a URL.
    #[arg(long)]
    jwt_key: Option<String>,
    /// The `iss` that a token must have.
    #[arg(long)]
    jwt_issuer: Option<String>,
    /// The `aud` that a token must name.
    #[arg(long)]
    jwt_audience: Option<String>,
    /// The algorithms that are allowed, comma-separated.
    #[arg(long)]
    jwt_algorithms: Option<String>,
    /// The variables to set: `app.current_org_id=claim:app_metadata.org_id:uuid, …`.
    #[arg(long)]
    context: Option<String>,
    /// Contexts by database user: `alice=tenant:<id>;user:<id>, …`.
    #[arg(long)]
    fixed: Option<String>,
    /// What seals contexts: `file:…` or `env:…`.
    #[arg(long)]
    seal_key: Option<String>,
    /// The certificate shown to clients.
    #[arg(long)]
    tls_cert: Option<String>,
    /// Its key.
    #[arg(long)]
    tls_key: Option<String>,
    /// The CA of client certificates.
    #[arg(long)]
    tls_client_ca: Option<String>,
    /// `disable`, `allow` or `require`.
    #[arg(long)]
    tls_mode: Option<String>,
    /// The admin listener, or `off`.
    #[arg(long)]
    admin: Option<String>,
    /// Threads that serve clients.
    #[arg(long)]
    workers: Option<String>,
    /// The unix socket at which a new process takes over from the running one.
    #[arg(long)]
    takeover: Option<String>,
    /// What is logged: a level, or directives.
    #[arg(long)]
    log: Option<String>,
    /// `pretty` or `json`.
    #[arg(long)]
    log_format: Option<String>,
    /// How long a drain may take.
    #[arg(long)]
    drain_timeout: Option<String>,
    /// `allow` or `refuse` session state that a shared backend cannot carry.
    #[arg(long)]
    pins: Option<String>,
}

impl Settings {
    /// Those of a file and the environment, without a flag.
    pub(crate) fn of_file(config: Option<PathBuf>) -> Self {
        Self { config, ..Self::default() }
    }

    /// Those of a file and the environment, with another server.
    pub(crate) fn of_server(config: Option<PathBuf>, upstream: Option<String>) -> Self {
        Self { config, upstream, ..Self::default() }
    }

    /// The same, where nobody logs in.
    pub(crate) fn without_clients(self) -> Self {
        Self { auth: Some("trust".to_owned()), ..self }
    }

    /// The flags that were given, as variables.
    pub(crate) fn overrides(&self) -> Vec<(String, String)> {
        let config = self.config.as_ref().map(|path| path.to_string_lossy().into_owned());
        [
            ("CONFIG", &config),
            ("LISTEN", &self.listen),
            ("PROXY_PROTOCOL", &self.proxy_protocol),
            ("UPSTREAM", &self.upstream),
            ("MODE", &self.mode),
            ("POOL_MODE", &self.pool_mode),
            ("POOL_SIZE", &self.pool_size),
            ("AUTH", &self.auth),
            ("USERS_FILE", &self.users_file),
            ("AUTH_QUERY_USER", &self.auth_query_user),
            ("AUTH_QUERY_PASSWORD", &self.auth_query_password),
            ("AUTH_QUERY", &self.auth_query),
            ("JWT_KEY", &self.jwt_key),
            ("JWT_ISSUER", &self.jwt_issuer),
            ("JWT_AUDIENCE", &self.jwt_audience),
            ("JWT_ALGORITHMS", &self.jwt_algorithms),
            ("CONTEXT", &self.context),
            ("FIXED", &self.fixed),
            ("SEAL_KEY", &self.seal_key),
            ("TLS_CERT", &self.tls_cert),
            ("TLS_KEY", &self.tls_key),
            ("TLS_CLIENT_CA", &self.tls_client_ca),
            ("TLS_MODE", &self.tls_mode),
            ("ADMIN", &self.admin),
            ("WORKERS", &self.workers),
            ("TAKEOVER", &self.takeover),
            ("LOG", &self.log),
            ("LOG_FORMAT", &self.log_format),
            ("DRAIN_TIMEOUT", &self.drain_timeout),
            ("PINS", &self.pins),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((format!("PGWARDEN_{name}"), value.clone()?)))
        .collect()
    }
}

/// Between a tenth of a second and an hour.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=3_600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds from 0.1 to 3600".to_owned())
}
