//! What the triggers have told in a transaction, until it is known what becomes of it.

use super::effect::Effect;
use super::notice::{Group, Notice, NoticeCommand};
use crate::coverage::Detector;
use crate::finding::{
    Actor, Command, Decision, Finding, Origin, Outcome, Rows, Rule, Site, Target, Tenant, WouldHave,
};
use crate::kind::Kind;
use crate::queries::Known;
use pgwarden_sql::{Doing, Writing, WritingCommand};
use pgwarden_tenant::Mode;
use pgwarden_wire::Status;
use std::sync::Arc;

/// Notices that are kept at most: a transaction of a million statements says no more than its first thousand.
const MOST: usize = 1000;
/// Tenants that a finding names.
const TENANTS: usize = 5;

/// A statement that has written: whose it was, and what it says.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The mode of the client.
    pub mode: Mode,
    /// Whom it acted for.
    pub tenant: Option<Arc<Tenant>>,
    /// Who sent it.
    pub actor: Arc<Actor>,
    /// Where it ran.
    pub site: Site,
    /// The statement.
    pub known: Option<Arc<Known>>,
    /// Where in the application it comes from.
    pub origin: Option<Arc<Origin>>,
}

/// Hears of notices whose transaction is at its end. Whoever reads the statements' texts needs a deep stack, and so does it
/// elsewhere. Never waits.
pub trait Judge: std::fmt::Debug + Send + Sync {
    /// What triggers have told, and what became of it.
    fn told(&self, told: Told);

    /// So many notices found no place, or could not be read.
    fn dropped(&self, count: u64);
}

/// A notice that is signed rightly, whether it can be read or not.
#[derive(Debug)]
pub struct Word(Option<Notice>);

/// How much of what a statement wrote the findings will be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// All that the trigger was about.
    Whole,
    /// The trigger has looked at some of the rows only, or there was no place for what it said.
    Part,
}

/// Collects what the triggers tell in one session.
#[derive(Debug)]
pub struct Ledger {
    ears: Option<(Arc<str>, Arc<dyn Judge>)>,
    told: Vec<(Notice, Statement)>,
    fate: Fate,
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
#[derive(Debug, Clone)]
pub struct Told {
    /// What the triggers said.
    pub notice: Notice,
    /// Of which statement.
    pub statement: Statement,
    /// What became of the transaction.
    pub outcome: Outcome,
}

impl Ledger {
    /// Of a session whose triggers sign so; nothing where they do not speak.
    #[must_use]
    pub fn new(ears: Option<(Arc<str>, Arc<dyn Judge>)>) -> Self {
        Self { ears, told: Vec::new(), fate: Fate::Open }
    }

    /// Whether triggers speak.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.ears.is_some()
    }

    /// A NoticeResponse, without its header; `None`: it is the client's.
    #[must_use]
    pub fn hear(&self, payload: &[u8]) -> Option<Word> {
        let (nonce, _) = self.ears.as_ref()?;
        Notice::read(payload, nonce).map(Word)
    }

    /// What was heard is of this statement, if anything is known of it. Says how far its rows were looked at.
    pub fn take(&mut self, Word(notice): Word, statement: Option<Statement>) -> Heard {
        let heard = match &notice {
            Some(notice) if notice.is_whole() => Heard::Whole,
            _ => Heard::Part,
        };
        match notice.zip(statement).filter(|_| self.told.len() < MOST) {
            Some(told) => {
                self.told.push(told);
                heard
            }
            None => {
                if let Some((_, judge)) = &self.ears {
                    judge.dropped(1);
                }
                Heard::Part
            }
        }
    }

    /// A command was completed, with this tag.
    pub fn completed(&mut self, tag: &[u8]) {
        match tag {
            b"COMMIT" => self.end(Outcome::Committed),
            b"ROLLBACK" => self.fate = Fate::RolledBack,
            _ => (),
        }
    }

