//! What is to be said of many tables, and once is enough.

use pgwarden_shadow::verdict::{Cause, Judgement, Reason};
use std::collections::BTreeMap;

/// Tables of which the same is to be said that say it each for itself.
pub(super) const MOST_ALIKE: usize = 3;

/// Notes of more tables than that, and of how many.
#[derive(Debug, Default)]
pub(super) struct Alike<'a>(BTreeMap<&'a str, usize>);

impl<'a> Alike<'a> {
    pub(super) fn of(tables: &'a [Judgement]) -> Self {
        let mut notes: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in tables.iter().flat_map(|one| &one.reasons).filter(|reason| is_aside(reason.code)) {
            *notes.entry(&reason.text).or_default() += 1;
        }
        notes.retain(|_, count| *count > MOST_ALIKE);
        Self(notes)
    }

    /// Whether a table has to say this for itself.
    pub(super) fn leaves(&self, reason: &Reason) -> bool {
        !self.0.contains_key(reason.text.as_str())
    }

    /// One line for each note.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(note, count)| format!("Of {count} tables: {note}"))
    }
}

/// What keeps no table from being ready, but has to be known.
pub(super) fn is_aside(code: Cause) -> bool {
    matches!(code, Cause::Note | Cause::NotAsked)
}
