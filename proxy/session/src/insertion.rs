//! Context statements inside a simple query's own text: where they go, and how the reply is put right again.

use crate::carrier::Carrier;
use crate::engine::{Engine, Reassert};
use crate::queue::Insertions;
use crate::tenancy::{End, Tenancy, needs_context};

use crate::transaction::{ends_transaction, loses_context, runs_deferred};
use pgwarden_sql::{Script, Statement, Verb};
use pgwarden_wire::Status;
use std::sync::Arc;

/// The contexts of the statements of one string.
#[derive(Debug)]
pub(crate) struct Contexts {
    /// In force for the next statement.
    present: Arc<Carrier>,
    /// Behind the transaction.
    resting: Arc<Carrier>,
    /// Behind RESET ALL.
    initial: Arc<Carrier>,
}

impl Contexts {
    /// The contexts as the tenancy has them; `None` where there is no variable.
    pub(crate) fn of(tenancy: &impl Tenancy) -> Option<Self> {
        let (present, resting) = (tenancy.carrier()?, tenancy.carrier_behind(End::Transaction)?);
        let initial = tenancy.carrier_behind(End::Reset)?;
        Some(Self {
            present: Arc::clone(present),
            resting: Arc::clone(resting),
            initial: Arc::clone(initial),
        })
    }

    /// What is in force behind the statement.
    fn pass(&mut self, statement: &Statement) {
        if matches!(statement.verb, Verb::ResetAll | Verb::DiscardAll) {
            self.present = Arc::clone(&self.initial);
            self.resting = Arc::clone(&self.initial);
        }
        if ends_transaction(statement) {
            self.present = Arc::clone(&self.resting);
        }
    }
}

/// A text with places where the context is to be put in.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Byte offsets into the client's text, rising, and what goes in there.
    pub(crate) offsets: Vec<(usize, Arc<Carrier>)>,
    /// What the reply queue has to know.
    pub(crate) insertions: Insertions,
}

impl Plan {
    /// Plans the insertions into `text`: before every statement that needs the context while it is not there.
    pub(crate) fn new(
        text: &[u8],
        script: Option<&Script>,
        session: &Engine<impl Tenancy>,
        contexts: Contexts,
    ) -> Self {
        let (mut plan, mut contexts) = (Self::default(), contexts);
        let Some(script) = script else {
            plan.insert(text, 0, &contexts.present, 0);
            return plan;
        };
        let (mut bound, mut lost, mut replies) = (false, false, 0);
        let mut failed = session.tx.status() == Status::Failed;
        for statement in script.statements() {
            let depends = session.tx.depends(statement) || (lost && runs_deferred(statement));
            // A failed block runs nothing but what ends or mends it.
            let runs = !std::mem::take(&mut failed);
            if runs && !bound && (depends || needs_context(statement, &session.tenancy)) {
                let offset = if plan.offsets.is_empty() && replies == 0 { 0 } else { statement.span.start };
                replies = plan.insert(text, offset, &contexts.present, replies);
                bound = true;
            }
            let before = Arc::as_ptr(&contexts.present);
            contexts.pass(statement);
            bound &= before == Arc::as_ptr(&contexts.present);
            bound = bound && !loses_context(statement) && session.options.reassert == Reassert::Transaction;
            lost = (lost && !bound) || (loses_context(statement) && !ends_transaction(statement));
            replies += 1;
        }
        plan
    }

    /// Puts the context (ASCII, so that bytes are characters) in at `offset`; returns the number of the reply to what
    /// follows it.
    fn insert(&mut self, text: &[u8], offset: usize, carrier: &Arc<Carrier>, replies: u32) -> u32 {
        let before = text.get(..offset).unwrap_or_default();
        self.insertions.places.push((characters(before) + self.inserted(), carrier.text.len()));
        self.insertions.swallow.extend(replies..replies + carrier.statements);
        self.offsets.push((offset, Arc::clone(carrier)));
        replies + carrier.statements
    }

    /// Bytes that go in, all in all.
    pub(crate) fn inserted(&self) -> usize {
        self.offsets.iter().map(|(_, carrier)| carrier.text.len()).sum()
    }
}

/// How many characters `bytes` are in UTF-8: every byte that does not continue one.
pub(crate) fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte & 0xC0) != 0x80).count()
}

impl Insertions {
    /// Whether the CommandComplete that was just read answers an inserted statement.
    pub(crate) fn swallows_next(&mut self) -> bool {
        let own = self.is_at_own();
        self.completed += 1;
        own
    }

    /// Whether an inserted statement is the next to be answered.
    pub(crate) fn is_at_own(&self) -> bool {
        self.swallow.binary_search(&self.completed).is_ok()
    }

    /// An error position in the sent text (in characters, from 1) as one in the client's text.
    pub(crate) fn original_position(&self, position: usize) -> usize {
        let inserted: usize = self
            .places
            .iter()
            .filter(|(before, _)| *before < position)
            .map(|(before, length)| (*length).min(position.saturating_sub(*before)))
            .sum();
        position.saturating_sub(inserted).max(1) + self.removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_counted_in_the_clients_text() {
        let insertions = Insertions { places: vec![(0, 10), (30, 10)], ..Insertions::default() };
        assert_eq!(insertions.original_position(11), 1);
        assert_eq!(insertions.original_position(15), 5);
        assert_eq!(insertions.original_position(41), 21);
    }

    #[test]
    fn characters_are_not_bytes() {
        assert_eq!(characters("aé€".as_bytes()), 3);
    }
}
