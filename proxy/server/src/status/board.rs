//! What every session does at the moment, in one word each.
//!
//! A session writes its word when a transaction begins and when it ends: one relaxed store each, with the time that the
//! wake-up has read anyway, into a cache line that nobody else touches until somebody asks for the status. What was
//! written last is remembered beside it, so a message inside a transaction costs a comparison. No lock and no counter is shared by sessions; the map is changed by logins and farewells alone. What can be
//! counted is counted by whoever asks, not here.

use crate::meters::{Label, ReloadOutcome};
use crate::pool::Pool;
use crate::status::LastReload;
use dashmap::DashMap;
use pgwarden_session::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Nothing: it is between transactions.
    Idle,
    /// It is in a transaction, or a statement runs.
    Transaction,
    /// It waits for a backend.
    Waiting,
}

/// What has just happened to a session that keeps its backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// Nothing, or something began.
    None,
    /// Its transaction has ended.
    TransactionEnded,
}

/// What a session does, since when, and on which backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What it does.
    pub(crate) doing: Doing,
    /// For how many seconds.
    pub(crate) seconds: u64,
    /// The process id of its backend, while it holds one.
    pub(crate) backend: Option<u32>,
    /// Why it keeps its backend, and for how many seconds it has.
    pub(crate) pin: Option<(Pin, u64)>,
}

/// Everybody who is logged in.
#[derive(Debug)]
pub(crate) struct Board {
    /// When pgwarden was started.
    pub(crate) started: Instant,
    /// When and how the last reload ended.
    reloaded: Mutex<Option<(Instant, ReloadOutcome)>>,
    last: AtomicU64,
    entries: DashMap<u64, Arc<Entry>>,
}

/// One session; a cache line of its own, so that its stores disturb no neighbour.
#[derive(Debug)]
#[repr(align(64))]
struct Entry {
    pool: Arc<Pool>,
    doing: AtomicU64,
    pin: AtomicU64,
}

/// A session's place on the board; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Presence {
    board: Arc<Board>,
    number: u64,
    entry: Arc<Entry>,
    doing: Doing,
    backend: Option<u32>,
    pin: Option<Pin>,
}

impl Board {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let (started, reloaded) = (Instant::now(), Mutex::default());
        Self { started, reloaded, last: AtomicU64::new(0), entries: DashMap::new() }
    }

    /// A reload has ended.
    pub(crate) fn reloaded(&self, outcome: ReloadOutcome) {
        *self.reloaded.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), outcome));
    }

    /// How the last reload ended; `None` before the first.
    pub(crate) fn last_reload(&self) -> Option<LastReload> {
        let (ended, outcome) = (*self.reloaded.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(LastReload { seconds_ago: ended.elapsed().as_secs(), outcome: outcome.label().to_owned() })
    }

    /// A session begins, with nothing to do; `now` is in seconds of the uptime, here and in all that follows.
    pub(crate) fn enter(self: &Arc<Self>, pool: &Arc<Pool>, now: u64) -> Presence {
        let entry = Arc::new(Entry {
            pool: Arc::clone(pool),
            doing: AtomicU64::new(word(Doing::Idle, None, now)),
            pin: AtomicU64::new(0),
        });
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.entries.insert(number, Arc::clone(&entry));
        Presence { board: Arc::clone(self), number, entry, doing: Doing::Idle, backend: None, pin: None }
    }

    /// Shows every session: its number, its pool and what it does.
    pub(crate) fn look(&self, now: u64, mut each: impl FnMut(u64, &Arc<Pool>, Seen)) {
        for entry in &self.entries {
            let (doing, pin) = (&entry.doing, &entry.pin);
            let seen = read(doing.load(Ordering::Relaxed), pin.load(Ordering::Relaxed), now);
            each(*entry.key(), &entry.pool, seen);
        }
    }
}

impl Presence {
    /// The session waits for a backend.
    pub(crate) fn waits(&mut self, now: u64) {
        self.write(Doing::Waiting, None, now);
    }

    /// The session has no backend, and waits for none.
    pub(crate) fn rests(&mut self, now: u64) {
        self.write(Doing::Idle, None, now);
    }

