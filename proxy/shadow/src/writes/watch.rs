//! What the triggers have told in a transaction, until it is known what becomes of it.

use super::effect::Effect;
use super::notice::{Group, Notice, NoticeCommand};
use crate::coverage::Detector;
use crate::finding::{
    Actor, Command, Decision, Finding, Origin, Outcome, Query, Rows, Rule, Site, Target, Tenant, WouldHave,
};
use crate::kind::Kind;
use pgwarden_sql::{Writing, WritingCommand};
use pgwarden_tenant::Mode;
use pgwarden_wire::Status;
use std::sync::Arc;

/// Notices that are kept at most: a transaction of a million statements says no more than its first thousand.
const MOST: usize = 1000;
/// Tenants that a finding names.
const TENANTS: usize = 5;

/// Whose statement it was, and what it says.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// The mode of the client.
    pub mode: Mode,
    /// Whom it acted for.
    pub tenant: Option<Arc<Tenant>>,
    /// Who sent it.
    pub actor: Arc<Actor>,
    /// Where it ran.
    pub site: Site,
    /// The statement.
    pub query: Option<Arc<Query>>,
    /// Where in the application it comes from.
    pub origin: Option<Arc<Origin>>,
    /// What it writes to, as far as its text says.
    pub writings: Arc<[Writing]>,
}

/// Whether a notice was for pgwarden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It was; the client does not read it.
    Ours,
    /// It is the client's.
    Theirs,
}

/// Collects what the triggers tell in one session. `S` stands for a statement, as whoever asks knows it.
#[derive(Debug)]
pub struct Watch<S> {
    nonce: Arc<str>,
    told: Vec<(Notice, S)>,
    fate: Fate,
    lost: u64,
}

/// What is known of the transaction so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Failed,
    /// ROLLBACK was completed: of the transaction, or back to a savepoint.
    RolledBack,
}

/// A notice whose transaction is at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told<S> {
    /// What the triggers said.
    pub notice: Notice,
    /// Of which statement.
    pub statement: S,
    /// What became of the transaction.
    pub outcome: Outcome,
}

impl<S> Watch<S> {
    /// Of a session whose triggers sign so; empty where they do not.
    #[must_use]
    pub fn new(nonce: Arc<str>) -> Self {
        Self { nonce, told: Vec::new(), fate: Fate::Open, lost: 0 }
    }

    /// Whether triggers have anything to say to it.
    #[must_use]
    pub fn listens(&self) -> bool {
        !self.nonce.is_empty()
    }

    /// A NoticeResponse, without its header; `statement` is asked for the one that runs.
    pub fn notice(&mut self, payload: &[u8], statement: impl FnOnce() -> Option<S>) -> Heard {
        let Some(notice) = Notice::read(payload, &self.nonce) else { return Heard::Theirs };
        match notice.zip(statement()).filter(|_| self.told.len() < MOST) {
            Some(told) => self.told.push(told),
            None => self.lost += 1,
        }
        Heard::Ours
    }

