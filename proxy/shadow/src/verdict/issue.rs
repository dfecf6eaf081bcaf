//! Findings that are the same one, met again and again.

use super::moment::Moment;
use super::tally::Tally;
use crate::coverage::Detector;
use crate::finding::{Actor, Command, Decision, Origin, Outcome, Rows, Rule, WouldHave};
use crate::kind::{Kind, Severity};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Foreign tenants, and traces, that are kept of a finding.
const MOST_FOREIGN: usize = 20;
const MOST_TRACES: usize = 5;

/// What makes two findings the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The database.
    pub database: String,
    /// The kind.
    pub kind: Kind,
    /// The table, `schema.table` as far as it is known.
    pub table: Option<String>,
    /// The command.
    pub command: Option<Command>,
    /// The policy.
    pub policy: Option<String>,
    /// The statement's fingerprint.
    pub fingerprint: Option<String>,
}

/// A finding of the trail: met so many times, most often once.
#[derive(Debug, Clone)]
pub struct Occurrence {
    /// The name that is made of the key.
    pub id: String,
    /// Which finding it is.
    pub key: Key,
    /// When it was met first.
    pub first: Moment,
    /// When it was met last.
    pub at: Moment,
    /// How often.
    pub count: u64,
    /// Who found it.
    pub detector: Detector,
    /// What became of the statement.
    pub decision: Decision,
    /// What would have become of it.
    pub would_have: WouldHave,
    /// Whether its cause is another finding.
    pub rule: Rule,
    /// What became of the transaction.
    pub outcome: Outcome,
    /// For whom the statement acted; `None` without a context.
    pub tenant: Option<String>,
    /// Who sent it.
    pub actor: Actor,
    /// How many rows.
    pub rows: Rows,
    /// Whose rows.
    pub foreign_tenants: Vec<String>,
    /// The statement without literals.
    pub text: Option<String>,
    /// Where in the application it comes from.
    pub origin: Option<Origin>,
    /// What the detector adds.
    pub evidence: Option<String>,
}

/// Whether a finding still counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Standing {
    /// It does.
    #[default]
    Open,
    /// It was said to be mended, and was met again.
    Reopened(Disposition),
    /// It was said to be mended, and was not met since.
    Resolved(Disposition),
    /// It does not count until then.
    Ignored(Disposition),
    /// It was met last before the table's policies were staged as they are now.
    Outdated {
        /// When that was.
        since: Moment,
    },
    /// It follows from another finding of the same statements.
    Secondary,
}

impl Standing {
    /// Whether it counts.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open | Self::Reopened(_))
    }

    /// One word.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Reopened(_) => "reopened",
            Self::Resolved(_) => "resolved",
            Self::Ignored(_) => "ignored",
            Self::Outdated { .. } => "outdated",
            Self::Secondary => "secondary",
        }
    }
}

/// What somebody has said about a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disposition {
    /// When.
    pub at: Moment,
    /// Who, at the server.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// Until when, for what is ignored.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<Moment>,
}

/// One finding: all its occurrences together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// Its name, the same in every report.
    pub id: String,
    /// What makes it this one.
    #[serde(flatten)]
    pub key: Key,
    /// How much it weighs.
    pub severity: Severity,
    /// Whether it counts.
    #[serde(default)]
    pub standing: Standing,
    /// When it was met first.
    pub first: Moment,
    /// When it was met last.
    pub last: Moment,
    /// How often.
    pub count: u64,
    /// How often of these its cause was another finding.
    pub secondary: u64,
    /// How often the transaction was rolled back.
    pub rolled_back: u64,
    /// How often the statement was refused, or cut off.
    pub refused: u64,
    /// How often it would have been refused.
    pub would_refuse: u64,
    /// How many rows would have been hidden.
    pub would_hide: u64,
    /// How many rows of other tenants were met.
    pub foreign_rows: u64,
    /// How often there was no context.
    pub without_context: u64,
    /// The statement without literals.
    pub text: Option<String>,
    /// Who found it.
    pub detectors: BTreeSet<Detector>,
    /// Those for whom the statements acted.
    pub tenants: Tally,
    /// Those whose rows were met.
    pub foreign_tenants: BTreeSet<String>,
    /// The `application_name`s.
    pub applications: Tally,
    /// The users.
    pub users: Tally,
    /// The services.
    pub services: Tally,
    /// Places in the application: route and file.
    pub origins: Tally,
    /// Traces, the last ones.
    pub traces: Vec<String>,
    /// What detectors add.
    pub evidence: Tally,
}

