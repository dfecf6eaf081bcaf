//! CancelRequest: pgwarden's own keys, forwarded only while that client holds that backend.

use crate::meters::CancelOutcome;
use crate::takeover::Cancels;
use crate::upstream::Server;
use dashmap::DashMap;
use pgwarden_session::{Fault, Faults};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::Notify;

/// What a backend takes as proof that a cancel is meant for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackendKey {
    /// The server process.
    pub(crate) pid: u32,
    /// Its secret.
    pub(crate) secret: Vec<u8>,
}

/// What a client was given in BackendKeyData.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClientKey {
    /// The process id it sees.
    pub(crate) pid: u32,
    /// The secret it sees.
    pub(crate) secret: Vec<u8>,
}

/// What a client runs at the moment, as far as a cancel is concerned.
#[derive(Debug, Default)]
pub(crate) struct Target {
    faults: Faults,
    state: Mutex<State>,
    finished: Notify,
    cancelled: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: Option<(Arc<Server>, Arc<BackendKey>)>,
    in_flight: usize,
    waiting: bool,
}

impl Target {
    /// The client now holds a backend.
    pub(crate) fn hold(&self, server: &Arc<Server>, key: &Arc<BackendKey>) {
        self.state().held = Some((Arc::clone(server), Arc::clone(key)));
    }

    /// The client gives its backend back; `false` while a cancel is on its way to it, and the backend must wait.
    pub(crate) fn try_release(&self) -> bool {
        let mut state = self.state();
        if state.in_flight > 0 {
            return false;
        }
        if !self.faults.has(Fault::StrayCancel) {
            state.held = None;
        }
        true
    }

    /// Waits until no cancel is on its way any more. Cancel safe.
    pub(crate) async fn finished(&self) {
        loop {
            let finished = self.finished.notified();
            if self.state().in_flight == 0 {
                return;
            }
            finished.await;
        }
    }

    /// For the time that the client waits for a backend: ends when a cancel comes. Cancel safe.
    pub(crate) async fn cancelled(&self) {
        let mut cancelled = pin!(self.cancelled.notified());
        cancelled.as_mut().enable();
        self.state().waiting = true;
        let _waiting = Waiting(self);
        cancelled.await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that waits for a backend.
struct Waiting<'a>(&'a Target);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting = false;
    }
}

/// A cancel on its way: while it lives, the backend goes to nobody else.
struct InFlight<'a>(&'a Target);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
        self.0.finished.notify_waiters();
    }
}

/// The keys of all clients.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    clients: DashMap<ClientKey, Arc<Target>>,
    /// The process before this one, which may know what this one does not.
    elsewhere: OnceLock<Cancels>,
}

/// A client's entry; gone when dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Arc<Registry>,
    key: ClientKey,
    /// What the client runs.
    pub(crate) target: Arc<Target>,
}

impl Registration {
    /// What cancels the client's statement.
    pub(crate) fn key(&self) -> ClientKey {
        self.key.clone()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.clients.remove(&self.key);
    }
}

impl Registry {
    /// Registers a client under the key it is given.
    pub(crate) fn register(self: &Arc<Self>, key: ClientKey, faults: Faults) -> Registration {
        let target = Arc::new(Target { faults, ..Target::default() });
        self.clients.insert(key.clone(), Arc::clone(&target));
        Registration { registry: Arc::clone(self), key, target }
    }

    /// Keys that are not known may be those of the process before this one.
    pub(crate) fn ask_as_well(&self, predecessor: Cancels) {
        let _first = self.elsewhere.set(predecessor);
    }

    /// Forwards a cancel, if the client with that key runs something, and returns when the server has taken it. A
    /// client that still waits for a backend waits no longer.
    ///
    /// Cancel safe: the backend is released either way.
    pub(crate) async fn cancel(&self, key: &ClientKey) -> CancelOutcome {
        let Some(target) = self.clients.get(key).map(|entry| Arc::clone(&entry)) else {
            return match self.elsewhere.get() {
                Some(predecessor) => predecessor.cancel(key).await,
                None => CancelOutcome::Unknown,
            };
        };
        let (server, backend) = {
            let mut state = target.state();
            let Some((server, backend)) = state.held.clone() else {
                if !state.waiting {
                    return CancelOutcome::Idle;
                }
                target.cancelled.notify_waiters();
                return CancelOutcome::Waiting;
            };
            state.in_flight += 1;
            (server, backend)
        };
        let _in_flight = InFlight(&target);
        if let Err(error) = server.cancel(&backend).await {
            tracing::info!(%error, "cancel could not be delivered");
        }
        CancelOutcome::Forwarded
    }
}
