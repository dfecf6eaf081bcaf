//! What a trail says, added up: findings, what was looked at, steps, services, and when pgwarden ran.

use super::coverage::Examined;
use super::issue::{Issue, Key, Occurrence};
use super::milestone::{Milestone, Step, histories};
use super::moment::Moment;
use super::runs::Runs;
use super::service::{ServiceAccount, ServiceUse};
use super::timeline::Timeline;
use crate::catalog::PolicyDigest;
use crate::coverage::{Coverage, Detector};
use crate::finding::Query;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Findings, and statements, that are kept. No application has so many; one that builds its SQL out of values may.
const MOST: usize = 50_000;
/// Events that are kept.
const MOST_EVENTS: usize = 2_000;

/// Something that a record says.
#[derive(Debug, Clone)]
pub enum Fact {
    /// The policies would have changed something.
    Found(Box<Occurrence>),
    /// Executions were looked at, or could not be.
    Covered(Box<Coverage>),
    /// Somebody took a step.
    Step(Box<Milestone>),
    /// What the session of a service did up to now.
    Service(Box<ServiceAccount>),
    /// What the policies of tables say from now on, by database and table, for which something is staged.
    Policies(String, BTreeMap<String, PolicyDigest>),
    /// Something happened to pgwarden, or to the policies.
    Event(Happening, String),
    /// So many events found no place in the trail.
    Lost(u64),
    /// Anything else.
    Other,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// pgwarden has started.
    Started,
    /// It stops.
    Stopped,
    /// Its configuration was read again.
    Reloaded,
    /// The policies of a database are others.
    PoliciesChanged,
    /// The trail itself has something to say: a torn tail, a clock that went backwards.
    Trail,
}

impl Happening {
    /// In words.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Started => "pgwarden started",
            Self::Stopped => "pgwarden stopped",
            Self::Reloaded => "configuration reloaded",
            Self::PoliciesChanged => "policies changed",
            Self::Trail => "trail",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Moment,
    /// What.
    pub what: Happening,
    /// The database, a hash, a reason.
    pub detail: String,
}

/// What one or more trails say.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    pub(super) issues: BTreeMap<Key, Issue>,
    /// By trail, database and fingerprint.
    pub(super) examined: BTreeMap<(String, String, String), Examined>,
    pub(super) milestones: BTreeMap<(String, i64), Milestone>,
    pub(super) services: ServiceUse,
    pub(super) events: Vec<Event>,
    pub(super) timeline: Timeline,
    pub(super) runs: Runs,
    pub(super) lost: u64,
    /// By trail, database and table; nothing once no policy is staged there any more.
    digests: BTreeMap<(String, String, String), Option<PolicyDigest>>,
    /// When the policies of a table were changed by hand last, by database and table.
    pub(super) by_hand: BTreeMap<(String, String), Moment>,
    /// Findings and statements that found no place here.
    pub(super) unlisted: u64,
    /// What fingerprints stand for: a trail says it once.
    pub(super) texts: BTreeMap<String, String>,
    since: Option<Moment>,
}

impl Ledger {
    /// An empty one. Findings and executions from before `since` are left out; steps never are.
    #[must_use]
    pub fn new(since: Option<Moment>) -> Self {
        Self { since, ..Self::default() }
    }

    /// The begin of what counts, if not everything does.
    #[must_use]
    pub fn since(&self) -> Option<Moment> {
        self.since
    }

    /// Adds what a record says. `source` names the trail: its records have to come in their order.
    pub fn take(&mut self, source: &str, at: Moment, fact: Fact) {
        match &fact {
            Fact::Event(Happening::Started, _) => self.runs.started(source, at),
            Fact::Event(Happening::Stopped, _) => self.runs.stopped(source, at),
            _ => self.runs.wrote(source, at),
        }
        if let Fact::Covered(coverage) = &fact {
            self.read(&coverage.query);
        }
        let is_old = self.since.is_some_and(|since| at < since);
        match fact {
            Fact::Found(_) | Fact::Covered(_) | Fact::Service(_) | Fact::Lost(_) if is_old => (),
            Fact::Found(occurrence) => self.found(&occurrence),
            Fact::Covered(coverage) => self.covered(source, at, &coverage),
            Fact::Step(milestone) => self.step(source, &milestone),
            Fact::Service(account) => self.services.take(source, *account),
            Fact::Lost(count) => self.lost = self.lost.saturating_add(count),
            Fact::Policies(database, tables) => self.policies(source, at, &database, tables),
            Fact::Event(what, detail) => self.happened(at, what, detail),
            Fact::Other => (),
        }
    }