    /// A statement has failed.
    pub fn failed(&mut self) {
        self.fate = Fate::Failed;
    }

    /// ReadyForQuery, with this status.
    pub fn ready(&mut self, status: Status) {
        match (status, self.fate) {
            (Status::Idle, Fate::Open) => self.end(Outcome::Committed),
            (Status::Idle, Fate::Failed | Fate::RolledBack) => self.end(Outcome::RolledBack),
            // Back to a savepoint: what was told behind it is undone, what was told in front of it is not.
            (Status::InBlock, Fate::RolledBack) => self.end(Outcome::Unknown),
            (Status::InBlock | Status::Failed, _) => (),
        }
    }

    fn end(&mut self, outcome: Outcome) {
        self.fate = Fate::Open;
        let Some((_, judge)) = &self.ears else { return };
        for (notice, statement) in self.told.drain(..) {
            judge.told(Told { notice, statement, outcome });
        }
    }
}

/// The connection is gone, and nobody knows what the server made of the transaction.
impl Drop for Ledger {
    fn drop(&mut self) {
        self.end(Outcome::Unknown);
    }
}

impl Told {
    /// What is found. This parses the statement's text: it is for a thread with a deep stack.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let doing = self.statement.known.as_ref().and_then(|known| known.doing());
        self.notice.findings(&self.statement, doing, self.outcome)
    }
}

impl Notice {
    /// What is found: nothing, or up to three findings of a statement.
    #[must_use]
    fn findings(&self, about: &Statement, doing: Option<&Doing>, outcome: Outcome) -> Vec<Finding> {
        let writings = doing.map_or(&[][..], |doing| &doing.writings);
        let named = |writing: &&Writing| {
            writing.table == self.name && writing.schema.as_ref().is_none_or(|schema| *schema == self.schema)
        };
        let writing = writings.iter().find(named);
        let command = self.shown_command(writing);
        let make = |kind: Kind, would_have: WouldHave, count: u64, evidence: Option<String>| {
            self.finding(about, outcome, (kind, would_have, count), (command, evidence))
        };
        let mut findings = Vec::new();
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
        let bad = effect.refused + effect.hidden + effect.if_it_reads;
        if let Some(why) = self.doubt(writing, doing).filter(|_| bad > 0) {
            findings.push(make(Kind::PolicyError, WouldHave::Refused, bad, Some(why.to_owned())));
            return findings;
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

    /// Why nobody can tell what the policies would do about bad rows.
    fn doubt(&self, writing: Option<&Writing>, doing: Option<&Doing>) -> Option<&'static str> {
        let (writes, reads) =
            doing.map_or((false, false), |doing| (!doing.writings.is_empty(), !doing.reads.is_empty()));
        match writing.map(|writing| writing.command) {
            // With the rights of a view's owner, or of a trigger's, PostgreSQL may refuse nothing.
            _ if self.is_of_a_trigger() => {
                Some("written by a trigger: whose policies count there is not told")
            }
            None if writes => {
                Some("written through a view or a trigger: whose policies count there is not told")
            }
            // A row that is not read any more is not refused, and it may be one that conflicts today.
            Some(WritingCommand::InsertOrSkip) if reads => {
                Some("the rows are read before they are inserted: whether they will be is not told")
            }
            _ => None,
        }
    }

    fn finding(
        &self,
        about: &Statement,
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
            query: about.known.as_ref().map(|known| Arc::clone(&known.query)),
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

    /// Whether all rows were looked at, and nothing failed.
    fn is_whole(&self) -> bool {
        self.failed.is_none() && self.looked.zip(self.rows).is_none_or(|(looked, rows)| looked >= rows)
    }

    fn sampled(&self) -> Option<String> {
        let (looked, rows) = self.looked.zip(self.rows)?;
        (looked < rows).then(|| format!("{looked} of {rows} rows were looked at"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    #[derive(Debug, Default)]
    struct Deposited(Mutex<(Vec<Told>, u64)>);

    impl Judge for Deposited {
        fn told(&self, told: Told) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).0.push(told);
        }

        fn dropped(&self, count: u64) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).1 += count;
        }
    }

    fn payload(nonce: &str) -> Vec<u8> {
        let detail = r#"{"table": 7, "schema": "s", "name": "t", "command": "DELETE", "cascade": false, "rows": 2,
            "looked": 2, "groups": [[0, "b", null, 2]], "failed": null}"#;
        format!("SINFO\0VINFO\0CWS001\0M{nonce}\0D{detail}\0\0").into_bytes()
    }

