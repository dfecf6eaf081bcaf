//! The seam between a session and whoever decides about tenants.

use crate::carrier::Carrier;
use crate::overseer::{Overseer, Sent, Ticket};
use crate::reading::Unread;
use crate::refusal::Refusal;
use pgwarden_sql::{Script, Statement};
use std::sync::Arc;

/// What a client wants to run.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// SQL.
    Text {
        /// The text as sent.
        text: &'a [u8],
        /// What it says, or why that cannot be told.
        script: Result<&'a Script, Unread>,
    },
    /// The values bound to a prepared statement.
    Values {
        /// The statement's text.
        text: &'a [u8],
        /// What it says.
        script: &'a Script,
        /// The values as they travel in Bind, with lengths between them.
        values: &'a [u8],
    },
    /// A function called by OID (FunctionCall).
    Function(u32),
}

/// A decision about a [`Subject`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// It may run; the session sees to its context.
    Allow,
    /// It may not run.
    Refuse(Box<Refusal>),
    /// Nobody has looked at this text yet: look at it elsewhere, tell the tenancy, and ask again.
    Ask,
}

/// How far a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It begins: nothing of it has been sent.
    Begins,
    /// Nothing has run with its context: it may still become another's.
    Open,
    /// Something has: it stays whose it is.
    Bound,
}

/// What ends a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The transaction is over.
    Transaction,
    /// RESET ALL or DISCARD ALL.
    Reset,
}

/// How long what a client shows is to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// Until the transaction ends.
    Transaction,
    /// Until the session ends, or something else is shown.
    Session,
}

/// How a client shows a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bearer {
    /// `SET pgwarden.token`.
    Set,
    /// `SELECT set_config('pgwarden.token', …, …)`.
    SetConfig,
    /// A comment of a statement.
    Comment,
}

/// What a client shows.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// The token; `None` takes back what was shown.
    pub token: Option<&'a [u8]>,
    /// For how long it is to count.
    pub term: Term,
    /// How it came.
    pub bearer: Bearer,
}

/// What a client says of whom it acts for, by setting a variable itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The variable.
    pub setting: String,
    /// Its value; `None` takes back what was said.
    pub value: Option<Vec<u8>>,
    /// For how long it is to count.
    pub term: Term,
}

impl<'a> Shown<'a> {
    /// A token in a comment: it counts for the transaction of its statement.
    pub(crate) fn comment(token: &'a [u8]) -> Self {
        Self { token: Some(token), term: Term::Transaction, bearer: Bearer::Comment }
    }
}

/// Where a subject stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The number of its transaction among all of the session.
    pub transaction: u64,
    /// How far that transaction is.
    pub moment: Moment,
}

/// Decides about one client's statements and knows its context.
pub trait Tenancy {
    /// The encoded context; `None` when the configuration names no variable at all.
    fn carrier(&self) -> Option<&Arc<Carrier>>;

    /// The role that transactions run as; `None` where no role is set.
    fn role(&self) -> Option<&str> {
        self.carrier()?.role.as_deref()
    }

    /// Decides about `subject` before a byte of it reaches the server. `now` is in seconds since 1970.
    fn rule(&mut self, subject: Subject<'_>, place: Place, now: u64) -> Ruling;

    /// The client shows a token, or takes back what it has shown. A tenancy that knows no tokens takes no notice.
    fn show(&mut self, _shown: Shown<'_>, _place: Place, _now: u64) -> Ruling {
        Ruling::Allow
    }

    /// Whether comments of statements may hold a token.
    fn reads_comments(&self) -> bool {
        false
    }

    /// Whether the client may say by this setting whom it acts for.
    fn hears(&self, _setting: &str) -> bool {
        false
    }

    /// The client says whom it acts for.
    fn claim(&mut self, _claims: &[Claim], _place: Place, _now: u64) -> Ruling {
        Ruling::Allow
    }

    /// RESET ALL or DISCARD ALL was sent.
    fn reset(&mut self, _place: Place) {}

    /// The encoded context that follows the present one.
    fn carrier_behind(&self, _end: End) -> Option<&Arc<Carrier>> {
        self.carrier()
    }

    /// Whether the values bound to such a statement have to be looked at; the whole message is held for that.
    fn reads_values(&self, _text: &[u8], _script: &Script) -> bool {
        false
    }

    /// A statement is about to be sent, with the context that is in force now; a ticket where its replies are watched.
    fn sent(&mut self, _sent: &Sent<'_>) -> Option<Ticket> {
        None
    }

    /// Who watches replies, if anybody does.
    fn overseer(&mut self) -> Option<&mut dyn Overseer> {
        None
    }

    /// Whether a statement is refused rather than run without its context.
    fn fails_closed(&self) -> bool;

    /// Whether pgwarden sets the setting of that name itself.
    fn protects(&self, setting: &str) -> bool;
}

/// Whether a statement reads or writes what policies look at, and so needs the context.
///
/// The list of what needs none is that of statements which take no snapshot and touch no rows (`postgres.c`,
/// `analyze_requires_snapshot`, `PlannedStmtRequiresSnapshot`); SET TRANSACTION must even come before any query.
pub(crate) fn needs_context(statement: &Statement, tenancy: &impl Tenancy) -> bool {
    use pgwarden_sql::Verb;
    match statement.verb {
        // What looks names or rights up has to do it as the role.
        Verb::Lock | Verb::Prepare | Verb::Checkpoint | Verb::CommitPrepared | Verb::RollbackPrepared => {
            tenancy.role().is_some()
        }
        verb if verb.controls_transaction() => false,
        Verb::Show => statement.setting.as_ref().is_some_and(|setting| tenancy.protects(&setting.name)),
        Verb::Set
        | Verb::Reset
        | Verb::ResetAll
        | Verb::Token
        | Verb::SetConfig
        | Verb::SetTransaction
        | Verb::SetConstraints
        | Verb::SetSessionCharacteristics
        | Verb::SetRole
        | Verb::SetSessionAuthorization
        | Verb::ResetIdentity
        | Verb::DiscardAll
        | Verb::DiscardOther
        | Verb::Deallocate { .. }
        | Verb::Listen
        | Verb::Unlisten
        | Verb::Notify
        | Verb::ClosePortal => false,
        _ => true,
    }
}
