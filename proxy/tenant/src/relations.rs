//! Which texts name a relation of the application: remembered, because only a real parse can tell.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Texts remembered at most; when it is full, it is emptied.
const CAPACITY: usize = 4096;

/// What is known of texts that clients without a context have sent.
///
/// Shared by all clients. The lock is taken only for a client that has no context.
#[derive(Debug, Default)]
pub struct RelationCache {
    known: Mutex<HashMap<Box<[u8]>, bool>>,
}

impl RelationCache {
    /// Whether `text` names a relation outside of the system catalogs; `None` while nobody has looked.
    #[must_use]
    pub fn names_relation(&self, text: &[u8]) -> Option<bool> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(text).copied()
    }

    /// Remembers the answer.
    pub fn remember(&self, text: &[u8], names_relation: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CAPACITY {
            known.clear();
        }
        known.insert(text.into(), names_relation);
    }
}
