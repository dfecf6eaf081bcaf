//! The status as it travels: `GET /status` writes it, `pgwarden status` reads it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that `/status` shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// pgwarden's version.
    pub(crate) version: String,
    /// For how long it has run.
    pub(crate) uptime_seconds: u64,
    /// `running`, `draining` or `stopped`.
    pub(crate) state: String,
    /// Why clients should not be sent here, in the words of `/readyz`; empty when they should.
    pub(crate) unready: Vec<String>,
    /// `mode`.
    pub(crate) mode: String,
    /// `pool.mode`.
    pub(crate) pool_mode: String,
    /// How the last reload ended; `None` before the first.
    pub(crate) last_reload: Option<LastReload>,
    /// How many clients there are, and what they do.
    pub(crate) clients: Clients,
    /// Who waits for a backend, over all pools.
    pub(crate) waits: Waits,
    /// The pools that have clients or backends.
    pub(crate) pools: Vec<PoolReport>,
    /// Who keeps a backend between transactions, by reason.
    pub(crate) pins: Vec<PinReport>,
    /// The services of the configuration.
    #[serde(default)]
    pub(crate) services: Vec<ServiceReport>,
    /// The tables for which something is staged, as the observer sees them.
    #[serde(default)]
    pub(crate) staging: Vec<StagingReport>,
    /// Who follows the audit trail.
    #[serde(default)]
    pub(crate) sinks: Vec<SinkReport>,
    /// The sessions of services, the oldest first; at most [`Report::SESSIONS`].
    #[serde(default)]
    pub(crate) service_sessions: Vec<ServiceSessionReport>,
    /// The clients themselves: those that do something first, the longest first; at most [`Report::SESSIONS`].
    pub(crate) sessions: Vec<SessionReport>,
}

impl Report {
    /// The most clients that are listed one by one.
    pub(crate) const SESSIONS: usize = 100;
}

/// Where a table stands on its way to enforcement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StagingReport {
    /// The database.
    pub(crate) database: String,
    /// `schema.table`.
    pub(crate) table: String,
    /// `staged`, `promoted`, or `refused`: it could not be staged.
    pub(crate) state: String,
    /// Since when; `None` where the observer may not read what the commands have left.
    pub(crate) since: Option<String>,
}

/// How a reload ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LastReload {
    /// How long ago it was.
    pub(crate) seconds_ago: u64,
    /// What became of it, without any value of the configuration.
    pub(crate) outcome: String,
}

/// How many clients there are; each is in one of the groups.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Clients {
    /// All of them.
    pub(crate) total: usize,
    /// `limits.max_clients`.
    pub(crate) limit: usize,
    /// Those that are not in yet.
    pub(crate) logging_in: usize,
    /// Between transactions.
    pub(crate) idle: usize,
    /// In a transaction, or a statement runs.
    pub(crate) transaction: usize,
    /// Waiting for a backend.
    pub(crate) waiting: usize,
    /// Between transactions, with a backend that a pin keeps from the others.
    pub(crate) pinned: usize,
}

/// Who waits for a backend.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Waits {
    /// How many clients stand in a queue, those logging in included.
    pub(crate) clients: usize,
    /// For how long the first of them has; `None` where nobody waits.
    pub(crate) longest_seconds: Option<f64>,
}

/// The backends of one database and login.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PoolReport {
    /// The database on the server.
    pub(crate) database: String,
    /// The login on the server that `upstream.url` names; `None` where each client uses its own, which would be a
    /// client's name: then all pools of the database are counted together.
    pub(crate) login: Option<String>,
    /// How many pools are counted here.
    pub(crate) pools: usize,
    /// The most backends that may be open.
    pub(crate) size: usize,
    /// The clients that are logged in.
    pub(crate) clients: usize,
    /// Backends that a client holds.
    pub(crate) leased: usize,
    /// Backends that nobody holds.
    pub(crate) idle: usize,
    /// Backends that are being connected and logged in to.
    pub(crate) opening: usize,
    /// Connections whose client has left and whose last statement is being cancelled; they take no place of the pool.
    pub(crate) closing: usize,
    /// Clients in the queue.
    pub(crate) waiting: usize,
    /// For how long the first of them has waited.
    pub(crate) longest_wait_seconds: Option<f64>,
}

