//! The guard: statements that would change a protected setting, or the role.
//!
//! Tokens decide. The scan of `pgwarden_sql` has marked every statement already, so that an ordinary one costs a few
//! comparisons here; one that is marked is looked at token by token, and only where that leaves a doubt is it parsed,
//! once by text, on a thread of its own. What cannot be parsed stays suspected.

use crate::offence::Offence;
use crate::protected::Protected;
use crate::suspicion::{self, Suspicion};
use crate::texts::Texts;
use crate::verdict::Verdict;
use pgwarden_session::Subject;
use pgwarden_sql::Script;

/// `pg_catalog.set_config(text, text, boolean)`; system OIDs never change (`pg_proc.dat`).
const SET_CONFIG_OID: u32 = 2078;

/// `query_to_xml`, `cursor_to_xml` and their kin, `ts_rewrite(tsquery, text)` and both `ts_stat`.
const RUNS_TEXT_OIDS: [u32; 8] = [2924, 2925, 2927, 2928, 2930, 3685, 3689, 3690];

/// The first OID of what is not PostgreSQL's own (`FirstNormalObjectId`, `access/transam.h`).
const FIRST_NORMAL_OID: u32 = 16_384;

/// What becomes of what the guard finds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stance {
    /// It is refused in `enforce`, and counted in `shadow`.
    #[default]
    Reject,
    /// It is counted.
    Record,
    /// Nothing is looked for.
    Off,
}

/// What a look at a subject gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inspection {
    /// Nothing.
    Clean,
    /// This.
    Found(Offence),
    /// The text has to be parsed first: see [`Guard::parse`].
    Unparsed,
}

/// The guard, with what it knows of texts; shared by all clients.
#[derive(Debug, Default)]
pub struct Guard {
    protected: Protected,
    stance: Stance,
    verdicts: Texts<Verdict>,
}

impl Guard {
    /// A guard that knows no text yet.
    #[must_use]
    pub fn new(protected: Protected, stance: Stance) -> Self {
        Self { protected, stance, verdicts: Texts::default() }
    }

    /// What it protects.
    #[must_use]
    pub fn protected(&self) -> &Protected {
        &self.protected
    }

    /// What becomes of what it finds.
    #[must_use]
    pub fn stance(&self) -> Stance {
        self.stance
    }

    /// Whether the values bound to a statement have to be looked at: it calls a function that could run them.
    pub(crate) fn reads_values(&self, text: &[u8], script: &Script) -> bool {
        self.stance != Stance::Off
            && !self.protected.is_empty()
            && script.statements().iter().any(|one| suspicion::hands_on(text, one))
    }

    /// What there is in what a client wants to run.
    #[must_use]
    pub fn inspect(&self, subject: Subject<'_>) -> Inspection {
        match subject {
            _ if self.protected.is_empty() || self.stance == Stance::Off => Inspection::Clean,
            Subject::Function(oid) => self.inspect_function(oid),
            Subject::Text { script: Err(_), .. } => Inspection::Clean,
            Subject::Text { text, script: Ok(script) } => {
                let statements = script.statements().iter();
                self.settle(text, statements.map(|one| suspicion::of_statement(&self.protected, text, one)))
            }
            Subject::Values { values, .. } if !self.protected.is_named_in(values) => Inspection::Clean,
            Subject::Values { text, script, .. } => {
                let statements = script.statements().iter();
                self.settle(text, statements.map(|one| suspicion::of_values(&self.protected, text, one)))
            }
        }
    }

    /// Parses a text that was [`Inspection::Unparsed`] and remembers the verdict. Takes its time, and a deep stack.
    pub fn parse(&self, text: &[u8]) {
        self.verdicts.remember(text, Verdict::of(&self.protected, text));
    }

    /// Leaves a text under suspicion, because it cannot be parsed now.
    pub fn give_up(&self, text: &[u8]) {
        self.verdicts.remember(text, Verdict::Unclear);
    }

    fn inspect_function(&self, oid: u32) -> Inspection {
        match oid {
            SET_CONFIG_OID => Inspection::Found(Offence::SettingTouched),
            _ if RUNS_TEXT_OIDS.contains(&oid) => Inspection::Found(Offence::CodeUnread),
            FIRST_NORMAL_OID.. if self.protected.has_functions() => {
                Inspection::Found(Offence::FunctionCalled)
            }
            _ => Inspection::Clean,
        }
    }

    /// The first offence; a doubt about one statement waits until all are looked at.
    fn settle(&self, text: &[u8], suspicions: impl Iterator<Item = Suspicion>) -> Inspection {
        let mut suspected = None;
        for suspicion in suspicions {
            match suspicion {
                Suspicion::None => {}
                Suspicion::Certain(offence) => return Inspection::Found(offence),
                Suspicion::Possible(offence) => suspected = suspected.or(Some(offence)),
            }
        }
        let Some(suspected) = suspected else { return Inspection::Clean };
        if text.len() > pgwarden_sql::MAX_PARSE_BYTES {
            return Inspection::Found(suspected);
        }
        match self.verdicts.find(text) {
            None => Inspection::Unparsed,
            Some(verdict) => verdict.on(suspected).map_or(Inspection::Clean, Inspection::Found),
        }
    }
}

#[cfg(test)]
mod tests;
