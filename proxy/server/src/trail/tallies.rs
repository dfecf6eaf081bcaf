//! What repeats is counted: many say, one writes down.
//!
//! Things of one sort fall together where they happen, in the caller's thread, in one of several maps with a lock of its
//! own that is held for a comparison and an addition. Nobody waits for the writer, and no count depends on it: what was
//! not taken yet stays counted here. There are so many sorts at most; of things of further ones only the number is known.

use pgwarden_audit::{Seen, Timestamp};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Maps. More than there are processors to hold their locks.
const SHARDS: usize = 64;

/// Something that falls together with others of its sort.
pub(super) trait Sort: Clone {
    /// Hashes what makes its sort.
    fn hash(&self, hasher: &mut impl Hasher);

    /// Whether the other is of the same sort.
    fn is_like(&self, other: &Self) -> bool;

    /// Adds another of its sort.
    fn add(&mut self, other: &Self);

    /// Lowers the count to 0; the next one begins anew.
    fn clear(&mut self);

    /// How often it happened.
    fn count(&self) -> u64;
}

/// What became of something that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the first of its sort.
    New,
    /// It was added to others.
    Known,
    /// There are too many sorts.
    None,
}

/// What happened, all of one sort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tally<T> {
    /// The first one, with the count of all.
    pub(super) what: T,
    /// When it happened.
    pub(super) seen: Seen,
    /// Whether there was one of this sort before.
    pub(super) place: Place,
}

/// Everything that was not written yet.
#[derive(Debug)]
pub(super) struct Tallies<T> {
    shards: Box<[Mutex<Shard<T>>]>,
    hasher: RandomState,
    sorts: AtomicUsize,
    most: usize,
}

#[derive(Debug)]
struct Shard<T> {
    /// By hash; those that share one stand side by side.
    slots: HashMap<u64, Vec<Tally<T>>>,
    /// The hashes of sorts that were never taken.
    fresh: Vec<u64>,
}

