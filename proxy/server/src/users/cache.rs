//! What was found of users, remembered for a while.
//!
//! All who log in as a user at once wait for one answer. An answer ends after its time, or sooner when a login with it
//! fails; a user who is not there is remembered, too. Both count from the question, and a failure shortens both alike:
//! otherwise the time of an answer would tell who is there.

use crate::lookup::LookupError;
use pgwarden_auth::secret::Secret;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::OnceCell;

/// The places of answers, by user.
#[derive(Debug)]
pub(super) struct Cache {
    most: usize,
    cells: Mutex<HashMap<String, Arc<Cell>>>,
}

/// The place of one answer: whoever comes first asks, the others wait.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    pub(super) answer: OnceCell<Result<Remembered, Arc<LookupError>>>,
    is_doubted: AtomicBool,
}

/// An answer with its times.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) found: Found,
    /// When it is too old.
    pub(super) until: Instant,
    /// When it is too old after a login with it has failed.
    pub(super) until_if_doubted: Instant,
}

/// What was found of a user.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// The secret as it is stored; none for who is not there.
    pub(super) secret: Option<Secret>,
    /// The secret as SCRAM needs it.
    pub(super) verifier: Option<Secret>,
}

impl Cache {
    /// Room for so many users.
    pub(super) fn new(most: usize) -> Self {
        Self { most, cells: Mutex::default() }
    }

    /// The place of the answer about a user: that of one that is good, or for which somebody has asked already.
    pub(super) fn cell(&self, user: &str, now: Instant) -> Arc<Cell> {
        let mut cells = self.lock();
        if let Some(known) = cells.get(user).filter(|cell| !cell.has_ended(now)) {
            return Arc::clone(known);
        }
        if cells.len() >= self.most {
            cells.retain(|_, cell| !cell.has_ended(now));
        }
        if cells.len() >= self.most {
            // Names that somebody makes up take no place from those that there are.
            cells.retain(|_, cell| cell.is_of_somebody());
        }
        if cells.len() >= self.most {
            cells.clear();
        }
        let cell = Arc::<Cell>::default();
        cells.insert(user.to_owned(), Arc::clone(&cell));
        cell
    }

    /// Forgets what was found of a user.
    pub(super) fn forget(&self, user: &str) {
        self.lock().remove(user);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Cell>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cell {
    /// A login with this answer has failed: it is not good for long any more.
    pub(super) fn doubt(&self) {
        self.is_doubted.store(true, Ordering::Relaxed);
    }

    /// Whether the answer is too old, or none; not while somebody still asks.
    fn has_ended(&self, now: Instant) -> bool {
        match self.answer.get() {
            None => false,
            Some(Err(_)) => true,
            Some(Ok(remembered)) if self.is_doubted.load(Ordering::Relaxed) => {
                remembered.until_if_doubted <= now
            }
            Some(Ok(remembered)) => remembered.until <= now,
        }
    }

    fn is_of_somebody(&self) -> bool {
        match self.answer.get() {
            Some(Ok(remembered)) => remembered.found.secret.is_some(),
            Some(Err(_)) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    /// Puts an answer in its place: good for ten seconds, or two if doubted.
    fn put(cache: &Cache, user: &str, secret: Option<&str>, now: Instant) -> Arc<Cell> {
        let cell = cache.cell(user, now);
        let secret = secret.map(|text| Secret::parse(text).unwrap());
        let found = Found { secret, verifier: None };
        let remembered = Remembered { found, until: now + 10 * SECOND, until_if_doubted: now + 2 * SECOND };
        cell.answer.set(Ok(remembered)).unwrap();
        cell
    }

    fn is_known(cache: &Cache, user: &str, cell: &Arc<Cell>, now: Instant) -> bool {
        Arc::ptr_eq(&cache.cell(user, now), cell)
    }

    #[test]
    fn those_who_come_while_somebody_asks_share_the_answer() {
        let (cache, now) = (Cache::new(10), Instant::now());
        let first = cache.cell("alice", now);
        assert!(is_known(&cache, "alice", &first, now + 1000 * SECOND));
        assert!(!is_known(&cache, "bob", &first, now));
        assert!(first.answer.set(Err(Arc::new(LookupError::TimedOut(SECOND)))).is_ok());
        assert!(!is_known(&cache, "alice", &first, now), "an error is for those who waited");
    }

    #[test]
    fn an_answer_ends_after_its_time_and_sooner_when_it_is_doubted() {
        for secret in [Some("secret"), None] {
            let (cache, now) = (Cache::new(10), Instant::now());
            let cell = put(&cache, "alice", secret, now);
            assert!(is_known(&cache, "alice", &cell, now + 9 * SECOND));
            cell.doubt();
            assert!(is_known(&cache, "alice", &cell, now + SECOND));
            assert!(!is_known(&cache, "alice", &cell, now + 2 * SECOND));
            let again = put(&cache, "bob", secret, now);
            assert!(!is_known(&cache, "bob", &again, now + 10 * SECOND));
        }
        let (cache, now) = (Cache::new(10), Instant::now());
        let cell = put(&cache, "alice", Some("secret"), now);
        cache.forget("alice");
        assert!(!is_known(&cache, "alice", &cell, now));
    }

    #[test]
    fn there_are_never_more_than_so_many_and_made_up_names_go_first() {
        let (cache, now) = (Cache::new(3), Instant::now());
        let alice = put(&cache, "alice", Some("secret"), now);
        for number in 0..100 {
            put(&cache, &format!("nobody{number}"), None, now);
            assert!(cache.lock().len() <= 3);
            assert!(is_known(&cache, "alice", &alice, now));
        }
        for number in 0..100 {
            put(&cache, &format!("somebody{number}"), Some("secret"), now);
            assert!(cache.lock().len() <= 3);
        }
        let ended = Cache::new(2);
        put(&ended, "alice", Some("secret"), now);
        put(&ended, "bob", Some("secret"), now);
        ended.cell("another", now + 10 * SECOND);
        assert_eq!(ended.lock().len(), 1, "what has ended makes room");
    }
}
