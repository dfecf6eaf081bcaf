//! The reply queue: who gets the answer to each message that was sent, in the order sent.
//!
//! Whatever pgwarden sends on its own account is here first, so its replies never reach the client; whatever it
//! answers itself is here too, so no answer overtakes another.

use crate::command::Effect;
use crate::engine::{CopyIn, Resetting};
use crate::inquiry::Inquiry;
use crate::oversight::{WatchList, Watched};
use crate::refusal::Refusal;
use crate::shelf::Evicted;
use crate::statement::Statement;
use crate::token::Taken;
use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) use crate::expect::{Expect, Progress};

/// One entry of the queue.
#[derive(Debug)]
pub(crate) enum Entry {
    /// The server owes a reply.
    Await(Expect, Fate),
    /// pgwarden answers when its turn comes.
    Answer(Answer),
}

/// Who gets the reply.
#[derive(Debug)]
pub(crate) enum Fate {
    /// The client.
    Client,
    /// The client; the statement is of an unknown kind, and may refuse the block that its context makes.
    Unsure,
    /// The client; the statement becomes known on the backend when ParseComplete comes.
    Parse(Box<Naming>),
    /// The client; the unnamed statement is gone.
    CloseUnnamed,
    /// The client, except for what answers statements that were put into its text.
    Script(Box<Insertions>),
    /// The client, which reads this value instead of the server's.
    Echo(Box<[u8]>),
    /// The client; the reply concerns a statement that backends share.
    Shared(Arc<Statement>),
    /// The client; it is told what a shared statement of that name returns.
    Described(Arc<Statement>, Box<[u8]>),
    /// The client; the command does more than its tag tells.
    Command(Effect),
    /// Nobody: pgwarden sent it.
    Own(Purpose),
}

/// A client's Parse on its way to a backend.
#[derive(Debug)]
pub(crate) struct Naming {
    /// The client's name for it.
    pub(crate) name: Box<[u8]>,
    /// The statement.
    pub(crate) statement: Arc<Statement>,
    /// Its number on the backend; `None` where it keeps the client's name.
    pub(crate) number: Option<u64>,
    /// What was taken out of its text.
    pub(crate) taken: Taken,
    /// From when on the name stands for it.
    pub(crate) valid: Valid,
}

impl Naming {
    /// A name that stands for the statement, which keeps it on the backend.
    pub(crate) fn sent(name: &[u8], statement: Arc<Statement>, taken: Taken) -> Self {
        Self { name: name.into(), statement, number: None, taken, valid: Valid::Sent }
    }
}

/// From when on a name stands for the statement of a Parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Valid {
    /// As soon as it is sent: what follows in the same batch relies on it.
    Sent,
    /// Once the server has acknowledged it: the name is taken, and the server will most probably say so.
    Acknowledged,
}

/// Statements that were put into a simple query's text.
#[derive(Debug, Default)]
pub(crate) struct Insertions {
    /// For each: how many characters of the sent text precede it, and how many it has.
    pub(crate) places: Vec<(usize, usize)>,
    /// Which CommandComplete of the string are pgwarden's, counted from zero.
    pub(crate) swallow: Vec<u32>,
    /// How many CommandComplete were read.
    pub(crate) completed: u32,
    /// How many characters of the client's text were taken out in front.
    pub(crate) removed: usize,
    /// The row that the client reads in place of the server's, and the number of the command that returns it among the
    /// client's own.
    pub(crate) echo: Option<(u32, Box<[u8]>)>,
    /// What the string resets.
    pub(crate) resets: Resetting,
    /// The text, as long as it may be run again outside of a transaction block.
    pub(crate) again: Again,
}

/// Whether a statement that cannot run in a transaction block is tried again without one.
#[derive(Debug, Default)]
pub(crate) enum Again {
    /// It is not.
    #[default]
    Never,
    /// If the server says so, with this text.
    Possible(Vec<u8>),
    /// The server has said so.
    Due(Vec<u8>),
}

