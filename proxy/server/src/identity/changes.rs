//! Who hears of changes: one connection that listens, and every memory that was filled from there.

use crate::clock;
use crate::identity::change::Change;
use crate::identity::memory::{Hearing, Memory};
use crate::lookup::{Listener, LookupError};
use crate::meters::{ChangeKind, Meters};
use crate::upstream::{Credentials, Server};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long to wait before the connection is opened again, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Where changes are heard of.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) server: Arc<Server>,
    pub(super) login: Credentials,
    pub(super) database: String,
    pub(super) name: String,
    /// How long opening the connection may take.
    pub(super) patience: Duration,
    /// How long the server may say nothing before it is asked for a sign of life.
    pub(super) beat: Duration,
}

/// Tells memories of changes. Ends when dropped.
#[derive(Debug)]
pub(super) struct Changes {
    subscribers: Arc<Subscribers>,
    task: Mutex<Option<JoinHandle<Infallible>>>,
}

/// Those who are told; memories outlive a reload as long as a session has them.
#[derive(Debug)]
struct Subscribers(Mutex<(Hearing, Vec<Weak<Memory>>)>);

impl Changes {
    /// Nothing is heard yet.
    pub(super) fn new() -> Self {
        let subscribers = Subscribers(Mutex::new((Hearing::Deaf, Vec::new())));
        Self { subscribers: Arc::new(subscribers), task: Mutex::default() }
    }

    /// Tells this memory, too, from now on.
    pub(super) fn tell(&self, memory: &Arc<Memory>) {
        let mut subscribers = self.subscribers.lock();
        if subscribers.0 == Hearing::Hears {
            memory.hears();
        }
        subscribers.1.push(Arc::downgrade(memory));
    }

    /// Begins to listen, unless it does already. Must be called inside a runtime.
    pub(super) fn listen(&self, channel: impl FnOnce() -> Channel, meters: &Arc<Meters>) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.is_none() {
            let (subscribers, meters) = (Arc::clone(&self.subscribers), Arc::clone(meters));
            let channel = channel();
            *task = Some(tokio::spawn(async move { subscribers.listen(&channel, &meters).await }));
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

impl Subscribers {
    /// Listens, and when the connection is lost, again.
    async fn listen(&self, channel: &Channel, meters: &Meters) -> Infallible {
        let (mut pause, mut failures) = (PAUSES.0, 0_u32);
        loop {
            match channel.open().await {
                Ok(listener) => {
                    self.each(Hearing::Hears, |memory| memory.hears());
                    let _listening = meters.identities.listening();
                    tracing::info!("changes of identities are heard of");
                    let error = self.hear(listener, channel.beat, meters).await;
                    self.each(Hearing::Deaf, |memory| memory.is_deaf(clock::now()));
                    tracing::warn!(%error, "changes of identities are not heard of, look-ups hold for a shorter time");
                    (pause, failures) = (PAUSES.0, 1);
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(%error, "changes of identities cannot be heard of yet");
                    } else {
                        tracing::debug!(%error, failures, "changes of identities still cannot be heard of");
                    }
                    failures = failures.saturating_add(1);
                }
            }
            tokio::time::sleep(pause).await;
            pause = PAUSES.1.min(pause * 2);
        }
    }

    /// Passes on what is heard, until the connection is lost.
    async fn hear(&self, mut listener: Listener, beat: Duration, meters: &Meters) -> LookupError {
        loop {
            match listener.hear(beat).await {
                Ok(payload) => {
                    let change = Change::read(&payload);
                    self.each(Hearing::Hears, |memory| memory.forget(change));
                    meters.identities.changed(kind(change));
                }
                Err(error) => return error,
            }
        }
    }

    fn each(&self, hearing: Hearing, tell: impl Fn(&Memory)) {
        let mut subscribers = self.lock();
        subscribers.0 = hearing;
        subscribers.1.retain(|memory| match memory.upgrade() {
            Some(memory) => {
                tell(&memory);
                true
            }
            None => false,
        });
    }

    fn lock(&self) -> MutexGuard<'_, (Hearing, Vec<Weak<Memory>>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel {
    async fn open(&self) -> Result<Listener, LookupError> {
        let opening = Listener::open(&self.server, &self.login, &self.database, &self.name);
        let opened = tokio::time::timeout(self.patience, opening).await;
        opened.unwrap_or(Err(LookupError::TimedOut(self.patience)))
    }
}

fn kind(change: Change<'_>) -> ChangeKind {
    match change {
        Change::User(_) => ChangeKind::User,
        Change::Tenant(_) => ChangeKind::Tenant,
        Change::Token(_) => ChangeKind::Token,
        Change::Everything => ChangeKind::Everything,
    }
}
