//! Entries of the reply queue that an overseer watches, by their places.

use super::columns::Told;
use crate::overseer::{Formats, Interest, Ticket};
use std::collections::VecDeque;
use std::sync::Arc;

/// An entry that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) ticket: Ticket,
    pub(crate) subject: Subject,
}

/// What its replies are looked at for.
#[derive(Debug)]
pub(crate) enum Subject {
    /// A statement runs.
    Run {
        stage: Stage,
        formats: Formats,
        /// What the client was told of its columns; `None` where the server says it in front of the rows.
        told: Option<Arc<Told>>,
    },
    /// A statement or portal is described.
    Description(Arc<Told>),
}

/// How far a result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The overseer knows nothing of its columns.
    Begins,
    /// It does, and has said what it wants to see.
    Returns(Interest),
}

impl Watched {
    pub(super) fn run(ticket: Ticket, formats: Formats, told: Option<Arc<Told>>) -> Self {
        Self { ticket, subject: Subject::Run { stage: Stage::Begins, formats, told } }
    }

    /// No ticket is ever zero.
    pub(super) fn description(told: Arc<Told>) -> Self {
        Self { ticket: Ticket(0), subject: Subject::Description(told) }
    }
}

/// What is watched, in the order of the queue.
#[derive(Debug, Default)]
pub(crate) struct WatchList {
    entries: VecDeque<(usize, Watched)>,
}

impl WatchList {
    /// The entry at `place` is watched, which is behind all others.
    pub(crate) fn push(&mut self, place: usize, watched: Watched) {
        self.entries.push_back((place, watched));
    }

    /// Who watches the entry at `place`, in front of which nothing is left.
    #[inline]
    pub(crate) fn at(&mut self, place: usize) -> Option<&mut Watched> {
        let (found, watched) = self.entries.front_mut()?;
        (*found == place).then_some(watched)
    }

    /// Everything in front of `place` is done with.
    #[inline]
    pub(crate) fn forget_before(&mut self, place: usize) {
        while self.entries.front().is_some_and(|(found, _)| *found < place) {
            self.entries.pop_front();
        }
    }

    /// These places were taken out of the queue (they rise): what is behind moves up.
    pub(crate) fn close_up(&mut self, gone: &[usize]) {
        for (place, _) in &mut self.entries {
            *place -= gone.iter().filter(|gone| **gone < *place).count();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(places: &[usize]) -> WatchList {
        let mut list = WatchList::default();
        for place in places {
            let ticket = Ticket(u64::try_from(*place).expect("small"));
            list.push(*place, Watched::run(ticket, Formats::Said, None));
        }
        list
    }

    #[test]
    fn what_is_behind_something_taken_out_moves_up() {
        let mut list = list(&[1, 4, 6]);
        list.close_up(&[2, 5]);
        let places: Vec<(usize, u64)> =
            list.entries.iter().map(|(place, watched)| (*place, watched.ticket.0)).collect();
        assert_eq!(places, [(1, 1), (3, 4), (4, 6)]);
    }

    #[test]
    fn only_the_entry_in_front_is_found_and_what_is_done_is_forgotten() {
        let mut list = list(&[1, 4]);
        assert!(list.at(0).is_none() && list.at(4).is_none());
        assert_eq!(list.at(1).map(|watched| watched.ticket), Some(Ticket(1)));
        list.forget_before(2);
        assert_eq!(list.at(4).map(|watched| watched.ticket), Some(Ticket(4)));
        list.forget_before(5);
        assert!(list.at(4).is_none());
    }
}
