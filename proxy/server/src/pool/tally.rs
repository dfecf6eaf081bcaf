//! A number that is looked at, and goes down by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many of something there are.
#[derive(Debug, Default)]
pub(crate) struct Tally(Arc<AtomicUsize>);

/// One of them, until it is dropped.
#[derive(Debug)]
#[must_use = "the tally goes down when this is dropped"]
pub(crate) struct One(Arc<AtomicUsize>);

impl Tally {
    /// One more.
    pub(crate) fn one(&self) -> One {
        self.0.fetch_add(1, Ordering::Relaxed);
        One(Arc::clone(&self.0))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_goes_down_when_its_ones_are_dropped() {
        let tally = Tally::default();
        let (first, second) = (tally.one(), tally.one());
        assert_eq!(tally.count(), 2);
        drop((first, second));
        assert_eq!(tally.count(), 0);
    }
}
