//! What a watcher is given: who is told, what is known, and what the configuration says.

use crate::Reporter;
use crate::book::Book;
use crate::queries::Queries;
use crate::replay::Replayer;
use crate::writes;
use std::sync::Arc;

/// What happens to a foreign row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RowGuard {
    /// It goes on its way, and is a finding.
    #[default]
    Off,
    /// In `enforce`, the result is cut off in front of it, on tables whose policy is the standard one.
    Block,
}

/// What is said of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowRules {
    /// Whether they are looked at.
    pub sight: RowSight,
    /// What happens to a foreign one.
    pub guard: RowGuard,
    /// Tenants whose rows everybody may see.
    pub global_tenants: Vec<String>,
    /// Whom a client acts for of whom nothing else is known.
    pub default_tenant: Option<String>,
}

/// Whether rows are looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RowSight {
    /// They are.
    #[default]
    On,
    /// They are not.
    Off,
}

/// What all sessions share.
#[derive(Debug, Clone)]
pub struct Post {
    /// Who is told.
    pub reporter: Arc<dyn Reporter>,
    /// What is known of statements.
    pub queries: Arc<Queries>,
    /// Where executions are counted.
    pub book: Arc<Book>,
    /// What is said of rows.
    pub rows: Arc<RowRules>,
    /// How triggers sign what they tell, and who judges it; nothing where they do not.
    pub writes: Option<(Arc<str>, Arc<dyn writes::Judge>)>,
    /// Who runs queries again; nobody, perhaps.
    pub replayer: Option<Arc<dyn Replayer>>,
}
