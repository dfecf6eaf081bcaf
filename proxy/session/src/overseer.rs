//! The seam between a session and whoever watches what its statements return.
//!
//! [`Tenancy::sent`](crate::Tenancy::sent) hears of each statement, and says by a [`Ticket`] whether its replies are worth
//! a look. Those are then told to the [`Overseer`], in the order in which the server sends them: per ticket first what its
//! rows consist of, then rows, then the end. A ticket that nothing more is heard of was skipped by the server.
//!
//! ```text
//! sent ─► [columns ─► row*] ─► completed | paused | failed      (a string of statements: several times, one behind another)
//! ```

use crate::refusal::Refusal;
use crate::settings::Profile;
use crate::statement::Statement;
use pgwarden_sql::{Script, StringSyntax};
use pgwarden_wire::Status;
use std::any::Any;
use std::sync::Arc;

/// Longer messages are not looked at: no description of columns and no notice of the server is that long.
pub const MOST_LOOKED_AT: usize = 1 << 20;

/// What rows consist of, as far as an overseer has to remember it: nobody else looks inside.
pub type Description = Arc<dyn Any + Send + Sync>;

/// A statement that is sent to be run.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// The text, without a token and without what pgwarden puts into it.
    pub text: &'a [u8],
    /// What it says; `None` where that cannot be told.
    pub script: Option<&'a Script>,
    /// What a backslash means in it.
    pub strings: StringSyntax,
    /// What was prepared and bound; `None` for a simple query.
    pub bound: Option<Bound<'a>>,
    /// The settings of the session, as far as they are followed.
    pub profile: &'a Profile,
}

/// A portal that is executed.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    /// The statement.
    pub statement: &'a Arc<Statement>,
    /// What follows the names in Bind, where [`Overseer::reads_bind`] has asked for it and it is short enough.
    pub values: Option<&'a Arc<[u8]>>,
}

/// A statement whose replies are watched. Tickets of one session rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// In which formats a portal returns its columns (Bind).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Formats {
    /// They are said with the columns: a simple query.
    Said,
    /// The Bind message was too long to be looked at.
    Unknown,
    /// These, as Bind has them: none at all means text, one is for all columns.
    Given(Box<[i16]>),
}

/// What an overseer wants to see of the result that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Nothing but its end.
    End,
    /// Its rows too.
    Rows,
}

/// What comes of a look at a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It goes on its way.
    Pass,
    /// It does, and no other row of the result is worth a look.
    Enough,
    /// More of it has to be there.
    More,
    /// It does not reach the client, and neither does anything behind it: the session ends with this error.
    Cut(Box<Refusal>),
    /// Neither does it, nor the rest of the result: the statement, which only reads and is alone in its text, fails with this
    /// error. The session goes on, unless something else was sent in the same breath: then it is [`Look::Cut`].
    Fail(Box<Refusal>),
}

/// What becomes of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The client reads it.
    Pass,
    /// It was for the overseer alone.
    Take,
}

/// Watches what the statements of one session return. Never waits, and never fails.
pub trait Overseer {
    /// Makes of a RowDescription what has to be remembered of it; it may be of a statement that runs much later.
    fn describe(&mut self, description: &[u8]) -> Description;

    /// Rows of these columns follow; `None` where the client was never told, or the columns are too many to be looked at.
    fn columns(&mut self, ticket: Ticket, columns: Option<&Description>, formats: &Formats) -> Interest;

    /// A row of `length` bytes, of which these are there (without the header).
    fn row(&mut self, ticket: Ticket, available: &[u8], length: usize) -> Look;

    /// COPY sends or takes lines, and says nothing of what they consist of.
    fn copies(&mut self, ticket: Ticket);

    /// A command of the ticket's text was completed; `tag` as in CommandComplete, empty for an empty text.
    fn completed(&mut self, ticket: Ticket, tag: &[u8]);

    /// So many rows were asked for: another Execute, with a ticket of its own, goes on.
    fn paused(&mut self, ticket: Ticket);

    /// The text has failed, with this ErrorResponse; nothing more of it comes.
    fn failed(&mut self, ticket: Ticket, error: &[u8]);

    /// Whether notices are worth a look.
    fn reads_notices(&self) -> bool;

    /// A notice of the server, while the replies of `ticket` are read.
    fn notice(&mut self, ticket: Option<Ticket>, notice: &[u8]) -> Notice;

    /// Whether the values that are bound to such a statement are to be kept for [`Bound::values`]. The whole message is
    /// held for that.
    fn reads_bind(&self, statement: &Statement) -> bool;

    /// The client reads ReadyForQuery: what was sent in front of it is done with.
    fn ready(&mut self, status: Status);
}
