//! A service's session, as the relay has it: watched, and ended when the service ends.

use super::lane::{Lane, Place, ended};
use super::{Books, Open};
use crate::clock;
use pgwarden_account::{Observation, Witness};
use pgwarden_session::{Interner, Refusal, Segments};
use std::fmt;
use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;

/// How long at most nobody looks at the clock: it may be set.
const LOOK: Duration = Duration::from_secs(60);

/// What a session of a service has besides that of any client. Dropping it ends the account.
pub(crate) struct ServiceSession {
    lane: Arc<Lane>,
    _place: Place,
    open: Arc<Open>,
    books: Arc<Books>,
    witness: Witness,
    interner: Arc<Interner>,
    definitions: Definitions,
    /// Ends when the service does; `None` once it has.
    end: Option<End>,
}

type End = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Whether a command was run in this transaction that may have changed definitions without its tag saying so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Definitions {
    Kept,
    InDoubt,
}

impl ServiceSession {
    pub(super) fn new(
        lane: Arc<Lane>,
        place: Place,
        open: Arc<Open>,
        books: Arc<Books>,
        interner: Arc<Interner>,
    ) -> Self {
        let end: End = Box::pin(end_of(lane.until()));
        let (witness, definitions) = (Witness::default(), Definitions::Kept);
        Self { lane, _place: place, open, books, witness, interner, definitions, end: Some(end) }
    }

    /// Whether the session has to end as soon as it is in no transaction; wakes the task when that changes.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Refusal> {
        if let Some(end) = &mut self.end {
            if end.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.end = None;
        }
        Poll::Ready(ended(self.lane.name()))
    }

    /// The client has sent this, and it was dealt with.
    pub(crate) fn client_sent(&mut self, bytes: &[u8]) {
        let (open, books, counts) = (&self.open, &self.books, self.lane.counts());
        self.witness.client_sent(bytes, &mut |observation| {
            note(counts, &observation);
            books.note(open, observation);
        });
    }

    /// The client is about to be told this; `input` is the input of the step.
    pub(crate) fn client_reads(&mut self, out: &Segments, input: &[u8]) {
        if out.is_empty() {
            return;
        }
        let mut slices: Vec<IoSlice<'_>> = Vec::new();
        out.slices(input, &mut slices);
        let (open, books, counts) = (&self.open, &self.books, self.lane.counts());
        let (interner, definitions) = (&self.interner, &mut self.definitions);
        for slice in slices {
            self.witness.client_reads(&slice, &mut |observation| {
                follow(&observation, definitions, interner);
                note(counts, &observation);
                books.note(open, observation);
            });
        }
    }
}

impl Drop for ServiceSession {
    fn drop(&mut self) {
        self.books.end(&self.open);
    }
}

impl fmt::Debug for ServiceSession {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ServiceSession").field("lane", &self.lane).finish_non_exhaustive()
    }
}

/// Blocks and procedures of a migration may change tables; what tenants have prepared is prepared anew behind them, as
/// behind DDL of its own.
fn follow(observation: &Observation, definitions: &mut Definitions, interner: &Interner) {
    match observation {
        Observation::Command(command) if matches!(command.as_str(), "DO" | "CALL") => {
            *definitions = Definitions::InDoubt;
        }
        Observation::Transaction if *definitions == Definitions::InDoubt => {
            *definitions = Definitions::Kept;
            interner.definitions_changed();
        }
        _ => (),
    }
}

fn note(counts: &crate::meters::ServiceCounts, observation: &Observation) {
    let counter = match observation {
        Observation::Command(_) => &counts.statements,
        Observation::Error => &counts.errors,
        Observation::Transaction => &counts.transactions,
        Observation::Text(_) | Observation::Unread => return,
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Ends when the time has come, which a reload may change.
async fn end_of(mut until: watch::Receiver<u64>) {
    loop {
        let end = *until.borrow_and_update();
        let left = Duration::from_secs(end.saturating_sub(clock::now()));
        if left.is_zero() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(LOOK)) => (),
            // The lane stays as long as the session has it.
            _ = until.changed() => (),
        }
    }
}