    fn statement() -> Statement {
        let (tenant, known, origin) = (None, None, None);
        Statement { mode: Mode::Shadow, tenant, actor: Arc::default(), site: Site::default(), known, origin }
    }

    /// What is told of one notice when this has happened behind it.
    fn outcomes(happens: impl FnOnce(&mut Ledger)) -> Vec<Outcome> {
        let heard: Arc<Deposited> = Arc::default();
        let judge: Arc<dyn Judge> = Arc::<Deposited>::clone(&heard);
        let mut ledger = Ledger::new(Some(("n".into(), judge)));
        let word = ledger.hear(&payload("n")).expect("it is ours");
        ledger.take(word, Some(statement()));
        happens(&mut ledger);
        drop(ledger);
        let told = &heard.0.lock().unwrap_or_else(PoisonError::into_inner).0;
        told.iter().map(|told| told.outcome).collect()
    }

    #[test]
    fn what_becomes_of_the_transaction_is_told_with_it() {
        assert_eq!(outcomes(|ledger| ledger.ready(Status::Idle)), [Outcome::Committed]);
        let rolled_back = outcomes(|ledger| {
            ledger.ready(Status::InBlock);
            ledger.completed(b"ROLLBACK");
            ledger.ready(Status::Idle);
        });
        assert_eq!(rolled_back, [Outcome::RolledBack]);
        let failed = outcomes(|ledger| {
            ledger.failed();
            ledger.ready(Status::Failed);
            ledger.completed(b"ROLLBACK");
            ledger.ready(Status::Idle);
        });
        assert_eq!(failed, [Outcome::RolledBack]);
        let savepoint = outcomes(|ledger| {
            ledger.completed(b"ROLLBACK");
            ledger.ready(Status::InBlock);
            ledger.ready(Status::Idle);
        });
        assert_eq!(savepoint, [Outcome::Unknown]);
        assert_eq!(outcomes(|ledger| ledger.completed(b"COMMIT")), [Outcome::Committed]);
        assert_eq!(outcomes(|_| ()), [Outcome::Unknown]);
    }

    #[test]
    fn what_is_signed_otherwise_is_the_clients() {
        let heard: Arc<Deposited> = Arc::default();
        let judge: Arc<dyn Judge> = Arc::<Deposited>::clone(&heard);
        let mut ledger = Ledger::new(Some(("n".into(), judge)));
        assert!(ledger.hear(&payload("m")).is_none());
        assert!(ledger.hear(b"SNOTICE\0C00000\0Mhello\0\0").is_none());
        assert!(Ledger::new(None).hear(&payload("n")).is_none());
        let word = ledger.hear(&payload("n")).expect("it is ours");
        ledger.take(word, None);
        assert_eq!(heard.0.lock().unwrap_or_else(PoisonError::into_inner).1, 1);
    }

    #[test]
    fn a_statement_that_does_not_say_what_it_reads_leaves_a_doubt() {
        let notice = Notice::read(&payload("n"), "n").flatten().expect("a notice");
        let told = Told { notice, statement: statement(), outcome: Outcome::Committed };
        let found = told.findings();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].kind, found[0].would_have), (Kind::WriteHidden, WouldHave::Filtered(2)));
        assert_eq!(found[0].foreign_tenants, ["b"]);
    }
}
