//! What a watcher is given: who is told, what is known, and what the configuration says.

use super::rules::RowRules;
use crate::Reporter;
use crate::book::Book;
use crate::queries::Queries;
use crate::replay::Replayer;
use crate::writes;
use std::sync::Arc;

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
