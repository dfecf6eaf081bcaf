//! A text that was sent, until the last of its replies.

use super::acting::Acting;
use crate::book::{Seen, Wrote};
use crate::finding::Origin;
use crate::queries::{Known, Text};
use crate::rows;
use pgwarden_session::Ticket;
use std::sync::Arc;

/// A text that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) ticket: Ticket,
    pub(super) text: Arc<Text>,
    pub(super) acting: Arc<Acting>,
    /// Which of its statements replies come for.
    pub(super) index: usize,
    /// The result that comes.
    pub(super) result: Option<rows::Result>,
    /// What its coverage will be.
    pub(super) seen: Seen,
    /// How far what it writes was looked at.
    pub(super) wrote: Wrote,
}

impl Running {
    /// Of which nothing has come back.
    pub(super) fn new(ticket: Ticket, text: Arc<Text>, acting: Arc<Acting>) -> Self {
        Self { ticket, text, acting, index: 0, result: None, seen: Seen::Nothing, wrote: Wrote::Whole }
    }

    /// The statement whose replies come.
    pub(super) fn known(&self) -> Option<&Arc<Known>> {
        self.text.statements.get(self.index).or(self.text.statements.last())
    }

    /// Whether the text is one statement.
    pub(super) fn is_alone(&self) -> bool {
        self.text.statements.len() == 1
    }

    /// The statement that stands for the text as a whole.
    pub(super) fn principal(&self) -> Option<&Arc<Known>> {
        let all = &self.text.statements;
        all.iter().find(|one| !one.verb.controls_transaction()).or(all.first())
    }

    /// What the text says of where it comes from.
    pub(super) fn origin(&self) -> Option<Arc<Origin>> {
        crate::origin::origin(self.text.comment.as_deref()?).map(Arc::new)
    }
}
