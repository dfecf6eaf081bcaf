//! Traffic that is held for a moment: transactions that would begin in a database wait, so that whoever needs the lock of
//! a table has it at once. None fails by that, and none waits for longer than [`LONGEST`].

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The longest time for which anything is held.
pub(crate) const LONGEST: Duration = Duration::from_millis(2_000);

/// The databases whose traffic is held.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// How many there are: nearly always none, which is what sessions look at.
    count: AtomicUsize,
    until: Mutex<HashMap<String, Instant>>,
    released: Notify,
}

impl Holds {
    /// Holds the traffic of a database from now on, instead of any hold that it has.
    pub(crate) fn begin(&self, database: &str, duration: Duration) {
        let mut until = self.until();
        until.insert(database.to_owned(), Instant::now() + duration.min(LONGEST));
        self.count.store(until.len(), Ordering::Release);
    }

    /// Lets it flow.
    pub(crate) fn end(&self, database: &str) {
        let mut until = self.until();
        until.remove(database);
        self.count.store(until.len(), Ordering::Release);
        drop(until);
        self.released.notify_waiters();
    }

    /// Whether a transaction in `database` has to wait.
    pub(crate) fn holds(&self, database: &str) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.deadline(database).is_some()
    }

    /// Waits until transactions may begin. Cancel safe.
    pub(crate) async fn passed(&self, database: &str) {
        loop {
            let mut released = pin!(self.released.notified());
            // From here on, none is missed.
            released.as_mut().enable();
            let Some(deadline) = self.deadline(database) else { return };
            tokio::select! {
                () = released => (),
                () = sleep_until(deadline) => (),
            }
        }
    }

    /// When it ends; one that has ended is forgotten.
    fn deadline(&self, database: &str) -> Option<Instant> {
        let mut until = self.until();
        let deadline = until.get(database).copied()?;
        if deadline > Instant::now() {
            return Some(deadline);
        }
        until.remove(database);
        self.count.store(until.len(), Ordering::Release);
        None
    }

    fn until(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn a_hold_ends_by_itself() {
        let holds = Holds::default();
        holds.begin("app", Duration::from_secs(60));
        assert!(holds.holds("app") && !holds.holds("other"));
        let started = Instant::now();
        holds.passed("other").await;
        holds.passed("app").await;
        assert!(!holds.holds("app"));
        assert!(started.elapsed() <= LONGEST + Duration::from_millis(10), "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_that_is_ended_lets_all_pass_at_once() {
        let holds = Arc::new(Holds::default());
        holds.begin("app", LONGEST);
        let waiting = Arc::clone(&holds);
        let waiter = tokio::spawn(async move {
            let started = Instant::now();
            waiting.passed("app").await;
            started.elapsed()
        });
        tokio::task::yield_now().await;
        holds.end("app");
        assert!(waiter.await.expect("it ends") < LONGEST);
    }
}
