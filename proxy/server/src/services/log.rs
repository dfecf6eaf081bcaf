//! Accounts as lines of the log, and as the status shows them.

use super::books::{Sink, Stage};
use super::shown;
use crate::status::ServiceSessionReport;
use pgwarden_account::Account;
use std::collections::{BTreeMap, BTreeSet};

/// The log.
pub(super) struct Log;

impl Sink for Log {
    fn record(&mut self, stage: Stage, number: u64, account: &Account) {
        let party = &account.party;
        let (service, role, user, database) = (&party.service, &party.role, &party.user, &party.database);
        let (client, reason, began) = (&party.client, &party.reason, shown(party.began));
        if stage == Stage::Begun {
            tracing::info!(
                service,
                session = number,
                user,
                role,
                database,
                client,
                reason,
                began,
                "service session began"
            );
            return;
        }
        let Account { transactions, statements, errors, unread, .. } = account;
        let (commands, unlisted) = (counted(&account.commands), account.tables.unlisted);
        let (read, written) = (listed(&account.tables.read), listed(&account.tables.written));
        let ended = account.ended.map(shown);
        let message = match stage {
            Stage::Ended => "service session ended",
            Stage::GoesOn | Stage::Begun => "service session goes on",
        };
        tracing::info!(
            service,
            session = number,
            user,
            role,
            database,
            client,
            reason,
            began,
            ended,
            transactions,
            statements,
            commands,
            errors,
            read,
            written,
            unlisted,
            unread,
            "{message}"
        );
    }
}

/// What the status shows of a session.
pub(super) fn report(number: u64, account: &Account, now: u64) -> ServiceSessionReport {
    let party = &account.party;
    ServiceSessionReport {
        session: number,
        service: party.service.clone(),
        user: party.user.clone(),
        database: party.database.clone(),
        client: party.client.clone(),
        reason: party.reason.clone(),
        began: shown(party.began),
        seconds: now.saturating_sub(party.began),
        transactions: account.transactions,
        statements: account.statements,
        commands: account.commands.clone(),
        errors: account.errors,
        read: account.tables.read.iter().cloned().collect(),
        written: account.tables.written.iter().cloned().collect(),
        unlisted: account.tables.unlisted,
        unread: account.unread,
    }
}

fn counted(commands: &BTreeMap<String, u64>) -> String {
    commands.iter().map(|(command, count)| format!("{command} {count}")).collect::<Vec<_>>().join(", ")
}

fn listed(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
