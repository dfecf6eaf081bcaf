//! One connection to the server, with its right to be open.

use crate::cancel::BackendKey;
use crate::meters::GaugeGuard;
use crate::pool::plan::Target;
use crate::stream::Stream;
use pgwarden_pool::{Grant, Slot, Ticket};
use pgwarden_session::Backend;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// A connection to the server.
#[derive(Debug)]
pub(crate) struct Link {
    /// The connection.
    pub(crate) stream: Stream,
    /// Its protocol state, while no session holds it.
    pub(crate) state: Option<Box<Backend>>,
    /// What cancels it.
    pub(crate) key: Arc<BackendKey>,
    /// The worker whose reactor knows the socket.
    pub(crate) home: usize,
    /// When it was opened, in seconds of the uptime.
    pub(crate) opened: u64,
    /// Where it is connected to, and as whom.
    pub(crate) target: Arc<Target>,
    /// The right to be open.
    pub(crate) slot: Slot<Caller>,
    /// Counts it.
    pub(crate) guard: GaugeGuard,
}

impl Link {
    /// Closes the connection and keeps the right to open another.
    pub(crate) fn into_slot(self) -> Slot<Caller> {
        self.slot
    }
}

/// A session that waits for a backend.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The worker it runs on.
    pub(crate) home: usize,
    /// When it began to wait.
    pub(crate) since: Instant,
    /// Where the grant goes.
    pub(crate) sender: oneshot::Sender<Grant<Caller>>,
}

impl Ticket for Caller {
    type Backend = Link;

    fn home(&self) -> usize {
        self.home
    }

    fn hand_over(self, grant: Grant<Self>) -> Result<(), Grant<Self>> {
        self.sender.send(grant)
    }
}
