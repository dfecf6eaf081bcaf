//! The report: everything that is known, and what follows from it for each table.

use super::coverage::{Evaluation, Examined};
use super::issue::{Disposition, Issue};
use super::ledger::Event;
use super::milestone::{Milestone, Stage};
use super::moment::Moment;
use super::service::ServiceAccount;
use super::timeline::Timeline;
use serde::{Deserialize, Serialize};

/// The version of the JSON form.
pub const VERSION: u32 = 1;

/// What has to be there before a table can be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Days for which its statements were watched.
    pub min_days: u32,
    /// Executions of each statement that were compared; all of them where it ran less often.
    pub min_replays: u64,
    /// The share of executions, in millionths, that may be of statements that were not evaluated.
    pub max_uncovered: u32,
}

/// The answer for one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Something would break: it has to be mended, or ignored with a reason.
    #[serde(rename = "NOT READY")]
    NotReady,
    /// Nothing was found, but too little was looked at.
    #[serde(rename = "INSUFFICIENT DATA")]
    InsufficientData,
    /// Enough was looked at, and nothing would break.
    #[serde(rename = "READY")]
    Ready,
}

impl Verdict {
    /// As it is printed.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotReady => "NOT READY",
            Self::InsufficientData => "INSUFFICIENT DATA",
            Self::Ready => "READY",
        }
    }
}

/// Why a table is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What it makes of the verdict.
    pub verdict: Verdict,
    /// For programs.
    pub code: Cause,
    /// For people.
    pub text: String,
}

/// Why a table is not ready, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Findings that count.
    Findings,
    /// A policy that could not be staged.
    NotStaged,
    /// Something in the database that promotion would run into.
    Blocker,
    /// Its policies rely on those of another table.
    Dependency,
    /// Nothing is staged.
    Unstaged,
    /// Not watched for long enough.
    TooShort,
    /// No statement was seen.
    NothingSeen,
    /// Statements that were not evaluated, or too seldom.
    NotEvaluated,
    /// Statements that the server knows, and pgwarden does not.
    Unseen,
    /// The trail is not whole.
    Trail,
    /// The database was not asked what promotion would run into.
    NotAsked,
    /// Nothing that keeps it from being ready, but it has to be known.
    Note,
}

/// What is known of one table, and what follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The database.
    pub database: String,
    /// `schema.table`.
    pub table: String,
    /// Where it stands.
    pub stage: Stage,
    /// Since when its policies are staged as they are.
    pub since: Option<Moment>,
    /// The answer.
    pub verdict: Verdict,
    /// Why, the gravest first.
    pub reasons: Vec<Reason>,
    /// Seconds for which its statements were watched.
    pub observed_seconds: u64,
    /// Statements that name it.
    pub statements: usize,
    /// Those of them that are evaluated.
    pub evaluated: usize,
    /// Executions of all of them.
    pub executions: u64,
    /// Executions that were compared with what the policies leave of them.
    pub compared: u64,
    /// With so many that differed in nothing, at most so many millionths of executions differ: 3/n, at 95 % confidence.
    /// `None` where nothing was compared, or something differed.
    pub bound: Option<u64>,
    /// The findings that count against it.
    pub findings: Vec<String>,
    /// Findings that are warnings, or do not count.
    pub others: usize,
}

impl Judgement {
    /// The answer is that of its gravest reason.
    pub(super) fn conclude(&mut self) {
        self.reasons.sort_by_key(|reason| (reason.verdict, reason.code));
        self.verdict = self.reasons.first().map_or(Verdict::Ready, |reason| reason.verdict);
    }
}

/// A statement, and how far it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// What was looked at.
    #[serde(flatten)]
    pub examined: Examined,
    /// How often it ran.
    pub executions: u64,
    /// What follows.
    pub evaluation: Evaluation,
    /// Who has accepted that it is not evaluated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub accepted: Option<Disposition>,
}

/// A statement that the server has met and pgwarden has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unseen {
    /// The database.
    pub database: String,
    /// Its fingerprint, by pgwarden's own rules.
    pub fingerprint: String,
    /// Its text, as pg_stat_statements holds it.
    pub text: String,
    /// Who ran it.
    pub role: String,
    /// How often.
    pub calls: u64,
    /// The tables that it names.
    pub tables: Vec<String>,
    /// Who has accepted that it is not evaluated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub accepted: Option<Disposition>,
}

/// One trail that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    /// Its directory.
    pub directory: String,
    /// Records in it.
    pub records: u64,
    /// The files they are in.
    pub segments: u64,
    /// The time of the first.
    pub first: Option<Moment>,
    /// The time of the last.
    pub last: Option<Moment>,
    /// Whether it is whole.
    pub chain: Chain,
}

/// Whether a trail is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Chain {
    /// Every record follows from the one before it.
    Intact {
        /// What else was shown: checkpoints, signatures.
        detail: String,
    },
    /// It does not.
    Broken {
        /// Where, and how.
        why: String,
    },
}

impl Chain {
    /// Whether it is.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        matches!(self, Self::Intact { .. })
    }
}

/// Everything that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this form.
    pub v: u32,
    /// When it was made.
    pub generated: Moment,
    /// The pgwarden that made it.
    pub version: String,
    /// Findings and executions from before are left out.
    pub since: Option<Moment>,
    /// What has to be there before a table can be ready.
    pub rules: Rules,
    /// Where all this comes from.
    pub trails: Vec<Trail>,
    /// What was not asked, and so is not known.
    pub caveats: Vec<String>,
    /// By table, the worst first.
    pub tables: Vec<Judgement>,
    /// How often findings were met, over time.
    pub timeline: Timeline,
    /// The gravest first.
    pub findings: Vec<Issue>,
    /// Those that were not evaluated first.
    pub statements: Vec<Statement>,
    /// Those that ran most often first.
    pub unseen: Vec<Unseen>,
    /// The latest first.
    pub services: Vec<ServiceAccount>,
    /// The latest first.
    pub milestones: Vec<Milestone>,
    /// In their order.
    pub events: Vec<Event>,
}