/// Who keeps a backend between transactions, for one reason.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PinReport {
    /// The reason, as in `pgwarden_pinned_clients`.
    pub(crate) reason: String,
    /// How many clients.
    pub(crate) clients: usize,
    /// For how long the first of them has been pinned.
    pub(crate) longest_seconds: u64,
}

/// One client.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionReport {
    /// Its number, counted from the start of pgwarden.
    pub(crate) id: u64,
    /// The database on the server.
    pub(crate) database: String,
    /// `idle`, `transaction`, `waiting` or `pinned`.
    pub(crate) state: String,
    /// For how long.
    pub(crate) seconds: u64,
    /// The process id of its backend, as in `pg_stat_activity`, while it holds one.
    pub(crate) server_process: Option<u32>,
    /// Why it keeps its backend.
    pub(crate) pin: Option<String>,
    /// For how long it has.
    pub(crate) pin_seconds: Option<u64>,
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServiceReport {
    /// Its name.
    pub(crate) service: String,
    /// Its role on the server.
    pub(crate) role: String,
    /// `open` or `expired`.
    pub(crate) state: String,
    /// When it ends; `None` where it does not.
    pub(crate) expires: Option<String>,
    /// Its sessions now.
    pub(crate) sessions: usize,
    /// The most that it may have.
    pub(crate) limit: usize,
    /// Its sessions since pgwarden was started.
    pub(crate) sessions_total: u64,
    /// Their transactions.
    pub(crate) transactions: u64,
    /// Their commands that were completed.
    pub(crate) statements: u64,
    /// Their commands that failed.
    pub(crate) errors: u64,
}

/// The account of one session of a service, as far as it has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServiceSessionReport {
    /// Its number among the sessions of services, as in the log.
    pub(crate) session: u64,
    /// The service.
    pub(crate) service: String,
    /// The database user that the client gave.
    pub(crate) user: String,
    /// The database.
    pub(crate) database: String,
    /// The client's address, or `unix`.
    pub(crate) client: String,
    /// The `application_name` that it gave.
    pub(crate) reason: String,
    /// When it began.
    pub(crate) began: String,
    /// How long ago that is.
    pub(crate) seconds: u64,
    /// Transactions that ended.
    pub(crate) transactions: u64,
    /// Commands that were completed.
    pub(crate) statements: u64,
    /// The same by kind.
    pub(crate) commands: BTreeMap<String, u64>,
    /// Commands that failed.
    pub(crate) errors: u64,
    /// Tables that were read from.
    pub(crate) read: Vec<String>,
    /// Tables that were changed, or whose definition was.
    pub(crate) written: Vec<String>,
    /// How often one found no place in the lists.
    pub(crate) unlisted: u64,
    /// Texts whose tables are not known, or not all of them.
    pub(crate) unread: u64,
}

/// One follower of the audit trail.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SinkReport {
    /// `postgres`, `otlp` or `syslog`.
    pub(crate) sink: String,
    /// `delivering`, or `failing` when the last attempt failed.
    pub(crate) state: String,
    /// Records that wait for it.
    pub(crate) behind: u64,
    /// Records that were delivered since pgwarden was started.
    pub(crate) delivered: u64,
    /// Attempts that failed.
    pub(crate) retries: u64,
    /// Records that it will not have.
    pub(crate) rejected: u64,
    /// Records that were removed before they were delivered.
    pub(crate) skipped: u64,
    /// What kind of failure the last one was.
    pub(crate) last_failure: Option<String>,
}
