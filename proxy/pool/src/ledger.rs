//! How many backends of one pool are open, and who waits for one, across all workers.

use crate::allowance::Allowance;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often those behind may be served first because a backend is at hand on their own worker.
const PATIENCE: u8 = 4;

/// Someone who waits for a backend.
pub trait Ticket: Sized + Send {
    /// The kind of backend.
    type Backend: Send;

    /// The worker that waits.
    fn home(&self) -> usize;

    /// Hands over; gives the grant back when nobody waits any more.
    ///
    /// # Errors
    /// The grant, when the waiter is gone.
    fn hand_over(self, grant: Grant<Self>) -> Result<(), Grant<Self>>;
}

/// What a waiter gets.
#[derive(Debug)]
pub enum Grant<T: Ticket> {
    /// An idle backend.
    Backend(T::Backend),
    /// The right to open one.
    Slot(Slot<T>),
}

/// The pool is exhausted: the waiter is in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted;

/// The accounts of one pool.
#[derive(Debug)]
pub struct Ledger<T: Ticket> {
    allowance: Arc<Allowance<T>>,
    limit: AtomicUsize,
    open: AtomicUsize,
    waiting: AtomicUsize,
    waiters: Mutex<VecDeque<Waiter<T>>>,
}

#[derive(Debug)]
struct Waiter<T> {
    ticket: T,
    passed_over: u8,
}

/// The right to have one backend open; dropping it passes it to whoever waits.
#[derive(Debug)]
pub struct Slot<T: Ticket> {
    ledger: Arc<Ledger<T>>,
    counted: Counted,
}

/// Whether a slot still stands for an open backend.
#[derive(Debug, PartialEq, Eq)]
enum Counted {
    Yes,
    PassedOn,
}

impl<T: Ticket> Ledger<T> {
    /// Accounts for a pool of at most `limit` backends, and of those that all pools may have.
    #[must_use]
    pub fn new(limit: usize, allowance: Arc<Allowance<T>>) -> Self {
        let waiters = Mutex::new(VecDeque::new());
        let limit = AtomicUsize::new(limit);
        Self { allowance, limit, open: AtomicUsize::new(0), waiting: AtomicUsize::new(0), waiters }
    }

    /// How many backends are open or being opened.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Shows everybody in the queue, the first of them first; those who have given up may still be in it. The queue
    /// stands still meanwhile.
    pub fn waiters(&self, mut each: impl FnMut(&T)) {
        if self.waiting() > 0 {
            self.queue().iter().for_each(|waiter| each(&waiter.ticket));
        }
    }

    /// The most backends that may be open.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes the most backends that may be open. Where that makes room, those who wait get it, as far as the allowance
    /// of all pools goes; where fewer may be open, the right to open one ends with the next backends that are closed.
    pub fn resize(self: &Arc<Self>, limit: usize) {
        self.limit.store(limit, Ordering::Release);
        while self.waiting.load(Ordering::Acquire) > 0 {
            let Some(slot) = self.try_open() else { break };
            slot.pass_on();
        }
        if self.is_starved() {
            self.allowance.queue(self);
        }
    }

    /// How many backends more are open than may be, in this pool or in all of them, since a limit was lowered.
    #[must_use]
    pub fn excess(&self) -> usize {
        self.open().saturating_sub(self.limit()).max(self.allowance.excess())
    }

