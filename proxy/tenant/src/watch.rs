//! The seam between a client's tenancy and whoever watches what it does: whom each statement acts for, what it does that
//! `enforce` refuses, and what comes back.

use crate::holder::Held;
use crate::offence::Offence;
use pgwarden_session::{Overseer, Sent, Ticket};
use std::fmt::Debug;

/// What became of a statement with an offence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It runs. It may be asked about several times before it does, and then it is sent.
    Allowed,
    /// It was not sent.
    Refused,
}

/// Watches one client. Never waits, and never fails.
pub trait Watch: Overseer + Debug + Send {
    /// A statement is about to be sent that acts for the holder of `held`; a ticket where its replies are watched.
    fn sent(&mut self, sent: &Sent<'_>, held: &Held) -> Option<Ticket>;

    /// A statement did something that `enforce` refuses; `None` where it is what the client showed, and no statement.
    fn offended(&mut self, offence: Offence, judgement: Judgement, text: Option<&[u8]>, held: &Held);

    /// What follows runs in this server process.
    fn runs_on(&mut self, _process: u32) {}
}
