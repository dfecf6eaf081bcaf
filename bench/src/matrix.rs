//! What is varied: lanes, workloads, protocols, and the cell that a combination makes.

use std::fmt;

use clap::ValueEnum;

/// One way from the application to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Lane {
    /// No proxy; the tenant comes from a role setting, so nothing is sent for it.
    Direct,
    /// No proxy; the application sets the context in every transaction.
    DirectApp,
    /// A bare TCP relay in front of the database: the floor for any proxy.
    Relay,
    /// PgBouncer in transaction mode; the tenant comes from a role setting.
    Pgbouncer,
    /// PgBouncer in transaction mode; the application sets the context in every transaction.
    PgbouncerApp,
    /// pgwarden that injects nothing; the tenant comes from a role setting.
    PgwardenPassthrough,
    /// pgwarden that injects the context into every transaction.
    PgwardenInject,
    /// The same, sealed, and the policy verifies the seal.
    PgwardenSeal,
    /// pgwarden in shadow: it injects, and watches all but rows.
    PgwardenShadow,
    /// The same, which looks at rows as well.
    PgwardenRows,
    /// pgwarden in shadow where policies are staged: no detector but those that cost nothing.
    PgwardenStaged,
    /// The same, which runs queries again beside the client.
    PgwardenReplay,
    /// The same on tables with triggers that look at writes.
    PgwardenWrites,
    /// The same, which looks at rows and keeps a trail.
    PgwardenTrail,
    /// pgwarden that takes the context from a token with every transaction, always the same.
    #[value(name = "pgwarden-tokens-1")]
    PgwardenTokens1,
    /// The same with the tokens of 1,000 tenants.
    #[value(name = "pgwarden-tokens-1000")]
    PgwardenTokens1000,
    /// The same with the tokens of 100,000 tenants.
    #[value(name = "pgwarden-tokens-100000")]
    PgwardenTokens100000,
}

/// Who puts the tenant context into a transaction. All three leave the same policy to evaluate, unless it is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// `ALTER ROLE … SET`: present when a backend starts, free afterwards.
    Role,
    /// The application: `BEGIN`, `set_config`, its statements, `COMMIT`.
    Application,
    /// The proxy.
    Proxy,
    /// A token in each statement, of one of so many tenants.
    Tokens(u32),
}

/// Which messages carry a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Protocol {
    /// One Query message.
    Simple,
    /// Unnamed Parse, Bind, Describe, Execute, Sync for every statement.
    Extended,
    /// Named statement parsed once; Bind, Execute, Sync for every statement.
    Prepared,
}

/// What is measured unless lanes, workloads, protocols or clients are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Every way to the database.
    Paths,
    /// What shadow mode costs, each detector beside the same pgwarden without it.
    Shadow,
}

/// What a transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Workload {
    /// One row by primary key.
    Read,
    /// Five statements in an explicit transaction block, in the manner of TPC-B.
    Tpcb,
    /// A result of 1,000 rows.
    Rows1000,
    /// The same with the tenant's column in it.
    Tenants1000,
    /// A new connection, one read by key, and the end of the connection.
    Connect,
    /// One row that is inserted.
    Insert,
    /// One row that is updated by primary key.
    Update,
    /// One row that is deleted by primary key.
    Delete,
    /// One row of another tenant by primary key: a finding each time.
    Foreign,
}

/// One combination that all lanes are measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What a transaction does.
    pub workload: Workload,
    /// Which messages carry a statement.
    pub protocol: Protocol,
    /// How many connections run at once.
    pub clients: usize,
}

impl Lane {
    /// The lanes that are measured unless others are named, in the order of the report.
    pub const ALL: [Self; 8] = [
        Self::Direct,
        Self::DirectApp,
        Self::Relay,
        Self::Pgbouncer,
        Self::PgbouncerApp,
        Self::PgwardenPassthrough,
        Self::PgwardenInject,
        Self::PgwardenSeal,
    ];

    /// Who sets the tenant context in this lane.
    pub fn context(self) -> Context {
        match self {
            Self::DirectApp | Self::PgbouncerApp => Context::Application,
            Self::PgwardenInject
            | Self::PgwardenSeal
            | Self::PgwardenShadow
            | Self::PgwardenRows
            | Self::PgwardenStaged
            | Self::PgwardenReplay
            | Self::PgwardenWrites
            | Self::PgwardenTrail => Context::Proxy,
            Self::PgwardenTokens1 => Context::Tokens(1),
            Self::PgwardenTokens1000 => Context::Tokens(1_000),
            Self::PgwardenTokens100000 => Context::Tokens(100_000),
            Self::Direct | Self::Relay | Self::Pgbouncer | Self::PgwardenPassthrough => Context::Role,
        }
    }

