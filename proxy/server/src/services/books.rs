//! The books: one thread that finds out which tables texts name, and writes down accounts as they begin, go on and end.
//!
//! It has a deep stack and a queue of its own, so that no tenant waits for what a service does. Texts that find no place in
//! the queue count as unread; the begin and the end of a session always find one.

use crate::clock;
use pgwarden_account::{Account, Observation, Party};
use pgwarden_sql::relation_uses;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of stack for deeply nested statements.
const STACK: usize = 64 * 1024 * 1024;
/// Texts that may wait.
const BACKLOG: usize = 1_024;

/// At which point of a session its account is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has begun.
    Begun,
    /// It lasts.
    GoesOn,
    /// It has ended.
    Ended,
}

/// Where accounts are written.
pub(crate) trait Sink: Send {
    /// Writes down what a session did up to now.
    fn record(&mut self, stage: Stage, number: u64, account: &Account);
}

/// An account that is being kept.
#[derive(Debug)]
pub(crate) struct Open {
    /// The session's number, counted from the start of pgwarden.
    pub(crate) number: u64,
    account: Mutex<Account>,
}

impl Open {
    /// Works with the account.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Account) -> R) -> R {
        work(&mut self.account.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The way to the thread that keeps them.
pub(crate) struct Books {
    entries: Sender<Entry>,
    /// Texts that wait.
    waiting: Arc<AtomicUsize>,
    last: AtomicU64,
    open: Arc<Mutex<BTreeMap<u64, Arc<Open>>>>,
}

enum Entry {
    Begun(Arc<Open>),
    Text(Arc<[u8]>, Arc<Open>),
    Ended(Arc<Open>),
    Close(SyncSender<()>),
}

impl Books {
    /// Starts the thread; accounts that go on are written down every `interval`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(interval: Duration, sink: Box<dyn Sink>) -> io::Result<Self> {
        let (entries, received) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let open = Arc::default();
        let keeper = Keeper { sink, interval, waiting: Arc::clone(&waiting), due: BTreeMap::new() };
        std::thread::Builder::new()
            .name("pgwarden-books".into())
            .stack_size(STACK)
            .spawn(move || keeper.keep(&received))?;
        Ok(Self { entries, waiting, last: AtomicU64::new(0), open })
    }

    /// A session begins.
    pub(crate) fn begin(&self, party: Party) -> Arc<Open> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let open = Arc::new(Open { number, account: Mutex::new(Account::new(party)) });
        self.all().insert(number, Arc::clone(&open));
        self.send(Entry::Begun(Arc::clone(&open)));
        open
    }

    /// Adds what was seen of a session.
    pub(crate) fn note(&self, open: &Arc<Open>, observation: Observation) {
        let observation = match observation {
            Observation::Text(text) if self.waiting.load(Ordering::Acquire) < BACKLOG => {
                self.waiting.fetch_add(1, Ordering::AcqRel);
                self.send(Entry::Text(text, Arc::clone(open)));
                return;
            }
            Observation::Text(_) => Observation::Unread,
            other => other,
        };
        open.with(|account| account.observed(observation));
    }

    /// A session has ended.
    pub(crate) fn end(&self, open: &Arc<Open>) {
        open.with(|account| account.ended = Some(clock::now()));
        self.all().remove(&open.number);
        self.send(Entry::Ended(Arc::clone(open)));
    }

    /// The accounts of all sessions that last.
    pub(crate) fn open(&self) -> Vec<Arc<Open>> {
        self.all().values().cloned().collect()
    }

    /// Waits until everything that is in the queue is written down, at most for `patience`.
    pub(crate) fn close(&self, patience: Duration) {
        let (done, closed) = sync_channel(1);
        self.send(Entry::Close(done));
        let _late = closed.recv_timeout(patience);
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Open>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, entry: Entry) {
        // The thread ends with the process.
        let _gone = self.entries.send(entry);
    }
}

impl fmt::Debug for Books {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Books").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

/// Who keeps them.
struct Keeper {
    sink: Box<dyn Sink>,
    interval: Duration,
    waiting: Arc<AtomicUsize>,
    /// The sessions that last, and when their accounts are due next.
    due: BTreeMap<u64, (Instant, Arc<Open>)>,
}

impl Keeper {
    fn keep(mut self, entries: &Receiver<Entry>) {
        loop {
            let next = self.due.values().map(|(due, _)| *due).min();
            let patience = next.map_or(self.interval, |due| due.saturating_duration_since(Instant::now()));
            match entries.recv_timeout(patience) {
                Ok(entry) => self.take(entry),
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.write_what_is_due();
        }
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Begun(open) => {
                self.write(Stage::Begun, &open);
                self.due.insert(open.number, (Instant::now() + self.interval, open));
            }
            Entry::Text(text, open) => {
                self.waiting.fetch_sub(1, Ordering::AcqRel);
                let uses = std::str::from_utf8(&text).ok().and_then(|text| relation_uses(text).ok());
                open.with(|account| account.named(uses.as_ref()));
            }
            Entry::Ended(open) => {
                self.due.remove(&open.number);
                self.write(Stage::Ended, &open);
            }
            Entry::Close(done) => drop(done.try_send(())),
        }
    }

    fn write_what_is_due(&mut self) {
        let now = Instant::now();
        let due: Vec<Arc<Open>> =
            self.due.values().filter(|(due, _)| *due <= now).map(|(_, open)| Arc::clone(open)).collect();
        for open in due {
            self.write(Stage::GoesOn, &open);
            self.due.insert(open.number, (now + self.interval, open));
        }
    }

    fn write(&mut self, stage: Stage, open: &Open) {
        // A copy: the session does not wait until it is written.
        let account = open.with(|account| account.clone());
        self.sink.record(stage, open.number, &account);
    }
}

#[cfg(test)]
mod tests;