    /// What the session does with its backend; the clock is asked, and the word written, only where that has changed.
    pub(crate) fn keeps(&mut self, backend: u32, doing: Doing, clock: impl FnOnce() -> u64) -> Edge {
        let before = (self.doing, self.backend);
        if before == (doing, Some(backend)) {
            return Edge::None;
        }
        self.write(doing, Some(backend), clock());
        match (before, doing) {
            ((Doing::Transaction, Some(_)), Doing::Idle) => Edge::TransactionEnded,
            _ => Edge::None,
        }
    }

    /// Why the session keeps its backend, if it does.
    pub(crate) fn pinned(&mut self, pin: Option<Pin>, clock: impl FnOnce() -> u64) {
        if self.pin == pin {
            return;
        }
        self.pin = pin;
        self.entry.pin.store(pin_word(pin, clock()), Ordering::Relaxed);
    }

    fn write(&mut self, doing: Doing, backend: Option<u32>, now: u64) {
        (self.doing, self.backend) = (doing, backend);
        self.entry.doing.store(word(doing, backend, now), Ordering::Relaxed);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.board.entries.remove(&self.number);
    }
}

/// A word, from its lowest bit: 29 bits of the time in seconds, 2 of what is done, 1 for whether there is a backend, and
/// 32 for its process id.
const AGE_BITS: u32 = 29;
const AGE: u64 = (1 << AGE_BITS) - 1;
const DOING: u64 = 0b11;
const TRANSACTION: u64 = 1;
const WAITING: u64 = 2;
const HOLDS: u64 = 1 << 31;
const PROCESS_AT: u32 = 32;

fn word(doing: Doing, backend: Option<u32>, now: u64) -> u64 {
    let doing = match doing {
        Doing::Idle => 0,
        Doing::Transaction => TRANSACTION,
        Doing::Waiting => WAITING,
    };
    let backend = backend.map_or(0, |process| u64::from(process) << PROCESS_AT | HOLDS);
    backend | doing << AGE_BITS | now & AGE
}

/// The word of a pin: the time as above, and the place of the reason in [`Pin::ALL`], from 1 on.
fn pin_word(pin: Option<Pin>, now: u64) -> u64 {
    let number = Pin::ALL.iter().position(|reason| Some(*reason) == pin).map_or(0, |at| at + 1);
    u64::try_from(number).unwrap_or_default() << AGE_BITS | now & AGE
}

/// What a session's words say.
fn read(doing: u64, pin: u64, now: u64) -> Seen {
    let reason = usize::try_from(pin >> AGE_BITS).ok().and_then(|number| number.checked_sub(1));
    Seen {
        doing: match (doing >> AGE_BITS) & DOING {
            TRANSACTION => Doing::Transaction,
            WAITING => Doing::Waiting,
            _ => Doing::Idle,
        },
        seconds: age(doing, now),
        backend: (doing & HOLDS != 0).then(|| u32::try_from(doing >> PROCESS_AT).unwrap_or_default()),
        pin: reason.and_then(|number| Pin::ALL.get(number)).map(|reason| (*reason, age(pin, now))),
    }
}

/// How old a word is: right up to eight years, and 0 where the clock was set back.
fn age(word: u64, now: u64) -> u64 {
    let age = now.wrapping_sub(word) & AGE;
    if age > AGE / 2 { 0 } else { age }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000;

    fn seen(doing: u64, pin: u64) -> Seen {
        read(doing, pin, NOW)
    }

    #[test]
    fn a_word_says_what_was_written_into_it() {
        for doing in [Doing::Idle, Doing::Transaction, Doing::Waiting] {
            for backend in [None, Some(0), Some(12_345), Some(u32::MAX)] {
                for seconds in [0, 1, 86_400 * 365] {
                    let found = seen(word(doing, backend, NOW - seconds), 0);
                    assert_eq!(found, Seen { doing, seconds, backend, pin: None });
                }
            }
        }
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_old() {
        assert_eq!(seen(word(Doing::Waiting, None, NOW + 5), 0).seconds, 0);
    }

    #[test]
    fn every_pin_has_a_number_of_its_own() {
        for pin in Pin::ALL {
            assert_eq!(seen(0, pin_word(Some(pin), NOW - 3)).pin, Some((pin, 3)));
        }
        assert_eq!(seen(0, pin_word(None, NOW)).pin, None);
    }
}