    /// Whether more backends are open than may be, since a limit was lowered.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.excess() > 0
    }

    /// The right to open a backend, if the limit allows one more.
    #[must_use]
    pub fn try_open(self: &Arc<Self>) -> Option<Slot<T>> {
        let more = |open: usize| (open < self.limit()).then_some(open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        if !self.allowance.take() {
            self.open.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Slot { ledger: Arc::clone(self), counted: Counted::Yes })
    }

    /// Puts a waiter into the queue, unless a slot is free by now.
    ///
    /// # Errors
    /// [`Exhausted`] when the ticket is queued; otherwise the slot is returned and the ticket dropped.
    pub fn wait(self: &Arc<Self>, ticket: T) -> Result<Slot<T>, Exhausted> {
        let mut waiters = self.queue();
        if let Some(slot) = self.try_open() {
            return Ok(slot);
        }
        waiters.push_back(Waiter { ticket, passed_over: 0 });
        self.waiting.store(waiters.len(), Ordering::Release);
        drop(waiters);
        if self.is_starved() {
            self.allowance.queue(self);
        }
        Err(Exhausted)
    }

    /// Whether someone waits although the pool may have more backends: other pools have them.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        self.waiting() > 0 && self.open() < self.limit()
    }

    /// Whether a backend that is at hand is to be closed, because another pool is due to have one, or nobody is.
    #[must_use]
    pub fn yields(&self) -> bool {
        self.allowance.is_due(self.waiting())
    }

    /// Opens a backend for whoever waits, if that is possible now.
    pub(crate) fn open_for_waiter(self: &Arc<Self>) {
        if let Some(slot) = self.try_open() {
            slot.pass_on();
        }
    }

    /// One backend less, and nobody of this pool gets its place before the others.
    fn give_up(self: &Arc<Self>) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        self.allowance.give();
        if self.is_starved() {
            self.allowance.queue(self);
        }
    }

    /// Offers an idle backend that is at hand on worker `home` to whoever waits.
    ///
    /// # Errors
    /// The backend, when nobody waits.
    pub fn offer(&self, backend: T::Backend, home: usize) -> Result<(), T::Backend> {
        let mut backend = backend;
        while self.waiting.load(Ordering::Acquire) > 0 {
            let Some(ticket) = self.next_waiter(Some(home)) else { break };
            match ticket.hand_over(Grant::Backend(backend)) {
                Ok(()) => return Ok(()),
                Err(Grant::Backend(returned)) => backend = returned,
                Err(Grant::Slot(_)) => return Ok(()),
            }
        }
        Err(backend)
    }

    /// The next in the queue; one of the same worker may go first, but not for ever.
    fn next_waiter(&self, home: Option<usize>) -> Option<T> {
        let mut waiters = self.queue();
        let impatient = waiters.front().is_some_and(|first| first.passed_over >= PATIENCE);
        let near = home.filter(|_| !impatient).and_then(|home| {
            waiters.iter().take(usize::from(PATIENCE) * 2).position(|waiter| waiter.ticket.home() == home)
        });
        let chosen = waiters.remove(near.unwrap_or(0));
        if let (Some(1..), Some(first)) = (near, waiters.front_mut()) {
            first.passed_over += 1;
        }
        self.waiting.store(waiters.len(), Ordering::Release);
        chosen.map(|waiter| waiter.ticket)
    }

    /// Counts one less if there are too many, instead of passing the right to open on.
    fn give_up_excess(&self) -> bool {
        let fewer = |open: usize| (open > self.limit()).then(|| open - 1);
        let given_up = self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer).is_ok();
        if given_up {
            self.allowance.give();
        }
        given_up
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Waiter<T>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Ticket> Slot<T> {
    /// Hands the right to whoever waits in this pool; with nobody there, it is given back.
    fn pass_on(mut self) {
        self.counted = Counted::PassedOn;
        loop {
            let Some(ticket) = self.ledger.next_waiter(None) else { break };
            let slot = Slot { ledger: Arc::clone(&self.ledger), counted: Counted::Yes };
            match ticket.hand_over(Grant::Slot(slot)) {
                Ok(()) => return,
                Err(Grant::Slot(mut refused)) => refused.counted = Counted::PassedOn,
                Err(Grant::Backend(_)) => return,
            }
        }
        // Under the lock, so that nobody queues up between the look at the queue and the count.
        let waiters = self.ledger.queue();
        if waiters.is_empty() {
            self.ledger.open.fetch_sub(1, Ordering::AcqRel);
            drop(waiters);
            return self.ledger.allowance.give();
        }
        drop(waiters);
        Slot { ledger: Arc::clone(&self.ledger), counted: Counted::Yes }.pass_on();
    }
}

