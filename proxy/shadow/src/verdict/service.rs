//! What services did past all policies.

use super::moment::Moment;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Sessions that are kept.
const MOST: usize = 5_000;

/// What one session of a service did up to now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAccount {
    /// The service.
    pub service: String,
    /// The number of the session since pgwarden started.
    pub session: u64,
    /// The database user that the client gave.
    #[serde(default)]
    pub user: String,
    /// The database.
    #[serde(default)]
    pub database: String,
    /// The role at the server.
    #[serde(default)]
    pub role: String,
    /// The client's address.
    #[serde(default)]
    pub client: String,
    /// What it is for: its `application_name`.
    #[serde(default)]
    pub reason: String,
    /// When it began.
    pub began: Moment,
    /// When it ended.
    #[serde(default)]
    pub ended: Option<Moment>,
    /// Transactions.
    #[serde(default)]
    pub transactions: u64,
    /// Commands.
    #[serde(default)]
    pub statements: u64,
    /// Commands that failed.
    #[serde(default)]
    pub errors: u64,
    /// Tables that were read.
    #[serde(default)]
    pub read: BTreeSet<String>,
    /// Tables that were written.
    #[serde(default)]
    pub written: BTreeSet<String>,
    /// Texts whose tables are not known.
    #[serde(default)]
    pub unread: u64,
}

/// All sessions, each with the last of its accounts.
#[derive(Debug, Clone, Default)]
pub struct ServiceUse {
    sessions: BTreeMap<(Moment, String, String, u64), ServiceAccount>,
}

impl ServiceUse {
    /// What a session did up to now: an account holds all that the one before it held.
    pub(super) fn take(&mut self, source: &str, account: ServiceAccount) {
        let key = (account.began, source.to_owned(), account.service.clone(), account.session);
        self.sessions.insert(key, account);
        if self.sessions.len() > MOST {
            self.sessions.pop_first();
        }
    }

    /// The sessions, the latest first.
    #[must_use]
    pub fn sessions(&self) -> Vec<ServiceAccount> {
        self.sessions.values().rev().cloned().collect()
    }
}
