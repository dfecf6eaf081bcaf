//! Which statement runs in which portal, as far as the client bound them in the current transaction.

use crate::oversight::Overseen;
use crate::statement::Statement;
use crate::token::Showing;
use std::collections::HashMap;
use std::sync::Arc;

/// What runs in a portal.
#[derive(Debug)]
struct Bound {
    statement: Arc<Statement>,
    /// What running it shows.
    showing: Option<Box<Showing>>,
    /// What an overseer may ask about it.
    overseen: Option<Overseen>,
}

/// The portals of one client.
#[derive(Debug, Default)]
pub(crate) struct Portals {
    unnamed: Option<Bound>,
    named: HashMap<Box<[u8]>, Bound>,
}

impl Portals {
    /// A portal was bound; `None` where the statement is not known.
    pub(crate) fn bind(
        &mut self,
        name: &[u8],
        statement: Option<&Arc<Statement>>,
        (showing, overseen): (Option<Box<Showing>>, Option<Overseen>),
    ) {
        match statement.map(|statement| Bound { statement: Arc::clone(statement), showing, overseen }) {
            Some(bound) if name.is_empty() => self.unnamed = Some(bound),
            Some(bound) => {
                self.named.insert(name.into(), bound);
            }
            None => self.close(name),
        }
    }

    /// The statement of a portal.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        self.bound(name).map(|bound| &bound.statement)
    }

    /// What running a portal shows.
    pub(crate) fn showing(&self, name: &[u8]) -> Option<&Showing> {
        self.bound(name)?.showing.as_deref()
    }

    /// What an overseer may ask about a portal.
    pub(crate) fn overseen(&self, name: &[u8]) -> Option<&Overseen> {
        self.bound(name)?.overseen.as_ref()
    }

    fn bound(&self, name: &[u8]) -> Option<&Bound> {
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
