//! How many backends all pools of one server may have open together, and which pools wait for their share.

use crate::ledger::{Ledger, Ticket};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// While a pool starves, every so many'th backend that another pool could use itself is given up for it.
const SHARE: usize = 4;

/// The common account of all pools.
///
/// Pools that cannot open a backend although their own limit would let them stand in a queue; each in turn gets the next
/// place that becomes free.
#[derive(Debug)]
pub struct Allowance<T: Ticket> {
    limit: AtomicUsize,
    open: AtomicUsize,
    starving: AtomicUsize,
    turns: AtomicUsize,
    queue: Mutex<VecDeque<Weak<Ledger<T>>>>,
}

impl<T: Ticket> Allowance<T> {
    /// An account for at most `limit` backends.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let (open, starving, turns) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        Self { limit: AtomicUsize::new(limit), open, starving, turns, queue: Mutex::default() }
    }

    /// The most backends that may be open.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes the most backends that may be open. Where that makes room, the pools that wait get it; where fewer may
    /// be open, the next backends that are closed are not replaced.
    pub fn resize(&self, limit: usize) {
        self.limit.store(limit, Ordering::Release);
        self.serve();
    }

    /// How many backends more are open than may be, since the limit was lowered.
    pub(crate) fn excess(&self) -> usize {
        self.open().saturating_sub(self.limit())
    }

    /// How many backends are open or being opened.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether a pool waits for its share.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.starving.load(Ordering::Acquire) > 0
    }

    /// Whether a pool with so many waiters of its own gives up what it has at hand.
    pub(crate) fn is_due(&self, waiting: usize) -> bool {
        if self.excess() > 0 {
            return true;
        }
        self.is_wanted() && (waiting == 0 || self.turns.fetch_add(1, Ordering::Relaxed).is_multiple_of(SHARE))
    }

    /// Takes a place, if there is one.
    pub(crate) fn take(&self) -> bool {
        let more = |open: usize| (open < self.limit()).then_some(open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// Gives a place back: to the pool that has waited longest.
    pub(crate) fn give(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        self.serve();
    }

    /// Puts a pool into the queue.
    pub(crate) fn queue(&self, ledger: &Arc<Ledger<T>>) {
        self.stand_in_line(ledger);
        // A place may have become free before the pool stood there.
        self.serve();
    }

    /// Lets pools open backends as long as there are places.
    fn serve(&self) {
        while self.is_wanted() && self.open() < self.limit() {
            let Some(ledger) = self.next() else { return };
            ledger.open_for_waiter();
            if ledger.is_starved() {
                self.stand_in_line(&ledger);
            }
        }
    }

    /// A pool stands in the queue once.
    fn stand_in_line(&self, ledger: &Arc<Ledger<T>>) {
        let mut queue = self.lock();
        if !queue.iter().any(|one| std::ptr::eq(one.as_ptr(), Arc::as_ptr(ledger))) {
            queue.push_back(Arc::downgrade(ledger));
        }
        self.starving.store(queue.len(), Ordering::Release);
    }

    fn next(&self) -> Option<Arc<Ledger<T>>> {
        let mut queue = self.lock();
        let next = std::iter::from_fn(|| queue.pop_front()).find_map(|weak| weak.upgrade());
        self.starving.store(queue.len(), Ordering::Release);
        next
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Weak<Ledger<T>>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
