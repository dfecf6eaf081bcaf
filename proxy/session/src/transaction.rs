//! The client's transaction, as far as it can be told before the server's replies are in.
//!
//! ```text
//!             BEGIN               context injected
//!   Absent ───────────► Absent ───────────────────► Bound
//!     ▲                                               │
//!     └── end of the transaction, ROLLBACK TO, a context variable set, a batch behind unsettled replies
//! ```
//! Whether the context is there is never guessed optimistically: where replies are outstanding it is injected again,
//! which is idempotent.

use crate::tenancy::{Moment, Place};
use pgwarden_sql::{Statement, Verb};
use pgwarden_wire::Status;

/// Proof that a message may go to the backend: its context is in place, or it needs none.
///
/// Only [`Transaction`] makes one, so no code path can release a message that needs context without it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Released(());

/// Whether the current transaction has its context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    Absent,
    /// It was there in this transaction, and may be gone: what the commit runs needs it again.
    Lost,
    Bound,
    /// Set for the session, around one message that cannot run in a block.
    Session,
}

/// How much of the open extended batch has been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Batch {
    /// Nothing since the last Sync or simple query.
    Fresh,
    /// Parse, Describe or Close.
    Prepared,
    /// Bind or Execute: the server may have started work.
    Started,
}

/// The transaction of one client.
#[derive(Debug)]
pub(crate) struct Transaction {
    status: Status,
    context: Context,
    batch: Batch,
    number: u64,
    place: Place,
}

impl Default for Transaction {
    fn default() -> Self {
        let place = Place { transaction: 0, moment: Moment::Open };
        Self { status: Status::Idle, context: Context::Absent, batch: Batch::Fresh, number: 0, place }
    }
}

impl Transaction {
    /// The status, last reported or following from what was sent since.
    pub(crate) fn status(&self) -> Status {
        self.status
    }

    /// How far the open batch is.
    pub(crate) fn batch(&self) -> Batch {
        self.batch
    }

    /// Which transaction this is, and how far.
    pub(crate) fn place(&self) -> Place {
        let begins = self.place.moment == Moment::Open && self.status == Status::Idle;
        if begins { Place { moment: Moment::Begins, ..self.place } } else { self.place }
    }

    /// The number of the open batch; distinguishes it from earlier ones.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether the context is in place: the proof that a message which needs it may go.
    pub(crate) fn bound(&self) -> Option<Released> {
        matches!(self.context, Context::Bound | Context::Session).then_some(Released(()))
    }

    /// A failed block runs nothing but its end: the server refuses the message itself (25P02).
    pub(crate) fn failed(&self) -> Option<Released> {
        (self.status == Status::Failed).then_some(Released(()))
    }

    /// The message needs no context.
    pub(crate) fn exempt(&self) -> Released {
        Released(())
    }

    /// The context was queued in front of the message, in the same transaction on the same backend.
    pub(crate) fn injected(&mut self) -> Released {
        self.place.moment = Moment::Bound;
        self.context = Context::Bound;
        Released(())
    }

    /// The context was set for the session, and acknowledged.
    pub(crate) fn session_scope(&mut self) -> Released {
        self.place.moment = Moment::Bound;
        self.context = Context::Session;
        Released(())
    }

    /// A message that belongs to the batch was sent.
    pub(crate) fn sent(&mut self, reached: Batch) {
        self.batch = self.batch.max(reached);
    }

    /// A batch begins while replies of earlier ones are outstanding: nothing is known for certain.
    pub(crate) fn doubt(&mut self) {
        if self.context == Context::Bound {
            self.context = Context::Absent;
        }
    }

    /// A statement was sent that may change the transaction or the context.
    pub(crate) fn statement_sent(&mut self, statement: &Statement) {
        self.status = match (statement.verb, self.status) {
            (Verb::Begin, Status::Idle) => Status::InBlock,
            (
                Verb::Commit { chain: false } | Verb::Rollback { chain: false } | Verb::PrepareTransaction,
                _,
            ) => Status::Idle,
            // ROLLBACK TO and AND CHAIN mend a failed block; whatever else is sent there, it must not be taken for
            // failed any more until the server says so.
            (verb, Status::Failed) if verb.controls_transaction() => Status::InBlock,
            (_, status) => status,
        };
        if loses_context(statement) && self.context == Context::Bound {
            self.context = if self.status == Status::Idle { Context::Absent } else { Context::Lost };
        }
        if self.status == Status::Idle && self.context == Context::Lost {
            self.context = Context::Absent;
        }
        if ends_transaction(statement) {
            self.ended();
        }
    }

    /// A query was refused that would have been a transaction of its own.
    pub(crate) fn refused(&mut self) {
        self.ended();
    }

    /// What follows is another transaction.
    fn ended(&mut self) {
        self.place = Place { transaction: self.place.transaction + 1, moment: Moment::Open };
    }

    /// Whether the statement reads what the transaction left behind while its context was there, and it is gone:
    /// deferred triggers and constraints.
    pub(crate) fn depends(&self, statement: &Statement) -> bool {
        self.context == Context::Lost && runs_deferred(statement)
    }

    /// The server discarded the Sync (copy-in mode): the batch goes on.
    pub(crate) fn reopen(&mut self) {
        self.batch = Batch::Started;
    }

    /// Sync was sent, or a simple query: the batch is over.
    pub(crate) fn batch_sent(&mut self) {
        self.batch = Batch::Fresh;
        self.number += 1;
        if self.status == Status::Idle || self.context == Context::Session {
            self.context = Context::Absent;
        }
        if self.status == Status::Idle {
            self.ended();
        }
    }

    /// ReadyForQuery was read and nothing is outstanding: the server's word counts.
    pub(crate) fn settled(&mut self, status: Status) {
        if status == Status::Idle && self.status != Status::Idle {
            self.ended();
        }
        self.status = status;
        if status == Status::Failed {
            self.doubt();
        } else if status == Status::Idle && self.context != Context::Session {
            self.context = Context::Absent;
        }
    }
}

/// Whether the statement runs deferred triggers or constraints (`AfterTriggerFireDeferred`, `trigger.c`).
pub(crate) fn runs_deferred(statement: &Statement) -> bool {
    matches!(statement.verb, Verb::Commit { .. } | Verb::PrepareTransaction | Verb::SetConstraints)
}

/// Whether nothing of the transaction is left after the statement.
pub(crate) fn ends_transaction(statement: &Statement) -> bool {
    matches!(statement.verb, Verb::Commit { .. } | Verb::Rollback { .. } | Verb::PrepareTransaction)
}

/// Whether the context may be gone after the statement: see "Loss" in the documentation of the injection.
pub(crate) fn loses_context(statement: &Statement) -> bool {
    matches!(
        statement.verb,
        Verb::Commit { .. }
            | Verb::Rollback { .. }
            | Verb::RollbackTo
            | Verb::PrepareTransaction
            | Verb::Set
            | Verb::SetConfig
            | Verb::Reset
            | Verb::ResetAll
            | Verb::DiscardAll
            | Verb::Call
            | Verb::Do
    )
}