/// Why pgwarden sent something.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// The context statement is prepared.
    PrepareContext,
    /// The context is set for the transaction.
    Context,
    /// The context is set for the session; the client's message waits for it.
    SessionSet,
    /// The context is taken from the session again.
    SessionClear,
    /// A client's statement is prepared on a backend that does not know it.
    PrepareStatement(Arc<Statement>, u64),
    /// A shared statement is described, to be compared with what the client was told.
    Describe(Arc<Statement>),
    /// A shared statement makes room for another.
    Evict(Box<Evicted>),
    /// The unnamed statement is taken away or replaced.
    Unnamed,
    /// Settings are brought along.
    Settings,
    /// The server is asked what the client has left on its backend.
    Inquiry(Box<Inquiry>),
    /// The server is made to fail the transaction; the client reads this instead of the server's error.
    Provoked(Box<Refusal>),
}

/// What pgwarden answers by itself.
#[derive(Debug)]
pub(crate) enum Answer {
    /// ParseComplete: the backend knows the statement already.
    ParseComplete(Box<Naming>),
    /// CloseComplete: the name is gone, the shared statement stays.
    CloseComplete(Option<Box<Naming>>),
    /// An error, when the backend has nothing to do with it.
    Error(Box<Refusal>),
    /// ReadyForQuery.
    Ready,
}

impl Fate {
    /// What the client reads in place of the row that comes next.
    pub(crate) fn echo(&self) -> Option<&[u8]> {
        match self {
            Self::Echo(value) => Some(value),
            Self::Script(insertions) => insertions.due_echo(),
            _ => None,
        }
    }
}

impl Insertions {
    fn due_echo(&self) -> Option<&[u8]> {
        let (index, value) = self.echo.as_ref()?;
        let swallowed = self.swallow.iter().filter(|reply| **reply < self.completed).count();
        let own = usize::try_from(self.completed).ok()?.checked_sub(swallowed)?;
        (usize::try_from(*index) == Ok(own)).then_some(&**value)
    }

    /// Whether the string may have to be sent a second time, outside of a transaction block.
    pub(crate) fn may_run_again(&self) -> bool {
        matches!(self.again, Again::Possible(_))
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct ReplyQueue {
    entries: VecDeque<Entry>,
    /// How many entries have been taken from the front: the number of the one that is there now.
    taken: usize,
    /// The numbers of the entries that follow a CopyDone or CopyFail, sent before it was known that a COPY runs.
    copy_ends: VecDeque<usize>,
    /// Who watches which entries.
    watched: WatchList,
}

impl ReplyQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut Entry> {
        self.entries.front_mut()
    }

    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.taken += 1;
        self.watched.forget_before(self.taken);
        Some(entry)
    }

    /// The place of the entry in front; places rise.
    pub(crate) fn front_place(&self) -> usize {
        self.taken
    }

    /// The place of the entry that comes next.
    pub(crate) fn next_place(&self) -> usize {
        self.taken + self.entries.len()
    }

    /// The place of the entry that came last.
    pub(crate) fn last_place(&self) -> usize {
        self.next_place().saturating_sub(1)
    }

    /// Puts an entry back in front: what it stands for was sent before all others.
    pub(crate) fn unpop(&mut self, entry: Entry) {
        self.entries.push_front(entry);
        self.taken = self.taken.saturating_sub(1);
    }

    /// The server owes a reply that goes to the client.
    pub(crate) fn forward(&mut self, expect: Expect) {
        self.entries.push_back(Entry::Await(expect, Fate::Client));
    }

    /// The server owes a reply.
    pub(crate) fn push(&mut self, expect: Expect, fate: Fate) {
        self.entries.push_back(Entry::Await(expect, fate));
    }

    /// The entry that came last is watched.
    pub(crate) fn watch(&mut self, watched: Option<Watched>) {
        if let Some(watched) = watched {
            self.watched.push(self.last_place(), watched);
        }
    }

