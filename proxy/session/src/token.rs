//! Tokens that a client shows in its statements: taken out of the message, shown to the tenancy, and given back in the
//! reply, so that the server never sees one and the client misses nothing. And what a client says of itself, by setting
//! variables: that goes on as it is.

mod claim;
mod edit;
mod prepared;
mod query;

use crate::tenancy::Claim;
pub(crate) use edit::{Edits, Showing, Taken};

use crate::carrier::Carrier;
use crate::engine::Engine;
use crate::refuse::Permit;
use crate::tenancy::{Bearer, Place, Ruling, Shown, Tenancy};
use pgwarden_sql::Statement;
use std::sync::Arc;

impl<T: Tenancy> Engine<T> {
    /// Shows the tenancy a token.
    pub(crate) fn show(&mut self, shown: Shown<'_>, place: Place, now: u64) -> Permit {
        let before = self.tenancy.carrier().map(Arc::as_ptr);
        let ruling = self.tenancy.show(shown, place, now);
        self.permit_by(ruling, before)
    }

    /// Tells the tenancy what the client says of itself.
    pub(crate) fn claim(&mut self, claims: &[Claim], now: u64) -> Permit {
        let before = self.tenancy.carrier().map(Arc::as_ptr);
        let ruling = self.tenancy.claim(claims, self.tx.place(), now);
        self.permit_by(ruling, before)
    }

    /// Where the context is another one now, it is set again.
    fn permit_by(&mut self, ruling: Ruling, before: Option<*const Carrier>) -> Permit {
        if self.tenancy.carrier().map(Arc::as_ptr) != before {
            self.tx.doubt();
        }
        match ruling {
            Ruling::Allow => Permit::Granted,
            Ruling::Refuse(refusal) => Permit::Refused(refusal),
            Ruling::Ask => Permit::Unknown,
        }
    }
}

/// How a statement shows its token.
fn bearer(statement: &Statement) -> Bearer {
    if statement.setting.is_some() { Bearer::Set } else { Bearer::SetConfig }
}
