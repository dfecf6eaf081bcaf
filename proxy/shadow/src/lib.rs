//! What the policies would have done: findings, and how much was looked at to find them.
//!
//! Detectors (in this crate where they are pure, in `pgwarden` where they ask the server) tell a [`Reporter`]; who keeps what
//! they tell, and for how long, is no business of theirs.

mod book;
mod bulk;
mod catalog;
mod context;
mod coverage;
mod denied;
mod finding;
mod kind;
mod origin;
pub mod policy;
mod queries;
pub mod replay;
mod rows;
mod tenants;
pub mod verdict;
mod watch;
pub mod writes;

pub use book::Book;
pub use catalog::{
    Besides, Catalog, Column, LOOK, Origin as ColumnOrigin, Policy, PolicyCommand, PolicyDigest, Relation,
    RelationKind, RowSecurity, TenantRule, Triggers, Unreadable,
};
pub use context::kind_of;
pub use coverage::{Coverage, Detector, Uncovered};
pub use finding::{
    Actor, Command, Decision, Finding, Origin, Outcome, Query, Rows, Rule, Site, Target, Tenant,
    TenantSource, Token, WouldHave,
};
pub use kind::{Kind, Severity};
pub use queries::{Known, Queries, Text};
pub use tenants::{Format, TenantSet, ValueKind};
pub use watch::{Post, RowGuard, RowRules, RowSight, Watcher};

/// Hears what detectors have found. Never waits, and never fails: what finds no place is counted.
pub trait Reporter: std::fmt::Debug + Send + Sync {
    /// Something that the policies would have changed.
    fn found(&self, finding: Finding);

    /// Executions of one query that a detector has looked at, or could not look at.
    fn covered(&self, coverage: Coverage);
}
