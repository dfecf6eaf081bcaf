//! How often each of some names was met, without growing for ever.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Names that are kept; of the others only their number.
const MOST: usize = 100;

/// How often each name was met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// By name.
    pub counts: BTreeMap<String, u64>,
    /// How often names were met that found no place.
    #[serde(default)]
    pub others: u64,
}

impl Tally {
    /// Meets a name so many times.
    pub fn add(&mut self, name: &str, count: u64) {
        if self.counts.len() >= MOST && !self.counts.contains_key(name) {
            self.others = self.others.saturating_add(count);
            return;
        }
        let known = self.counts.entry(name.to_owned()).or_default();
        *known = known.saturating_add(count);
    }

    /// Whether nothing was met.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The names, those met most often first.
    #[must_use]
    pub fn ranked(&self) -> Vec<(&str, u64)> {
        let mut ranked: Vec<_> = self.counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        ranked.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
        ranked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_and_ranked_and_what_finds_no_place_is_counted_too() {
        let mut tally = Tally::default();
        (0..MOST + 5).for_each(|number| tally.add(&format!("name {number:03}"), 1));
        tally.add("name 007", 9);
        assert_eq!((tally.counts.len(), tally.others), (MOST, 5));
        assert_eq!(tally.ranked()[..2], [("name 007", 10), ("name 000", 1)]);
    }
}