    /// The role the client logs in as.
    pub fn user(self) -> &'static str {
        match self.context() {
            Context::Role => "app_fixed",
            Context::Proxy if self == Self::PgwardenSeal => "app_sealed",
            Context::Application | Context::Proxy | Context::Tokens(_) => "app",
        }
    }

    /// The name on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::DirectApp => "direct-app",
            Self::Relay => "relay",
            Self::Pgbouncer => "pgbouncer",
            Self::PgbouncerApp => "pgbouncer-app",
            Self::PgwardenPassthrough => "pgwarden-passthrough",
            Self::PgwardenInject => "pgwarden-inject",
            Self::PgwardenSeal => "pgwarden-seal",
            Self::PgwardenShadow => "pgwarden-shadow",
            Self::PgwardenRows => "pgwarden-rows",
            Self::PgwardenStaged => "pgwarden-staged",
            Self::PgwardenReplay => "pgwarden-replay",
            Self::PgwardenWrites => "pgwarden-writes",
            Self::PgwardenTrail => "pgwarden-trail",
            Self::PgwardenTokens1 => "pgwarden-tokens-1",
            Self::PgwardenTokens1000 => "pgwarden-tokens-1000",
            Self::PgwardenTokens100000 => "pgwarden-tokens-100000",
        }
    }
}

impl Lane {
    /// The lanes that show what shadow mode costs.
    pub const SHADOW: [Self; 6] = [
        Self::PgwardenShadow,
        Self::PgwardenRows,
        Self::PgwardenStaged,
        Self::PgwardenReplay,
        Self::PgwardenWrites,
        Self::PgwardenTrail,
    ];

    /// Whether the lane can be measured in the cell: a statement that is prepared once has one token, and what a detector
    /// costs is asked where it has something to do.
    pub fn serves(self, cell: Cell) -> bool {
        let workload = cell.workload;
        match self {
            Self::PgwardenTokens1 | Self::PgwardenTokens1000 | Self::PgwardenTokens100000 => {
                workload == Workload::Read && cell.protocol != Protocol::Prepared
            }
            Self::PgwardenStaged => workload == Workload::Read || workload.is_of_shadow(),
            Self::PgwardenReplay => workload == Workload::Read,
            Self::PgwardenWrites => workload.is_write(),
            Self::PgwardenTrail => workload == Workload::Foreign,
            _ => !workload.is_of_shadow(),
        }
    }

    /// Whether policies are staged in the lane's database, and none is in force.
    pub fn is_staged(self) -> bool {
        matches!(
            self,
            Self::PgwardenStaged | Self::PgwardenReplay | Self::PgwardenWrites | Self::PgwardenTrail
        )
    }
}

impl Protocol {
    /// The name on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Extended => "extended",
            Self::Prepared => "prepared",
        }
    }
}

impl Workload {
    /// The workloads that are measured unless others are named.
    pub const USUAL: [Self; 4] = [Self::Read, Self::Tpcb, Self::Rows1000, Self::Connect];

    /// The workloads that show what shadow mode costs.
    pub const SHADOW: [Self; 7] = [
        Self::Read,
        Self::Rows1000,
        Self::Tenants1000,
        Self::Insert,
        Self::Update,
        Self::Delete,
        Self::Foreign,
    ];

    /// Whether it writes one row to a table with or without triggers.
    pub fn is_write(self) -> bool {
        matches!(self, Self::Insert | Self::Update | Self::Delete)
    }

    /// Whether its table is there only where policies are staged.
    pub fn is_of_shadow(self) -> bool {
        self.is_write() || self == Self::Foreign
    }

    /// With how many clients it says most about shadow mode: what a write takes longer shows when nobody else writes.
    pub fn shadow_clients(self) -> usize {
        match self {
            Self::Foreign => 64,
            _ if self.is_write() => 1,
            _ => 16,
        }
    }

    /// The name on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Tpcb => "tpcb",
            Self::Rows1000 => "rows1000",
            Self::Tenants1000 => "tenants1000",
            Self::Connect => "connect",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Foreign => "foreign",
        }
    }

    /// The name spelt out, for plot titles.
    pub fn title(self) -> &'static str {
        match self {
            Self::Read => "read by key",
            Self::Tpcb => "TPC-B-like",
            Self::Rows1000 => "1,000-row result",
            Self::Tenants1000 => "1,000-row result with its tenant",
            Self::Connect => "connect, read, disconnect",
            Self::Insert => "one row inserted",
            Self::Update => "one row updated",
            Self::Delete => "one row deleted",
            Self::Foreign => "one row of another tenant",
        }
    }
}

impl Cell {
    /// Whether the combination means anything: a connection that lives for one read prepares nothing.
    pub fn is_meaningful(self) -> bool {
        self.workload != Workload::Connect || self.protocol == Protocol::Simple
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.clients == 1 { "" } else { "s" };
        write!(out, "{} · {} · {} client{plural}", self.workload.name(), self.protocol.name(), self.clients)
    }
}