impl<T: Ticket> Drop for Slot<T> {
    fn drop(&mut self) {
        if std::mem::replace(&mut self.counted, Counted::PassedOn) == Counted::PassedOn {
            return;
        }
        if self.ledger.give_up_excess() {
            return;
        }
        if self.ledger.yields() {
            return self.ledger.give_up();
        }
        Slot { ledger: Arc::clone(&self.ledger), counted: Counted::Yes }.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    #[derive(Debug)]
    struct Caller(usize, Sender<&'static str>);

    impl Ticket for Caller {
        type Backend = &'static str;

        fn home(&self) -> usize {
            self.0
        }

        fn hand_over(self, grant: Grant<Self>) -> Result<(), Grant<Self>> {
            let word = match &grant {
                Grant::Backend(name) => name,
                Grant::Slot(_) => "slot",
            };
            match self.1.send(word) {
                Ok(()) => {
                    std::mem::forget(grant);
                    Ok(())
                }
                Err(_) => Err(grant),
            }
        }
    }

    fn pool(limit: usize) -> Arc<Ledger<Caller>> {
        sharing(limit, &Arc::new(Allowance::new(usize::MAX)))
    }

    fn sharing(limit: usize, allowance: &Arc<Allowance<Caller>>) -> Arc<Ledger<Caller>> {
        Arc::new(Ledger::new(limit, Arc::clone(allowance)))
    }

    fn wait(ledger: &Arc<Ledger<Caller>>, home: usize) -> Receiver<&'static str> {
        let (sender, receiver) = channel();
        assert_eq!(ledger.wait(Caller(home, sender)).map(drop), Err(Exhausted));
        receiver
    }

    #[test]
    fn never_more_than_the_limit_are_open() {
        let ledger = pool(2);
        let (first, second) = (ledger.try_open(), ledger.try_open());
        assert!(first.is_some() && second.is_some() && ledger.try_open().is_none());
        drop(first);
        assert!(ledger.try_open().is_some());
    }

    #[test]
    fn a_closed_backend_makes_room_for_the_one_who_waits_longest() {
        let ledger = pool(1);
        let slot = ledger.try_open();
        let (gone, patient) = (wait(&ledger, 0), wait(&ledger, 0));
        drop(gone);
        drop(slot);
        assert_eq!(patient.try_recv(), Ok("slot"));
        assert_eq!((ledger.open(), ledger.waiting()), (1, 0));
    }

    #[test]
    fn a_neighbour_may_go_first_but_not_for_ever() {
        let ledger = pool(1);
        let _slot = ledger.try_open();
        let far = wait(&ledger, 1);
        let near: Vec<_> = (0..6).map(|_| wait(&ledger, 0)).collect();
        for _ in 0..5 {
            assert_eq!(ledger.offer("backend", 0), Ok(()));
        }
        assert_eq!(near.iter().filter(|one| one.try_recv().is_ok()).count(), 4);
        assert_eq!(far.try_recv(), Ok("backend"));
    }

    #[test]
    fn those_in_the_queue_are_shown_in_their_order() {
        let ledger = pool(1);
        let _slot = ledger.try_open();
        let _waiting = [wait(&ledger, 3), wait(&ledger, 1), wait(&ledger, 2)];
        let mut homes = Vec::new();
        ledger.waiters(|caller| homes.push(caller.0));
        assert_eq!(homes, [3, 1, 2]);
    }

    #[test]
    fn a_higher_limit_serves_those_who_wait() {
        let ledger = pool(1);
        let _slot = ledger.try_open();
        let (first, second) = (wait(&ledger, 0), wait(&ledger, 0));
        ledger.resize(2);
        assert_eq!((first.try_recv(), second.try_recv().is_err()), (Ok("slot"), true));
        assert_eq!((ledger.open(), ledger.waiting()), (2, 1));
    }

    #[test]
    fn with_a_lower_limit_closed_backends_are_not_replaced_until_few_enough_are_open() {
        let ledger = pool(2);
        let (first, second) = (ledger.try_open(), ledger.try_open());
        ledger.resize(1);
        let waiter = wait(&ledger, 0);
        assert!(ledger.is_over());
        drop(first);
        assert!(waiter.try_recv().is_err() && !ledger.is_over());
        drop(second);
        assert_eq!((waiter.try_recv(), ledger.open()), (Ok("slot"), 1));
    }

    #[test]
    fn a_backend_stays_when_nobody_waits() {
        let ledger = pool(1);
        assert_eq!(ledger.offer("backend", 0), Err("backend"));
    }

    #[test]
    fn pools_that_share_an_allowance_get_what_another_gives_up() {
        let allowance = Arc::new(Allowance::new(2));
        let (one, other) = (sharing(9, &allowance), sharing(9, &allowance));
        let (first, second) = (one.try_open(), one.try_open());
        assert!(first.is_some() && second.is_some() && one.try_open().is_none());
        let waits = wait(&other, 0);
        assert!(other.is_starved() && one.yields(), "nobody of its own waits there");
        drop(first);
        assert_eq!(waits.try_recv(), Ok("slot"));
        assert_eq!((one.open(), other.open(), allowance.open()), (1, 1, 2));
        assert!(!one.yields());
    }

    #[test]
    fn a_pool_with_waiters_of_its_own_gives_its_share_up_in_turn() {
        let allowance = Arc::new(Allowance::new(1));
        let (one, other) = (sharing(9, &allowance), sharing(9, &allowance));
        let slot = one.try_open();
        let mine: Vec<_> = (0..6).map(|_| wait(&one, 0)).collect();
        let others: Vec<_> = (0..6).map(|_| wait(&other, 0)).collect();
        drop(slot);
        let served = |all: &[Receiver<&str>]| all.iter().filter(|one| one.try_recv().is_ok()).count();
        let mut order = String::new();
        for _ in 0..13 {
            order.extend(std::iter::repeat_n('m', served(&mine)));
            order.extend(std::iter::repeat_n('o', served(&others)));
            // The callers forget their slots: whoever has the place gives it up by hand.
            let holder = [&one, &other].into_iter().find(|pool| pool.open() > 0);
            if let Some(pool) = holder {
                drop(Slot { ledger: Arc::clone(pool), counted: Counted::Yes });
            }
        }
        assert_eq!(order.len(), 12, "everybody was served: {order}");
        assert!(order.find('o') < order.rfind('m') && order.find('m') < order.rfind('o'), "{order}");
        assert_eq!((one.open(), other.open(), allowance.open()), (0, 0, 0), "nobody is left");
    }

    #[test]
    fn a_higher_limit_of_one_pool_gives_nobody_more_than_all_may_have() {
        let allowance = Arc::new(Allowance::new(2));
        let (one, other) = (sharing(1, &allowance), sharing(9, &allowance));
        let (_mine, others) = (one.try_open(), other.try_open());
        let waits = wait(&one, 0);
        one.resize(2);
        assert!(waits.try_recv().is_err() && one.is_starved() && other.yields());
        drop(others);
        assert_eq!((waits.try_recv(), one.open(), other.open()), (Ok("slot"), 2, 0));
    }

    #[test]
    fn a_higher_allowance_serves_those_who_wait_in_any_pool() {
        let allowance = Arc::new(Allowance::new(1));
        let (one, other) = (sharing(9, &allowance), sharing(9, &allowance));
        let _slot = one.try_open();
        let (mine, others) = (wait(&one, 0), wait(&other, 0));
        allowance.resize(3);
        assert_eq!((mine.try_recv(), others.try_recv()), (Ok("slot"), Ok("slot")));
        assert_eq!((one.open(), other.open(), allowance.open()), (2, 1, 3));
        assert!(!one.yields() && !allowance.is_wanted());
    }

    #[test]
    fn with_a_lower_allowance_closed_backends_are_not_replaced_until_few_enough_are_open() {
        let allowance = Arc::new(Allowance::new(3));
        let (one, other) = (sharing(9, &allowance), sharing(9, &allowance));
        let (first, second, third) = (one.try_open(), one.try_open(), other.try_open());
        allowance.resize(1);
        assert_eq!((one.excess(), other.excess()), (2, 2));
        let waits = wait(&one, 0);
        drop(first);
        drop(third);
        assert!(waits.try_recv().is_err() && !one.is_over());
        drop(second);
        assert_eq!((waits.try_recv(), one.open(), allowance.open()), (Ok("slot"), 1, 1));
    }

    #[test]
    fn what_a_smaller_pool_gives_up_is_there_for_others() {
        let allowance = Arc::new(Allowance::new(2));
        let (one, other) = (sharing(2, &allowance), sharing(9, &allowance));
        let (first, _second) = (one.try_open(), one.try_open());
        let waits = wait(&other, 0);
        one.resize(1);
        drop(first);
        assert_eq!((waits.try_recv(), one.open(), other.open(), allowance.open()), (Ok("slot"), 1, 1, 2));
    }
}