    fn happened(&mut self, at: Moment, what: Happening, detail: String) {
        if self.events.len() < MOST_EVENTS {
            self.events.push(Event { at, what, detail });
        }
    }

    fn read(&mut self, query: &Query) {
        let Some(text) = &query.text else { return };
        if self.texts.len() < MOST && !self.texts.contains_key(&query.fingerprint) {
            self.texts.insert(query.fingerprint.clone(), text.clone());
        }
    }

    fn found(&mut self, occurrence: &Occurrence) {
        self.timeline.add(occurrence.at, occurrence.key.kind.severity(), occurrence.count);
        let is_known = self.issues.contains_key(&occurrence.key);
        if !is_known && self.issues.len() >= MOST {
            self.unlisted = self.unlisted.saturating_add(occurrence.count);
            return;
        }
        let issue = self.issues.entry(occurrence.key.clone()).or_insert_with(|| Issue::new(occurrence));
        issue.add(occurrence);
    }

    fn covered(&mut self, source: &str, at: Moment, coverage: &Coverage) {
        let database = coverage.site.database.to_string();
        let key = (source.to_owned(), database, coverage.query.fingerprint.clone());
        if self.examined.len() >= MOST && !self.examined.contains_key(&key) {
            self.unlisted = self.unlisted.saturating_add(coverage.count);
            return;
        }
        self.examined.entry(key).or_insert_with(|| Examined::new(coverage, at)).add(coverage, at);
    }

    /// What was compared with other policies than those that are staged now says nothing about these.
    fn step(&mut self, source: &str, milestone: &Milestone) {
        let key = (milestone.database.clone(), milestone.id);
        self.milestones.insert(key, milestone.clone());
        if !matches!(milestone.step, Step::Stage | Step::Unstage) {
            return;
        }
        let histories = histories(&self.steps());
        let database = &milestone.database;
        for table in &milestone.tables {
            let since = histories.get(&(database.clone(), table.clone())).and_then(|history| history.since);
            // It is not the last word about this table.
            if since != Some(milestone.at) {
                continue;
            }
            self.forget(source, database, table);
        }
    }

    /// What policies and triggers have said about a table's statements.
    fn forget(&mut self, source: &str, database: &str, table: &str) {
        let about_it = self.examined.iter_mut().filter(|((from, within, _), one)| {
            from == source && within == database && one.tables.iter().any(|named| is_same(named, table))
        });
        for (_, examined) in about_it {
            examined.detectors.remove(&Detector::Replay);
            examined.detectors.remove(&Detector::Writes);
        }
    }

    /// Where somebody has changed policies, and no command has, everything begins anew.
    fn policies(
        &mut self,
        source: &str,
        at: Moment,
        database: &str,
        mut tables: BTreeMap<String, PolicyDigest>,
    ) {
        let of_source = |(from, within, _): &&(String, String, String)| from == source && within == database;
        let known = self.digests.keys().filter(of_source).map(|(_, _, table)| table.clone());
        let all: BTreeSet<String> = known.chain(tables.keys().cloned()).collect();
        for table in all {
            let now = tables.remove(&table);
            let key = (source.to_owned(), database.to_owned(), table.clone());
            let is_by_hand = match (self.digests.insert(key, now.clone()), now) {
                (None, _) | (Some(None), None) => false,
                (Some(Some(before)), Some(now)) => before.is_changed_by_hand(&now),
                (Some(Some(_)), None) | (Some(None), Some(_)) => true,
            };
            if is_by_hand {
                self.forget(source, database, &table);
                let detail = format!("{database}: those of {table} by hand, its observation begins anew");
                self.happened(at, Happening::PoliciesChanged, detail);
                self.by_hand.insert((database.to_owned(), table), at);
            }
        }
    }

    /// Whether a trail has this step.
    #[must_use]
    pub fn knows_step(&self, database: &str, id: i64) -> bool {
        self.milestones.contains_key(&(database.to_owned(), id))
    }

    /// A step that no trail has yet.
    pub fn note_step(&mut self, milestone: &Milestone) {
        self.step("", milestone);
    }

    /// The steps in their order.
    pub(super) fn steps(&self) -> Vec<Milestone> {
        self.milestones.values().cloned().collect()
    }
}

/// Whether two names can be the same table. One without its schema can be that of any.
#[must_use]
pub fn is_same(one: &str, other: &str) -> bool {
    let bare = |name: &str| name.rsplit_once('.').map_or(name, |(_, table)| table).to_owned();
    let is_qualified = one.contains('.') && other.contains('.');
    one == other || (!is_qualified && bare(one) == bare(other))
}
