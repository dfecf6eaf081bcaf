//! Backends of one (database, login): leased for a transaction or a session, shared by all workers.

mod acquire;
mod learn;
mod lent;
mod link;
mod plan;
mod profiles;
mod tally;

pub(crate) use acquire::AcquireError;
pub(crate) use lent::Lent;
pub(crate) use link::{Caller, Link};
pub(crate) use plan::{Logins, Plan, Pools, ServiceLogin, Target, Terms};

use crate::upstream::Seals;
use arc_swap::{ArcSwap, Guard};
use lent::Loan;
use pgwarden_pool::{Allowance, Ledger};
use profiles::Profiles;
use std::sync::Arc;
use tally::Tally;

/// What tells pools apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    /// The database on the server.
    pub(crate) database: String,
    /// Whose login on the server.
    pub(crate) whose: Whose,
    /// The variables of the context: each backend starts with them empty, and knows the statement that sets them.
    pub(crate) variables: Arc<[String]>,
    /// Whether the last of them is a seal: each backend knows its process then.
    pub(crate) seals: Seals,
}

/// Whose login a pool uses on the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    /// The one that the settings name.
    Everybodys,
    /// That of this client.
    Of(String),
    /// That of this service.
    Service(String),
}

/// The backends of one database and login.
#[derive(Debug)]
pub(crate) struct Pool {
    /// What tells it from other pools.
    pub(crate) key: PoolKey,
    /// How many are open, and who waits.
    pub(crate) ledger: Arc<Ledger<Caller>>,
    /// What clients and backends of this pool know of settings.
    pub(crate) profiles: Profiles,
    /// Backends that are being opened.
    pub(crate) opening: Tally,
    /// Connections that are on their way out: their last statement is being cancelled.
    pub(crate) closing: Tally,
    terms: ArcSwap<Terms>,
    loan: Loan,
}

impl Pool {
    /// An empty pool of at most `size` backends.
    pub(crate) fn new(key: PoolKey, terms: Terms, size: usize, allowance: Arc<Allowance<Caller>>) -> Self {
        Self {
            key,
            ledger: Arc::new(Ledger::new(size, allowance)),
            profiles: Profiles::default(),
            opening: Tally::default(),
            closing: Tally::default(),
            terms: ArcSwap::from_pointee(terms),
            loan: Loan::default(),
        }
    }

    /// What is in force now.
    pub(crate) fn terms(&self) -> Guard<Arc<Terms>> {
        self.terms.load()
    }

    /// Takes what a client's login leaves for logins to the server. Of use only where clients log in there under their own
    /// names.
    pub(crate) fn lend(&self, lent: Lent) {
        if matches!(self.key.whose, Whose::Of(_)) {
            self.loan.renew(lent);
        }
    }

    /// Puts other terms into force.
    fn renew(&self, terms: Terms, size: usize) {
        self.terms.store(Arc::new(terms));
        self.ledger.resize(size);
    }
}
