//! Tokens that a client shows in its statements: taken out of the message, shown to the tenancy, and given back in the
//! reply, so that the server never sees one and the client misses nothing.

mod edit;
mod prepared;
mod query;

pub(crate) use edit::{Edits, Showing, Taken};

use crate::engine::Engine;
use crate::refuse::Permit;
use crate::tenancy::{Bearer, Place, Ruling, Shown, Tenancy};
use pgwarden_sql::Statement;
use std::sync::Arc;

impl<T: Tenancy> Engine<T> {
    /// Shows the tenancy a token. Where the context is another one by that, it is set again.
    pub(crate) fn show(&mut self, shown: Shown<'_>, place: Place, now: u64) -> Permit {
        let before = self.tenancy.carrier().map(Arc::as_ptr);
        let ruling = self.tenancy.show(shown, place, now);
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
