//! How far the executions of one statement were looked at.

use super::moment::Moment;
use crate::coverage::{Coverage, Detector, Uncovered};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One statement, and who has looked at how many of its executions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examined {
    /// The database.
    pub database: String,
    /// The statement's fingerprint.
    pub fingerprint: String,
    /// Its text without literals.
    pub text: Option<String>,
    /// The tables that it names.
    pub tables: BTreeSet<String>,
    /// When it was met first.
    pub first: Moment,
    /// When it was met last.
    pub last: Moment,
    /// By detector.
    pub detectors: BTreeMap<Detector, Looks>,
}

/// What a detector has looked at, and why it could not look at the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looks {
    /// Executions that it has looked at.
    pub covered: u64,
    /// Those that it could not look at, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub uncovered: BTreeMap<Uncovered, u64>,
}

/// What is known of a statement by all that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evaluation {
    /// No detector that compares could look at it: nothing is known.
    Never,
    /// Fewer executions were compared than are asked for.
    TooSeldom,
    /// Only the rows on their way to the client were compared, because it cannot be replayed.
    RowsAlone,
    /// What it returns, or writes, was compared with what the policies leave of it.
    Exact,
}

impl Evaluation {
    /// In words.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Never => "never evaluated",
            Self::TooSeldom => "too seldom",
            Self::RowsAlone => "rows only",
            Self::Exact => "evaluated",
        }
    }

    /// Whether it counts as evaluated.
    #[must_use]
    pub fn is_enough(self) -> bool {
        self >= Self::RowsAlone
    }
}

impl Examined {
    /// A statement of which nothing was looked at yet.
    #[must_use]
    pub fn new(coverage: &Coverage, at: Moment) -> Self {
        Self {
            database: coverage.site.database.to_string(),
            fingerprint: coverage.query.fingerprint.clone(),
            text: coverage.query.text.clone(),
            tables: BTreeSet::new(),
            first: at,
            last: at,
            detectors: BTreeMap::new(),
        }
    }

    /// More of its executions.
    pub fn add(&mut self, coverage: &Coverage, at: Moment) {
        self.first = self.first.min(at);
        self.last = self.last.max(at);
        self.tables.extend(coverage.tables.iter().cloned());
        if self.text.is_none() {
            self.text.clone_from(&coverage.query.text);
        }
        let looks = self.detectors.entry(coverage.detector).or_default();
        let count = match coverage.uncovered {
            None => &mut looks.covered,
            Some(reason) => looks.uncovered.entry(reason).or_default(),
        };
        *count = count.saturating_add(coverage.count);
    }

    /// What another trail says of the same statement.
    pub fn merge(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.tables.extend(other.tables.iter().cloned());
        for (detector, looks) in &other.detectors {
            let known = self.detectors.entry(*detector).or_default();
            known.covered = known.covered.saturating_add(looks.covered);
            for (reason, count) in &looks.uncovered {
                *known.uncovered.entry(*reason).or_default() += count;
            }
        }
    }

    /// Whether it could not be told what it says, and so neither of which tables: it may have to do with any.
    #[must_use]
    pub fn is_about_any_table(&self) -> bool {
        let is_unread = |looks: &Looks| looks.uncovered.contains_key(&Uncovered::Unread);
        self.tables.is_empty() && self.detectors.values().any(is_unread)
    }

    /// How often it ran: every detector tells each execution once.
    #[must_use]
    pub fn executions(&self) -> u64 {
        self.detectors.values().map(Looks::all).max().unwrap_or(0)
    }

    /// Executions that were compared with what the policies leave of them: replayed, or seen by triggers. Of those that
    /// insert what they read, triggers see one half and replays the other.
    #[must_use]
    pub fn compared(&self) -> u64 {
        let replayed = self.covered_by(Detector::Replay);
        let Some(writes) = self.detectors.get(&Detector::Writes) else { return replayed };
        let halves = writes.uncovered.get(&Uncovered::ReadsElsewhere).copied().unwrap_or_default();
        writes.covered.saturating_add(halves.min(replayed))
    }

    /// Executions whose rows were compared on their way.
    #[must_use]
    pub fn rows_compared(&self) -> u64 {
        self.covered_by(Detector::Rows)
    }

    /// What is known, where so many executions of each statement have to be compared, or all if it ran less often.
    #[must_use]
    pub fn evaluation(&self, least: u64) -> Evaluation {
        let least = least.min(self.executions()).max(1);
        // What it returns says nothing of what it writes.
        let cannot_be_compared = !self.detectors.contains_key(&Detector::Writes)
            && self
                .detectors
                .get(&Detector::Replay)
                .is_some_and(|looks| looks.covered == 0 && looks.uncovered.contains_key(&Uncovered::Unsafe));
        match (self.compared(), self.rows_compared()) {
            (compared, _) if compared >= least => Evaluation::Exact,
            (_, rows) if cannot_be_compared && rows >= least => Evaluation::RowsAlone,
            (0, 0) => Evaluation::Never,
            _ => Evaluation::TooSeldom,
        }
    }

    /// Why executions were not looked at, by detectors that compare; the most frequent reason first.
    #[must_use]
    pub fn reasons(&self) -> Vec<(Detector, Uncovered, u64)> {
        let comparing = [Detector::Rows, Detector::Writes, Detector::Replay];
        let mut reasons: Vec<_> = comparing
            .into_iter()
            .filter_map(|detector| Some((detector, self.detectors.get(&detector)?)))
            .flat_map(|(detector, looks)| {
                looks.uncovered.iter().map(move |(why, count)| (detector, *why, *count))
            })
            .collect();
        reasons.sort_by(|one, other| other.2.cmp(&one.2).then(one.0.cmp(&other.0)));
        reasons
    }

    fn covered_by(&self, detector: Detector) -> u64 {
        self.detectors.get(&detector).map_or(0, |looks| looks.covered)
    }
}

impl Looks {
    /// All executions of which it was told.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.uncovered.values().fold(self.covered, |sum, count| sum.saturating_add(*count))
    }
}
