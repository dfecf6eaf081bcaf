//! For sessions that nobody looks at: what triggers say to pgwarden does not reach their clients either, because they may
//! share backends with sessions that are looked at.

use super::notice::Notice as Told;
use pgwarden_session::{Description, Formats, Interest, Look, Notice, Overseer, Sent, Statement, Ticket};
use pgwarden_tenant::{Held, Judgement, Offence, Watch};
use pgwarden_wire::Status;
use std::sync::Arc;

/// Takes notices out of the stream, and sees nothing else.
#[derive(Debug)]
pub struct Hush {
    nonce: Arc<str>,
}

impl Hush {
    /// For triggers that sign so.
    #[must_use]
    pub fn new(nonce: Arc<str>) -> Self {
        Self { nonce }
    }
}

impl Watch for Hush {
    fn sent(&mut self, _: &Sent<'_>, _: &Held) -> Option<Ticket> {
        None
    }

    fn offended(&mut self, _: Offence, _: Judgement, _: Option<&[u8]>, _: &Held) {}
}

impl Overseer for Hush {
    fn describe(&mut self, _: &[u8]) -> Description {
        Arc::new(())
    }

    fn columns(&mut self, _: Ticket, _: Option<&Description>, _: &Formats) -> Interest {
        Interest::End
    }

    fn row(&mut self, _: Ticket, _: &[u8], _: usize) -> Look {
        Look::Enough
    }

    fn copies(&mut self, _: Ticket) {}

    fn completed(&mut self, _: Ticket, _: &[u8]) {}

    fn paused(&mut self, _: Ticket) {}

    fn failed(&mut self, _: Ticket, _: &[u8]) {}

    fn reads_notices(&self) -> bool {
        true
    }

    fn notice(&mut self, _: Option<Ticket>, notice: &[u8]) -> Notice {
        match Told::read(notice, &self.nonce) {
            Some(_) => Notice::Take,
            None => Notice::Pass,
        }
    }

    fn reads_bind(&self, _: &Statement) -> bool {
        false
    }

    fn ready(&mut self, _: Status) {}
}
