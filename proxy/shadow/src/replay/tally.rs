//! What became of executions, counted until somebody tells.

use crate::coverage::{Coverage, Detector, Uncovered};
use crate::finding::{Query, Site};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// Parts of the table, each with a lock of its own.
const PARTS: usize = 16;

/// The query, database and role, and why it was not looked at.
type Key = (String, Arc<str>, Arc<str>, Option<Uncovered>);

/// Executions by query, place and outcome. Exact: nothing is left out, however many there are between two looks.
#[derive(Debug, Default)]
pub struct Tally {
    parts: [Mutex<HashMap<Key, Coverage>>; PARTS],
}

impl Tally {
    /// Counts an execution.
    pub fn count(&self, query: &Arc<Query>, site: &Site, tables: &[String], uncovered: Option<Uncovered>) {
        let mut hasher = DefaultHasher::new();
        query.fingerprint.hash(&mut hasher);
        let part = usize::try_from(hasher.finish() % 16).unwrap_or_default();
        let Some(part) = self.parts.get(part) else { return };
        let key = (query.fingerprint.clone(), Arc::clone(&site.database), Arc::clone(&site.role), uncovered);
        let mut entries = part.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(key).or_insert_with(|| Coverage {
            query: Arc::clone(query),
            site: Site { pid: None, ..site.clone() },
            tables: Vec::new(),
            detector: Detector::Replay,
            uncovered,
            count: 0,
        });
        if entry.tables.is_empty() {
            entry.tables = tables.to_vec();
        }
        entry.count += 1;
    }

    /// All that was counted since the last look.
    pub fn take(&self) -> Vec<Coverage> {
        let take = |part: &Mutex<HashMap<Key, Coverage>>| {
            std::mem::take(&mut *part.lock().unwrap_or_else(PoisonError::into_inner))
        };
        self.parts.iter().flat_map(|part| take(part).into_values()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_told_once() {
        let tally = Tally::default();
        let query = Arc::new(Query { fingerprint: "f".into(), text: None });
        let site = Site { database: "d".into(), role: "r".into(), pid: Some(1) };
        tally.count(&query, &site, &[], None);
        tally.count(&query, &Site { pid: Some(2), ..site.clone() }, &["public.t".into()], None);
        tally.count(&query, &site, &[], Some(Uncovered::NotSampled));
        let mut told = tally.take();
        told.sort_by_key(|coverage| coverage.count);
        let counts: Vec<_> = told.iter().map(|one| (one.count, one.uncovered, one.tables.len())).collect();
        assert_eq!(counts, [(1, Some(Uncovered::NotSampled), 0), (2, None, 1)]);
        assert!(tally.take().is_empty());
    }
}