impl Issue {
    /// The finding that an occurrence is of, without it.
    #[must_use]
    pub fn new(occurrence: &Occurrence) -> Self {
        Self {
            id: occurrence.id.clone(),
            key: occurrence.key.clone(),
            severity: occurrence.key.kind.severity(),
            standing: Standing::Open,
            first: occurrence.first,
            last: occurrence.at,
            count: 0,
            secondary: 0,
            rolled_back: 0,
            refused: 0,
            would_refuse: 0,
            would_hide: 0,
            foreign_rows: 0,
            without_context: 0,
            text: None,
            detectors: BTreeSet::new(),
            tenants: Tally::default(),
            foreign_tenants: BTreeSet::new(),
            applications: Tally::default(),
            users: Tally::default(),
            services: Tally::default(),
            origins: Tally::default(),
            traces: Vec::new(),
            evidence: Tally::default(),
        }
    }

    /// Another occurrence of it.
    pub fn add(&mut self, occurrence: &Occurrence) {
        let count = occurrence.count;
        let counted = |is: bool| if is { count } else { 0 };
        self.first = self.first.min(occurrence.first);
        self.last = self.last.max(occurrence.at);
        self.count = self.count.saturating_add(count);
        self.secondary += counted(occurrence.rule == Rule::Secondary);
        self.rolled_back += counted(occurrence.outcome == Outcome::RolledBack);
        self.refused += counted(occurrence.decision != Decision::Allowed);
        match occurrence.would_have {
            WouldHave::Filtered(rows) => self.would_hide = self.would_hide.saturating_add(rows),
            WouldHave::Refused => self.would_refuse += count,
            WouldHave::None => (),
        }
        self.foreign_rows = self.foreign_rows.saturating_add(occurrence.rows.foreign.unwrap_or(0));
        self.detectors.insert(occurrence.detector);
        if self.text.is_none() {
            self.text.clone_from(&occurrence.text);
        }
        self.add_people(occurrence);
        self.add_origin(occurrence);
    }

    fn add_people(&mut self, occurrence: &Occurrence) {
        let (count, actor) = (occurrence.count, &occurrence.actor);
        match &occurrence.tenant {
            Some(tenant) => self.tenants.add(tenant, count),
            None => self.without_context += count,
        }
        let room = MOST_FOREIGN.saturating_sub(self.foreign_tenants.len());
        self.foreign_tenants.extend(occurrence.foreign_tenants.iter().take(room).cloned());
        self.users.add(&actor.user, count);
        for (name, tally) in [
            (&actor.application_name, &mut self.applications),
            (&actor.service, &mut self.services),
            (&occurrence.evidence, &mut self.evidence),
        ] {
            if let Some(name) = name.as_deref().filter(|name| !name.is_empty()) {
                tally.add(name, count);
            }
        }
    }

    fn add_origin(&mut self, occurrence: &Occurrence) {
        let Some(origin) = &occurrence.origin else { return };
        let place: Vec<&str> =
            [&origin.route, &origin.file].into_iter().flatten().map(String::as_str).collect();
        if !place.is_empty() {
            self.origins.add(&place.join(" · "), occurrence.count);
        }
        if let Some(trace) = origin.trace_id.as_ref().filter(|trace| !self.traces.contains(trace)) {
            self.traces.truncate(MOST_TRACES - 1);
            self.traces.insert(0, trace.clone());
        }
    }
}
