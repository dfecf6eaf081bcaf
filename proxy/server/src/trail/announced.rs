//! Which sorts of findings have had their line of the log.

use dashmap::DashSet;
use pgwarden_shadow::Finding;
use std::hash::{BuildHasher, RandomState};

/// The most sorts of findings that get a line of the log.
const MOST: usize = 10_000;

/// Whether a finding is worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// There was none of its sort before.
    First,
    /// The same, and there will be no further lines.
    Last,
    /// It was told, or there were too many sorts.
    None,
}

/// Sorts of findings (kind, fingerprint, table), as hashes: that two fall together costs a line of the log.
#[derive(Debug)]
pub(crate) struct Announced {
    seen: DashSet<u64>,
    hasher: RandomState,
    most: usize,
}

impl Default for Announced {
    fn default() -> Self {
        Self { seen: DashSet::new(), hasher: RandomState::new(), most: MOST }
    }
}

impl Announced {
    /// Whether this is the first finding of its sort.
    pub(crate) fn news(&self, finding: &Finding) -> News {
        let fingerprint = finding.query.as_ref().map(|query| &query.fingerprint);
        let target = &finding.target;
        let sort = self.hasher.hash_one((finding.kind, fingerprint, &target.schema, &target.table));
        if self.seen.contains(&sort) {
            return News::None;
        }
        let known = self.seen.len();
        if known >= self.most || !self.seen.insert(sort) {
            return News::None;
        }
        if known + 1 == self.most { News::Last } else { News::First }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::tests::finding;

    #[test]
    fn each_sort_is_news_once() {
        let announced = Announced::default();
        assert_eq!(announced.news(&finding("a", "t")), News::First);
        assert_eq!(announced.news(&finding("a", "t")), News::None);
        assert_eq!(announced.news(&finding("a", "u")), News::First);
        assert_eq!(announced.news(&finding("b", "t")), News::First);
    }

    #[test]
    fn too_many_sorts_are_not_kept() {
        let announced = Announced { most: 2, ..Announced::default() };
        assert_eq!(announced.news(&finding("a", "t")), News::First);
        assert_eq!(announced.news(&finding("b", "t")), News::Last);
        assert_eq!(announced.news(&finding("c", "t")), News::None);
        assert_eq!(announced.seen.len(), 2);
    }
}