    /// Who watches the entry in front.
    #[inline]
    pub(crate) fn watched(&mut self) -> Option<&mut Watched> {
        self.watched.at(self.taken)
    }

    /// pgwarden owes a reply.
    pub(crate) fn answer(&mut self, answer: Answer) {
        self.entries.push_back(Entry::Answer(answer));
    }

    /// Whether the reply that comes next is not the client's.
    pub(crate) fn front_is_own(&self) -> bool {
        matches!(self.front(), Some(Entry::Await(_, Fate::Own(_))))
    }

    /// Whether everything outstanding is pgwarden's own between transactions: settings that were brought along, and
    /// questions about them.
    pub(crate) fn holds_only_settings(&self) -> bool {
        let own = |entry: &Entry| {
            matches!(entry, Entry::Await(_, Fate::Own(Purpose::Settings | Purpose::Inquiry(_))))
        };
        self.entries.iter().all(own)
    }

    /// Whether replies of a batch are outstanding that has been sent to its end.
    pub(crate) fn ends_batch(&self) -> bool {
        self.entries.iter().any(|entry| {
            matches!(entry, Entry::Await(Expect::Sync | Expect::Query | Expect::FunctionCall, _))
        })
    }

    /// Whether something outstanding may change the transaction: preparing and binding does not.
    pub(crate) fn changes_transaction(&self) -> bool {
        use Expect as E;
        self.entries.iter().any(|entry| {
            matches!(
                entry,
                Entry::Await(E::Execute | E::Injection(_) | E::Query | E::FunctionCall | E::Sync, _)
            )
        })
    }

    /// Whether the entry in front is all that was sent: a simple query, or the end of a batch and its Sync.
    pub(crate) fn has_nothing_behind_front(&self) -> bool {
        let mut entries = self.entries.iter();
        matches!(
            (entries.next(), entries.next(), entries.next()),
            (Some(Entry::Await(Expect::Query, _)), None, None)
                | (
                    Some(Entry::Await(Expect::Execute, _)),
                    Some(Entry::Await(Expect::Sync, Fate::Client)),
                    None
                )
        )
    }

    /// CopyDone or CopyFail was sent.
    pub(crate) fn copy_end_sent(&mut self) {
        self.copy_ends.push_back(self.next_place());
    }

    /// The server has begun to copy from the client for the entry in front: it discards every Sync up to CopyDone.
    pub(crate) fn copy_begins(&mut self) -> CopyBegun {
        while self.copy_ends.front().is_some_and(|end| *end <= self.taken) {
            self.copy_ends.pop_front();
        }
        let end = self.copy_ends.pop_front().map(|end| end.saturating_sub(self.taken));
        let limit = end.unwrap_or(self.entries.len());
        let syncs = self.entries.iter().take(limit).enumerate().filter(|(_, entry)| is_sync(entry));
        let gone: Vec<usize> = syncs.map(|(index, _)| self.taken + index).collect();
        let mut index = 0;
        self.entries.retain(|entry| {
            index += 1;
            index > limit || !is_sync(entry)
        });
        let discarded = gone.len();
        self.watched.close_up(&gone);
        self.copy_ends.iter_mut().for_each(|end| *end = end.saturating_sub(discarded));
        let synced =
            end.is_some_and(|end| self.entries.iter().skip(end.saturating_sub(discarded)).any(is_sync));
        let copy = if end.is_some() { CopyIn::Closed } else { CopyIn::Open };
        CopyBegun { copy, reopened: discarded > 0 && !synced }
    }
}

/// How far a COPY was sent that has just begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CopyBegun {
    /// Whether CopyDone or CopyFail is still to come.
    pub(crate) copy: CopyIn,
    /// The Sync that was sent counts for nothing, and no other was: the batch goes on.
    pub(crate) reopened: bool,
}

fn is_sync(entry: &Entry) -> bool {
    matches!(entry, Entry::Await(Expect::Sync, _))
}
