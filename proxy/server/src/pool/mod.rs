//! Backends of one (database, login): leased for a transaction or a session, shared by all workers.

mod acquire;
mod learn;
mod link;
mod profiles;
mod tally;

pub(crate) use acquire::AcquireError;
pub(crate) use link::{Caller, Link};

use crate::app::App;
use crate::upstream::{Credentials, Server};
use pgwarden_pool::Ledger;
use profiles::Profiles;
use std::sync::Arc;
use std::time::Duration;
use tally::Tally;

/// What tells pools apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    /// The database on the server.
    pub(crate) database: String,
    /// The login on the server.
    pub(crate) user: String,
}

/// The backends of one database and login.
#[derive(Debug)]
pub(crate) struct Pool {
    /// What tells it from other pools.
    pub(crate) key: PoolKey,
    /// How it logs in.
    pub(crate) login: Credentials,
    /// The server.
    pub(crate) server: Arc<Server>,
    /// How many are open, and who waits.
    pub(crate) ledger: Arc<Ledger<Caller>>,
    /// What clients and backends of this pool know of settings.
    pub(crate) profiles: Profiles,
    /// Backends that are being opened.
    pub(crate) opening: Tally,
    /// Connections that are on their way out: their last statement is being cancelled.
    pub(crate) closing: Tally,
    /// How long a client waits for a backend.
    pub(crate) checkout_timeout: Duration,
    /// How long a backend lives, in seconds.
    pub(crate) max_lifetime: u64,
    /// How long a backend may be idle, in seconds.
    pub(crate) idle_timeout: u64,
}

impl Pool {
    /// An empty pool.
    pub(crate) fn new(key: PoolKey, login: Credentials, app: &App) -> Self {
        let pool = &app.settings.pool;
        Self {
            key,
            login,
            server: Arc::clone(&app.server),
            ledger: Arc::new(Ledger::new(
                usize::try_from(pool.size).unwrap_or(usize::MAX),
                Arc::clone(&app.allowance),
            )),
            profiles: Profiles::default(),
            opening: Tally::default(),
            closing: Tally::default(),
            checkout_timeout: pool.checkout_timeout,
            max_lifetime: pool.max_lifetime.as_secs(),
            idle_timeout: pool.idle_timeout.as_secs(),
        }
    }
}
