//! Which statement runs in which portal, as far as the client bound them in the current transaction.

use crate::statement::Statement;
use std::collections::HashMap;
use std::sync::Arc;

/// The portals of one client.
#[derive(Debug, Default)]
pub(crate) struct Portals {
    unnamed: Option<Arc<Statement>>,
    named: HashMap<Box<[u8]>, Arc<Statement>>,
}

impl Portals {
    /// A portal was bound; `None` where the statement is not known.
    pub(crate) fn bind(&mut self, name: &[u8], statement: Option<&Arc<Statement>>) {
        match statement {
            Some(statement) if name.is_empty() => self.unnamed = Some(Arc::clone(statement)),
            Some(statement) => {
                self.named.insert(name.into(), Arc::clone(statement));
            }
            None => self.close(name),
        }
    }

    /// The statement of a portal.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(name) }
    }

    /// A portal was closed.
    pub(crate) fn close(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed = None;
        } else {
            self.named.remove(name);
        }
    }

    /// The transaction ended: no portal is left.
    pub(crate) fn clear(&mut self) {
        self.unnamed = None;
        self.named.clear();
    }
}
