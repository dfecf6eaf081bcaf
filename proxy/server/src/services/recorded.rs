//! Accounts in the audit trail; the log has them as well.

use super::books::{Sink, Stage};
use super::log::{self, Log};
use super::shown;
use crate::clock;
use crate::trail::Trail;
use pgwarden_account::Account;
use pgwarden_audit::Event;
use serde_json::json;
use std::sync::Arc;

/// The log, and the audit trail.
pub(super) struct Recorded(pub(super) Arc<Trail>);

impl Sink for Recorded {
    fn record(&mut self, stage: Stage, number: u64, account: &Account) {
        Log.record(stage, number, account);
        let stage = match stage {
            Stage::Begun => "begun",
            Stage::GoesOn => "goes_on",
            Stage::Ended => "ended",
        };
        let ended = account.ended.map(shown);
        let session = log::report(number, account, account.ended.unwrap_or_else(clock::now));
        let role = &account.party.role;
        self.0.record(Event::Service(
            json!({ "stage": stage, "role": role, "ended": ended, "account": session }),
        ));
    }
}
