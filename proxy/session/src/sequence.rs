//! `lastval()` and `currval()`: a shared backend remembers what `nextval()` gave to any of its clients.

use crate::engine::{Engine, Pooling};
use crate::refusal::Refusal;
use crate::tenancy::Tenancy;
use crate::transaction::Batch;
use pgwarden_sql::{Marks, Script};
use pgwarden_wire::Status;

impl<T: Tenancy> Engine<T> {
    /// The refusal of a text that begins a transaction by asking what `nextval()` gave before: on a shared backend,
    /// that was another client's. Inside of a transaction it is what the client itself got there.
    pub(crate) fn stray_sequence(&self, text: &[u8], script: &Script) -> Option<Box<Refusal>> {
        let first = script.statements().first()?;
        if !first.marks.contains(Marks::SEQUENCE_STATE) {
            return None;
        }
        let begins = self.tx.status() == Status::Idle && self.tx.batch() < Batch::Started;
        let shared = self.options.pooling == Pooling::Transaction && self.pins.is_empty();
        if !(begins && shared && self.tenancy.fails_closed()) || advances(text) {
            return None;
        }
        Some(Box::new(Refusal::new(
            "0A000",
            "lastval() and currval() cannot begin a transaction with transaction pooling",
            "A shared backend would answer with the number that another client got.",
            "Ask in the transaction of the INSERT, or use INSERT ... RETURNING.",
        )))
    }
}

/// Whether the text calls what gives the sequence a value of its own.
fn advances(text: &[u8]) -> bool {
    [b"nextval".as_slice(), b"setval"]
        .iter()
        .any(|name| text.windows(name.len()).any(|word| word.eq_ignore_ascii_case(name)))
}
