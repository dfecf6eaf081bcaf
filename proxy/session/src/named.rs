//! The prepared statements of one client, by the client's own names.

use crate::statement::Statement;
use std::collections::HashMap;
use std::sync::Arc;

/// The statements of one client, by the client's own names.
#[derive(Debug, Default)]
pub(crate) struct Named {
    statements: HashMap<Box<[u8]>, Arc<Statement>>,
    /// The unnamed statement.
    pub(crate) unnamed: Option<Arc<Statement>>,
}

impl Named {
    /// The statement of that name; the unnamed one for the empty name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.statements.get(name) }
    }

    /// Names a statement.
    pub(crate) fn insert(&mut self, name: &[u8], statement: Arc<Statement>) {
        if name.is_empty() {
            self.unnamed = Some(statement);
        } else {
            self.statements.insert(name.into(), statement);
        }
    }

    /// Forgets a name.
    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<Arc<Statement>> {
        if name.is_empty() { self.unnamed.take() } else { self.statements.remove(name) }
    }

    /// Forgets a name if it still stands for `statement`.
    pub(crate) fn remove_exactly(&mut self, name: &[u8], statement: &Arc<Statement>) {
        if self.find(name).is_some_and(|found| Arc::ptr_eq(found, statement)) {
            self.remove(name);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.statements.clear();
        self.unnamed = None;
    }
}
