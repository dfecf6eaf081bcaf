//! Accounts in the audit trail; the log has them as well.

use super::books::{Sink, Stage};
use super::log::{self, Log};
use super::shown;
use crate::clock;
use crate::trail::Trail;
use pgwarden_account::Account;
use pgwarden_audit::Event;
use pgwarden_shadow::{
    Actor, Command, Decision, Detector, Finding, Kind, Outcome, Reporter, Rows, Rule, Site, Target, WouldHave,
};
use pgwarden_tenant::Mode;
use serde_json::json;
use std::sync::Arc;

/// The log, and the audit trail.
pub(super) struct Recorded(pub(super) Arc<Trail>);

impl Recorded {
    /// One finding for each table that the session has named, or one without a table: it has worked past all policies.
    fn found(&self, account: &Account) {
        let Account { party, tables, .. } = account;
        let read = tables.read.difference(&tables.written).map(|table| (Some(table), Command::Select));
        let named = read.chain(tables.written.iter().map(|table| (Some(table), Command::Other)));
        let mut named: Vec<(Option<&String>, Command)> = named.collect();
        if named.is_empty() && account.statements > 0 {
            named.push((None, Command::Other));
        }
        let actor = Arc::new(Actor {
            user: party.user.clone(),
            service: Some(party.service.clone()),
            application_name: Some(party.reason.clone()).filter(|reason| !reason.is_empty()),
            client_addr: Some(party.client.clone()),
            certificate: None,
            token: None,
        });
        let site =
            Site { database: party.database.as_str().into(), role: party.role.as_str().into(), pid: None };
        for (table, command) in named {
            self.0.found(used(&actor, &site, table, command));
        }
    }
}

fn used(actor: &Arc<Actor>, site: &Site, table: Option<&String>, command: Command) -> Finding {
    let (schema, table) = match table.map(|name| name.rsplit_once('.').unwrap_or(("", name))) {
        Some(("", table)) => (None, Some(table.to_owned())),
        Some((schema, table)) => (Some(schema.to_owned()), Some(table.to_owned())),
        None => (None, None),
    };
    Finding {
        kind: Kind::ServiceUsed,
        detector: Detector::Context,
        mode: Mode::Passthrough,
        decision: Decision::Allowed,
        would_have: WouldHave::None,
        rule: Rule::Primary,
        outcome: Outcome::Unknown,
        count: 1,
        tenant: None,
        actor: Arc::clone(actor),
        site: site.clone(),
        target: Target { schema, table, ..Target::default() },
        command: Some(command),
        rows: Rows::default(),
        foreign_tenants: Vec::new(),
        query: None,
        origin: None,
        evidence: None,
    }
}

impl Sink for Recorded {
    fn record(&mut self, stage: Stage, number: u64, account: &Account) {
        Log.record(stage, number, account);
        if stage == Stage::Ended {
            self.found(account);
        }
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
