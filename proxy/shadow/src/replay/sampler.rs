//! Which executions are run again: the first of each query and tenant, then some.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

/// Parts of the table, each with a lock of its own.
const PARTS: usize = 16;
/// Queries and tenants that are told apart, in each part.
const ENTRIES: usize = 8_192;

/// Whether an execution is run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// It is.
    Replay,
    /// It is not.
    Pass,
}

/// How many are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// So many of each query and tenant, to begin with.
    pub first: u64,
    /// Then so many of a million.
    pub rate: u32,
}

/// Counts executions by query and tenant.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    parts: [Mutex<HashMap<u64, u64>>; PARTS],
}

impl Sampler {
    /// One that has seen nothing.
    #[must_use]
    pub fn new(sampling: Sampling) -> Self {
        Self { sampling, parts: Default::default() }
    }

    /// Whether the next one would be chosen.
    pub fn would_choose(&self, fingerprint: &str, tenant: Option<&str>) -> bool {
        let (key, part) = self.place(fingerprint, tenant);
        let counts = part.lock().unwrap_or_else(PoisonError::into_inner);
        self.sampling.takes(counts.get(&key).copied().unwrap_or_default())
    }

    /// Chooses, or not. When there is no room for another query or tenant, those that come later count together.
    pub fn choose(&self, fingerprint: &str, tenant: Option<&str>) -> Choice {
        let (key, part) = self.place(fingerprint, tenant);
        let mut counts = part.lock().unwrap_or_else(PoisonError::into_inner);
        let key = if counts.len() < ENTRIES || counts.contains_key(&key) { key } else { 0 };
        let seen = counts.entry(key).or_default();
        let number = *seen;
        *seen += 1;
        drop(counts);
        if self.sampling.takes(number) { Choice::Replay } else { Choice::Pass }
    }

    fn place(&self, fingerprint: &str, tenant: Option<&str>) -> (u64, &Mutex<HashMap<u64, u64>>) {
        let mut hasher = DefaultHasher::new();
        (fingerprint, tenant).hash(&mut hasher);
        let key = hasher.finish();
        let [first, ..] = &self.parts;
        let part = usize::try_from(key % 16).ok().and_then(|part| self.parts.get(part));
        (key, part.unwrap_or(first))
    }
}

impl Sampling {
    /// Whether the execution of that number, counted from 0, is chosen: evenly, without chance.
    fn takes(self, number: u64) -> bool {
        let Some(behind) = number.checked_sub(self.first) else { return true };
        let upto = |count: u64| u128::from(count) * u128::from(self.rate) / 1_000_000;
        upto(behind.saturating_add(1)) > upto(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(sampler: &Sampler, executions: usize, tenant: &str) -> usize {
        (0..executions).filter(|_| sampler.choose("f", Some(tenant)) == Choice::Replay).count()
    }

    #[test]
    fn the_first_of_each_tenant_are_chosen_and_then_a_share() {
        let sampler = Sampler::new(Sampling { first: 5, rate: 100_000 });
        assert_eq!(chosen(&sampler, 5, "a"), 5);
        assert_eq!(chosen(&sampler, 1_000, "a"), 100);
        assert_eq!(chosen(&sampler, 5, "b"), 5);
        assert_eq!((0..5).filter(|_| sampler.choose("g", None) == Choice::Replay).count(), 5);
    }

    #[test]
    fn all_or_none_can_be_asked_for() {
        assert_eq!(chosen(&Sampler::new(Sampling { first: 0, rate: 1_000_000 }), 100, "a"), 100);
        assert_eq!(chosen(&Sampler::new(Sampling { first: 1, rate: 0 }), 100, "a"), 1);
    }

    #[test]
    fn the_table_has_an_end() {
        let sampler = Sampler::new(Sampling { first: 1, rate: 0 });
        for number in 0..300_000 {
            sampler.choose(&format!("{number}"), None);
        }
        let entries: usize = sampler.parts.iter().map(|part| part.lock().expect("not poisoned").len()).sum();
        assert!(entries <= PARTS * (ENTRIES + 1), "{entries}");
    }
}
