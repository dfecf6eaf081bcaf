//! Which texts name a relation of the application: remembered, because only a real parse can tell.

use crate::texts::Texts;

/// What a text names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// A relation outside of the system catalogs, or nobody can tell.
    Relation,
    /// None.
    Nothing,
}

/// What is known of texts that clients without a context have sent.
///
/// Shared by all clients. The lock is taken only for a client that has no context.
#[derive(Debug, Default)]
pub struct RelationCache {
    known: Texts<Names>,
}

impl RelationCache {
    /// Whether `text` names a relation outside of the system catalogs; `None` while nobody has looked.
    #[must_use]
    pub fn names_relation(&self, text: &[u8]) -> Option<Names> {
        self.known.find(text)
    }

    /// Remembers the answer.
    pub fn remember(&self, text: &[u8], names: Names) {
        self.known.remember(text, names);
    }
}
