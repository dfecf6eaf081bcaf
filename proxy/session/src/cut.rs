//! A result that is cut off while the session goes on: the rest of it is read and dropped, and the client reads an error in
//! its place, in a transaction that has failed as if the server had raised it.
//!
//! That can be done only where nothing was sent behind the statement, and nothing was executed in front of it since the last
//! ReadyForQuery: the server has it all already, and would commit what PostgreSQL would have skipped or rolled back.

use crate::engine::{CopyIn, Delivery, Engine, Hold, SessionScope, Skipping};
use crate::output::Output;
use crate::oversight::Sight;
use crate::refusal::{Refusal, SessionError};
use crate::tenancy::Tenancy;
use crate::transaction::Batch;
use pgwarden_wire::{BackendTag, Status};

/// Whether a result is cut off, and could be.
#[derive(Debug, Default)]
pub(crate) struct Cutting {
    /// What the client reads in place of the rest.
    due: Option<Box<Refusal>>,
    /// Whether anything but BEGIN was executed since the last ReadyForQuery.
    has_run: bool,
}

impl<T: Tenancy> Engine<T> {
    /// The row that is there, and what follows of its result, must not reach the client.
    ///
    /// # Errors
    /// [`SessionError::Cut`] where the session cannot go on.
    pub(crate) fn cut(&mut self, refusal: Box<Refusal>) -> Result<Sight, SessionError> {
        if !self.is_alone() {
            return Err(SessionError::Cut(refusal));
        }
        self.activity.refused += 1;
        self.cutting.due = Some(refusal);
        // What the client sends next waits until the transaction has failed.
        self.hold = Hold::Settled;
        Ok(Sight::Goes)
    }

    fn is_alone(&self) -> bool {
        !self.cutting.has_run
            && self.queue.has_nothing_behind_front()
            && self.tx.batch() == Batch::Fresh
            && self.from_client.remaining == 0
            && self.skipping == Skipping::Nothing
            && self.scope == SessionScope::Closed
            && self.copy == CopyIn::Closed
    }

    /// A command of an extended batch was completed.
    pub(crate) fn note_completed(&mut self, tag: &[u8]) {
        self.cutting.has_run |= tag != b"BEGIN\0" && tag != b"START TRANSACTION\0";
    }

    /// What becomes of a message of the server, where it belongs to a result that is cut off.
    pub(crate) fn withhold(&mut self, tag: BackendTag, delivery: Delivery, out: &mut Output) -> Delivery {
        if tag == BackendTag::ReadyForQuery {
            self.cutting.has_run = false;
        }
        let Some(refusal) = self.cutting.due.take() else { return delivery };
        match (tag, self.reported) {
            // The client reads that one.
            (BackendTag::ErrorResponse, _) => delivery,
            (BackendTag::ReadyForQuery, Status::InBlock) => {
                self.fail_block(&refusal, out);
                Delivery::Swallow
            }
            (BackendTag::ReadyForQuery, _) => {
                out.refuse(&refusal);
                delivery
            }
            (BackendTag::DataRow | BackendTag::CommandComplete | BackendTag::PortalSuspended, _) => {
                self.cutting.due = Some(refusal);
                Delivery::Swallow
            }
            _ => {
                self.cutting.due = Some(refusal);
                delivery
            }
        }
    }
}
