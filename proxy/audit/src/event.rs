//! What is worth a record.

use pgwarden_shadow::verdict::Step;
use pgwarden_shadow::{Coverage, Finding, PolicyDigest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Something that is recorded.
#[derive(Debug, Clone)]
pub enum Event {
    /// The policies would have changed something.
    Finding(Box<Finding>),
    /// Something was looked at, or could not be.
    Coverage(Box<Coverage>),
    /// A service's session has begun, goes on, or has ended: its account, as JSON.
    Service(serde_json::Value),
    /// pgwarden has started, with a configuration of this hash.
    Started {
        /// Of the configuration.
        config_hash: String,
    },
    /// pgwarden stops.
    Stopped,
    /// The configuration was read again.
    Reloaded {
        /// Of the configuration.
        config_hash: String,
    },
    /// The policies of a database are others than before.
    PoliciesChanged {
        /// The database.
        database: String,
        /// Of all policies, staged and in force.
        policy_hash: String,
        /// Of the policies of each table for which something is staged.
        tables: BTreeMap<String, PolicyDigest>,
    },
    /// Somebody has staged, promoted or demoted something, or ignores a finding.
    Staging(Box<Staging>),
}

/// A step of the way to enforcement, as the journal of the database holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staging {
    /// The number in the journal (`pgwarden.journal`).
    pub id: i64,
    /// What was done.
    pub step: Step,
    /// The database.
    pub database: String,
    /// Who did it, at the server (`session_user`).
    pub by: String,
    /// When, as the server says: RFC 3339 with microseconds, UTC.
    pub at: String,
    /// The tables, `schema.table`.
    pub tables: Vec<String>,
    /// Why, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// What else belongs to it: policies, the finding, the owner, until when.
    #[serde(default)]
    pub detail: serde_json::Value,
}
