//! Context statements inside a simple query's own text: where they go, and how the reply is put right again.

use crate::engine::{Engine, Reassert};
use crate::queue::Insertions;
use crate::tenancy::{Tenancy, needs_context};
use crate::transaction::{ends_transaction, loses_context, runs_deferred};
use pgwarden_sql::Script;
use pgwarden_wire::Status;

/// A text with places where the context is to be put in.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Byte offsets into the client's text, rising.
    pub(crate) offsets: Vec<usize>,
    /// What the reply queue has to know.
    pub(crate) insertions: Insertions,
}

impl Plan {
    /// Plans the insertions into `text`: before every statement that needs the context while it is not there.
    ///
    /// `length` is the inserted text's length in bytes (it is ASCII), `statements` how many statements it holds.
    pub(crate) fn new(
        text: &[u8],
        script: Option<&Script>,
        session: &Engine<impl Tenancy>,
        (length, statements): (usize, u32),
    ) -> Self {
        let mut plan = Self::default();
        let Some(script) = script else {
            plan.insert(text, 0, (length, statements), 0);
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
                replies = plan.insert(text, offset, (length, statements), replies);
                bound = true;
            }
            bound = bound && !loses_context(statement) && session.options.reassert == Reassert::Transaction;
            lost = (lost && !bound) || (loses_context(statement) && !ends_transaction(statement));
            replies += 1;
        }
        plan
    }

    fn insert(
        &mut self,
        text: &[u8],
        offset: usize,
        (length, statements): (usize, u32),
        replies: u32,
    ) -> u32 {
        let before = text.get(..offset).unwrap_or_default();
        let inserted = self.offsets.len() * length;
        self.insertions.places.push((characters(before) + inserted, length));
        self.insertions.swallow.extend(replies..replies + statements);
        self.offsets.push(offset);
        replies + statements
    }
}

/// How many characters `bytes` are in UTF-8: every byte that does not continue one.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte & 0xC0) != 0x80).count()
}

impl Insertions {
    /// Whether the CommandComplete that was just read answers an inserted statement.
    pub(crate) fn swallows_next(&mut self) -> bool {
        let index = self.completed;
        self.completed += 1;
        self.swallow.binary_search(&index).is_ok()
    }

    /// An error position in the sent text (in characters, from 1) as one in the client's text.
    pub(crate) fn original_position(&self, position: usize) -> usize {
        let inserted: usize = self
            .places
            .iter()
            .filter(|(before, _)| *before < position)
            .map(|(before, length)| (*length).min(position.saturating_sub(*before)))
            .sum();
        position.saturating_sub(inserted).max(1)
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