impl<T: Sort> Tallies<T> {
    /// For so many sorts at most.
    pub(super) fn new(most: usize) -> Self {
        let shard = || Mutex::new(Shard { slots: HashMap::new(), fresh: Vec::new() });
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            sorts: AtomicUsize::new(0),
            most,
        }
    }

    /// Counts something.
    pub(super) fn add(&self, what: T, now: Timestamp) -> Place {
        let mut hasher = self.hasher.build_hasher();
        what.hash(&mut hasher);
        let hash = hasher.finish();
        let Some(mut shard) = self.shard(hash) else { return Place::None };
        let Shard { slots, fresh } = &mut *shard;
        let slots = slots.entry(hash).or_default();
        if let Some(slot) = slots.iter_mut().find(|slot| slot.what.is_like(&what)) {
            slot.add(what, now);
            return Place::Known;
        }
        if self.sorts.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.sorts.fetch_sub(1, Ordering::Relaxed);
            return Place::None;
        }
        slots.push(Tally { what, seen: Seen { first: now, last: now }, place: Place::New });
        fresh.push(hash);
        Place::New
    }

    /// Takes what is of a sort that was never taken.
    pub(super) fn take_new(&self) -> Vec<Tally<T>> {
        let mut taken = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let Shard { slots, fresh } = &mut *shard;
            for hash in fresh.drain(..) {
                let of_hash = slots.get_mut(&hash).into_iter().flatten();
                taken.extend(of_hash.filter(|slot| slot.place == Place::New).map(Tally::take));
            }
        }
        taken
    }

    /// Takes everything. Sorts of which nothing has happened since the last time are forgotten.
    pub(super) fn take_all(&self) -> Vec<Tally<T>> {
        let mut taken = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.fresh.clear();
            shard.slots.retain(|_, slots| {
                let before = slots.len();
                slots.retain(|slot| slot.what.count() > 0);
                self.sorts.fetch_sub(before - slots.len(), Ordering::Relaxed);
                taken.extend(slots.iter_mut().map(Tally::take));
                !slots.is_empty()
            });
        }
        taken
    }

    fn shard(&self, hash: u64) -> Option<MutexGuard<'_, Shard<T>>> {
        // The map takes the other end of the hash.
        let index = usize::try_from(hash >> 32).unwrap_or_default() % SHARDS;
        self.shards.get(index).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Sort> Tally<T> {
    fn add(&mut self, what: T, now: Timestamp) {
        if self.what.count() == 0 {
            self.what = what;
            self.seen.first = now;
        } else {
            self.what.add(&what);
        }
        self.seen.last = self.seen.last.max(now);
    }

    /// What is written now; from here on it is known.
    fn take(&mut self) -> Self {
        let taken = self.clone();
        self.what.clear();
        self.place = Place::Known;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Word(&'static str, u64);

    impl Sort for Word {
        fn hash(&self, hasher: &mut impl Hasher) {
            hasher.write_u8(0);
        }

        fn is_like(&self, other: &Self) -> bool {
            self.0 == other.0
        }

        fn add(&mut self, other: &Self) {
            self.1 += other.1;
        }

        fn clear(&mut self) {
            self.1 = 0;
        }

        fn count(&self) -> u64 {
            self.1
        }
    }

    fn words(tallies: &[Tally<Word>]) -> Vec<(&'static str, u64)> {
        let mut words: Vec<_> = tallies.iter().map(|tally| (tally.what.0, tally.what.1)).collect();
        words.sort_unstable();
        words
    }

    #[test]
    fn the_first_of_a_sort_is_taken_at_once_and_repeats_together() {
        let tallies = Tallies::new(10);
        assert_eq!(tallies.add(Word("a", 1), Timestamp(1)), Place::New);
        assert_eq!(words(&tallies.take_new()), [("a", 1)]);
        assert_eq!(tallies.add(Word("a", 1), Timestamp(2)), Place::Known);
        assert_eq!(tallies.add(Word("a", 2), Timestamp(5)), Place::Known);
        assert_eq!(tallies.take_new(), []);
        let [tally] = &tallies.take_all()[..] else { panic!("one") };
        assert_eq!((tally.what.1, tally.place), (3, Place::Known));
        assert_eq!(tally.seen, Seen { first: Timestamp(2), last: Timestamp(5) });
    }

    #[test]
    fn what_has_not_happened_for_a_window_is_forgotten() {
        let tallies = Tallies::new(1);
        tallies.add(Word("a", 1), Timestamp(1));
        assert_eq!(tallies.add(Word("b", 1), Timestamp(1)), Place::None);
        assert_eq!(words(&tallies.take_all()), [("a", 1)]);
        assert_eq!(tallies.add(Word("b", 1), Timestamp(1)), Place::None);
        assert_eq!(tallies.take_all(), []);
        assert_eq!(tallies.add(Word("b", 1), Timestamp(1)), Place::New);
    }

    #[test]
    fn no_count_is_lost_between_threads() {
        let tallies = Arc::new(Tallies::new(10));
        let say = |tallies: Arc<Tallies<Word>>, word: &'static str| {
            std::thread::spawn(move || {
                (0..10_000).for_each(|_| assert_ne!(tallies.add(Word(word, 1), Timestamp(1)), Place::None));
            })
        };
        let words_said = ["a", "b"].into_iter().cycle().take(8);
        let threads: Vec<_> = words_said.map(|word| say(Arc::clone(&tallies), word)).collect();
        let mut taken = Vec::new();
        while !threads.iter().all(std::thread::JoinHandle::is_finished) {
            taken.extend(tallies.take_all());
            taken.extend(tallies.take_new());
        }
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        taken.extend(tallies.take_all());
        let of =
            |word| words(&taken).iter().filter(|(one, _)| *one == word).map(|(_, count)| count).sum::<u64>();
        assert_eq!((of("a"), of("b")), (40_000, 40_000));
    }
}
