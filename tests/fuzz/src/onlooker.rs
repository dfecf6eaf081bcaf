//! An overseer that looks at everything, as late as it can: each row only when all of it is there, or when it knows enough.
//! What it has seen is one text, the same for any split of the bytes.

use std::fmt::Write as _;
use std::sync::Arc;

use pgwarden_session::{
    Description, Formats, Interest, Look, Notice, Overseer, Refusal, Sent, Statement, Ticket,
};
use pgwarden_wire::Status;

/// Rows are looked at up to here.
const MOST_OF_A_ROW: usize = 100;

/// What an overseer was told.
#[derive(Debug, Default)]
pub struct Onlooker {
    /// All of it, in order.
    pub seen: String,
    tickets: u64,
    heard: u64,
}

impl Onlooker {
    pub(crate) fn sent(&mut self, sent: &Sent<'_>) -> Ticket {
        self.tickets += 1;
        let prepared = sent.bound.is_some();
        self.note(&format!("sent {} {prepared} {}", self.tickets, sent.text.escape_ascii()));
        Ticket(self.tickets)
    }

    fn note(&mut self, what: &str) {
        writeln!(self.seen, "{what}").expect("a text grows");
    }

    /// Tickets come in the order in which they were given.
    fn hear(&mut self, ticket: Ticket, what: &str) {
        assert!(ticket.0 >= self.heard && ticket.0 <= self.tickets, "{ticket:?} behind {}", self.heard);
        self.heard = ticket.0;
        self.note(&format!("{} {what}", ticket.0));
    }
}

impl Overseer for Onlooker {
    fn describe(&mut self, description: &[u8]) -> Description {
        self.note(&format!("describe {}", description.escape_ascii()));
        Arc::new(description.to_vec())
    }

    fn columns(&mut self, ticket: Ticket, columns: Option<&Description>, formats: &Formats) -> Interest {
        let known = columns.and_then(|columns| columns.downcast_ref::<Vec<u8>>()).map(Vec::len);
        self.hear(ticket, &format!("columns {known:?} {formats:?}"));
        Interest::Rows
    }

    fn row(&mut self, ticket: Ticket, available: &[u8], length: usize) -> Look {
        let wanted = length.min(MOST_OF_A_ROW);
        let Some(row) = available.get(..wanted) else { return Look::More };
        self.hear(ticket, &format!("row {length} {}", row.escape_ascii()));
        if row.ends_with(b"enough") {
            Look::Enough
        } else if row.ends_with(b"cut here") {
            Look::Fail(Box::new(Refusal::new("42501", "cut off", "", "")))
        } else {
            Look::Pass
        }
    }

    fn copies(&mut self, ticket: Ticket) {
        self.hear(ticket, "copies");
    }

    fn completed(&mut self, ticket: Ticket, tag: &[u8]) {
        self.hear(ticket, &format!("completed {}", tag.escape_ascii()));
    }

    fn paused(&mut self, ticket: Ticket) {
        self.hear(ticket, "paused");
    }

    fn failed(&mut self, ticket: Ticket, error: &[u8]) {
        self.hear(ticket, &format!("failed {}", error.escape_ascii()));
    }

    fn reads_notices(&self) -> bool {
        true
    }

    fn notice(&mut self, ticket: Option<Ticket>, notice: &[u8]) -> Notice {
        self.note(&format!("notice {ticket:?} {}", notice.escape_ascii()));
        Notice::Pass
    }

    fn reads_bind(&self, _: &Statement) -> bool {
        true
    }

    fn ready(&mut self, status: Status) {
        self.note(&format!("ready {status:?}"));
    }
}