    /// A command was completed, with this tag.
    pub fn completed(&mut self, tag: &[u8]) -> Vec<Told<S>> {
        match tag {
            b"COMMIT" => self.end(Outcome::Committed),
            b"ROLLBACK" => {
                self.fate = Fate::RolledBack;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// A statement has failed.
    pub fn failed(&mut self) {
        self.fate = Fate::Failed;
    }

    /// ReadyForQuery, with this status.
    pub fn ready(&mut self, status: Status) -> Vec<Told<S>> {
        match (status, self.fate) {
            (Status::Idle, Fate::Open) => self.end(Outcome::Committed),
            (Status::Idle, Fate::Failed | Fate::RolledBack) => self.end(Outcome::RolledBack),
            // Back to a savepoint: what was told behind it is undone, what was told in front of it is not.
            (Status::InBlock, Fate::RolledBack) => self.end(Outcome::Unknown),
            (Status::InBlock | Status::Failed, _) => Vec::new(),
        }
    }

    /// The session has ended, whatever the server made of its transaction.
    pub fn lost(&mut self) -> Vec<Told<S>> {
        self.end(Outcome::Unknown)
    }

    /// How many notices found no place, or could not be read, since this was asked last.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    fn end(&mut self, outcome: Outcome) -> Vec<Told<S>> {
        self.fate = Fate::Open;
        let told = std::mem::take(&mut self.told);
        told.into_iter().map(|(notice, statement)| Told { notice, statement, outcome }).collect()
    }
}

impl Notice {
    /// What is found: nothing, or up to three findings of a statement.
    #[must_use]
    pub fn findings(&self, about: &Circumstances, outcome: Outcome) -> Vec<Finding> {
        let named = |writing: &&Writing| {
            writing.table == self.name && writing.schema.as_ref().is_none_or(|schema| *schema == self.schema)
        };
        let writing = about.writings.iter().find(named);
        let command = self.shown_command(writing);
        let make = |kind: Kind, would_have: WouldHave, count: u64, evidence: Option<String>| {
            self.finding(about, outcome, (kind, would_have, count), (command, evidence))
        };
        let mut findings = Vec::new();
        if self.command == NoticeCommand::Truncate {
            findings.push(make(Kind::Truncate, WouldHave::None, 0, None));
        }
        if let Some(failed) = &self.failed {
            let evidence = format!("the policy could not be evaluated: {failed}");
            findings.push(make(Kind::PolicyError, WouldHave::Refused, 0, Some(evidence)));
        }
        let effect = Effect::of(self, writing);
        if self.cascade {
            let rows = effect.refused + effect.hidden + effect.if_it_reads + effect.without_context;
            if rows > 0 {
                findings.push(make(Kind::WriteCascade, WouldHave::None, rows, None));
            }
            return findings;
        }
        if effect.without_context > 0 {
            let why = Some("there was no context".to_owned());
            let mut finding = make(Kind::WriteRefused, WouldHave::Refused, effect.without_context, why);
            finding.rule = Rule::Secondary;
            findings.push(finding);
        }
        if effect.refused > 0 {
            findings.push(make(Kind::WriteRefused, WouldHave::Refused, effect.refused, self.sampled()));
        }
        if effect.hidden > 0 {
            let would_have = WouldHave::Filtered(effect.hidden);
            findings.push(make(Kind::WriteHidden, would_have, effect.hidden, self.sampled()));
        }
        if effect.if_it_reads > 0 {
            let (kind, would_have) = match self.command {
                NoticeCommand::Insert => (Kind::WriteRefused, WouldHave::Refused),
                _ => (Kind::WriteHidden, WouldHave::Filtered(effect.if_it_reads)),
            };
            let why =
                Some("if the statement reads columns of the table, which its text does not say".to_owned());
            findings.push(make(kind, would_have, effect.if_it_reads, why));
        }
        findings
    }

    fn finding(
        &self,
        about: &Circumstances,
        outcome: Outcome,
        (kind, would_have, rows): (Kind, WouldHave, u64),
        (command, evidence): (Command, Option<String>),
    ) -> Finding {
        Finding {
            kind,
            detector: Detector::Writes,
            mode: about.mode,
            decision: Decision::Allowed,
            would_have,
            rule: Rule::Primary,
            outcome,
            count: 1,
            tenant: about.tenant.clone(),
            actor: Arc::clone(&about.actor),
            site: about.site.clone(),
            target: Target {
                schema: Some(self.schema.clone()),
                table: Some(self.name.clone()),
                column: None,
                policy: None,
            },
            command: Some(command),
            rows: Rows { returned: self.rows, foreign: Some(rows), control: None, shadow: None },
            foreign_tenants: self.tenants(about.tenant.as_deref()),
            query: about.query.clone(),
            origin: about.origin.clone(),
            evidence,
        }
    }

    /// The command that policies distinguish, or the one that the statement has.
    fn shown_command(&self, writing: Option<&Writing>) -> Command {
        match (writing.map(|writing| writing.command), self.command) {
            (Some(WritingCommand::Merge), _) => Command::Merge,
            (Some(WritingCommand::Copy), NoticeCommand::Insert) => Command::Copy,
            (_, NoticeCommand::Insert) => Command::Insert,
            (_, NoticeCommand::Update) => Command::Update,
            (_, NoticeCommand::Delete) => Command::Delete,
            (_, NoticeCommand::Truncate) => Command::Truncate,
        }
    }

    /// Whose bad rows are, other than the statement's own tenant's.
    fn tenants(&self, own: Option<&Tenant>) -> Vec<String> {
        let mut tenants: Vec<String> = Vec::new();
        for Group(_, old, new, _) in self.groups.iter().flatten() {
            for tenant in [old, new].into_iter().flatten() {
                let is_own = own.is_some_and(|own| own.id == *tenant);
                if !is_own && !tenants.contains(tenant) && tenants.len() < TENANTS {
                    tenants.push(tenant.clone());
                }
            }
        }
        tenants
    }

    fn sampled(&self) -> Option<String> {
        let (looked, rows) = self.looked.zip(self.rows)?;
        (looked < rows).then(|| format!("{looked} of {rows} rows were looked at"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(nonce: &str) -> Vec<u8> {
        let detail = r#"{"table": 7, "schema": "s", "name": "t", "command": "DELETE", "cascade": false, "rows": 2,
            "looked": 2, "groups": [[0, "b", null, 2]], "failed": null}"#;
        format!("SINFO\0VINFO\0CWS001\0M{nonce}\0D{detail}\0\0").into_bytes()
    }

    fn watch() -> Watch<u8> {
        let mut watch = Watch::new("n".into());
        assert_eq!(watch.notice(&payload("n"), || Some(1)), Heard::Ours);
        watch
    }

    fn outcomes(told: &[Told<u8>]) -> Vec<Outcome> {
        told.iter().map(|told| told.outcome).collect()
    }

    #[test]
    fn what_becomes_of_the_transaction_is_told_with_it() {
        assert_eq!(outcomes(&watch().ready(Status::Idle)), [Outcome::Committed]);
        let mut rolled_back = watch();
        assert_eq!(rolled_back.ready(Status::InBlock), []);
        assert_eq!(rolled_back.completed(b"ROLLBACK"), []);
        assert_eq!(outcomes(&rolled_back.ready(Status::Idle)), [Outcome::RolledBack]);
        let mut failed = watch();
        failed.failed();
        assert_eq!(failed.ready(Status::Failed), []);
        failed.completed(b"ROLLBACK");
        assert_eq!(outcomes(&failed.ready(Status::Idle)), [Outcome::RolledBack]);
        let mut savepoint = watch();
        savepoint.completed(b"ROLLBACK");
        assert_eq!(outcomes(&savepoint.ready(Status::InBlock)), [Outcome::Unknown]);
        assert_eq!(savepoint.ready(Status::Idle), []);
        let mut committed = watch();
        assert_eq!(outcomes(&committed.completed(b"COMMIT")), [Outcome::Committed]);
        assert_eq!(outcomes(&watch().lost()), [Outcome::Unknown]);
    }

    #[test]
    fn what_is_signed_otherwise_is_the_clients() {
        let mut watch = watch();
        assert_eq!(watch.notice(&payload("m"), || Some(1)), Heard::Theirs);
        assert_eq!(watch.notice(b"SNOTICE\0C00000\0Mhello\0\0", || Some(1)), Heard::Theirs);
        assert_eq!(watch.notice(&payload("n"), || None), Heard::Ours);
        assert_eq!(watch.take_dropped(), 1);
    }
}
