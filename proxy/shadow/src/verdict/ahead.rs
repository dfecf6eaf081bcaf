//! What the databases themselves say about the way that is left: what promotion would run into.

use super::milestone::Stage;
use super::report::{Cause, Judgement, Reason, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// What promotion would run into, as far as databases were asked.
#[derive(Debug, Clone, Default)]
pub struct Ahead {
    /// The databases that were asked, and have answered. Of the others nothing is known, which is not the same as nothing.
    pub asked: BTreeSet<String>,
    tables: BTreeMap<(String, String), Obstacles>,
}

/// What promotion of one table would run into.
#[derive(Debug, Clone, Default)]
pub struct Obstacles {
    /// What has to be mended before.
    pub blockers: Vec<String>,
    /// What has to be known.
    pub notes: Vec<String>,
    /// Tables whose policies are staged as well, and have to be in force for those of this one to hold.
    pub relies_on: BTreeSet<String>,
}

impl Ahead {
    /// What is known of a table; nothing at first.
    pub fn of(&mut self, database: &str, table: &str) -> &mut Obstacles {
        self.tables.entry((database.to_owned(), table.to_owned())).or_default()
    }

    /// What keeps one table from being ready, or has to be known about it.
    pub(super) fn reasons(&self, database: &str, table: &str, stage: Stage) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if stage == Stage::Staged && !self.asked.contains(database) {
            let text = "the database was not asked what promotion would run into".to_owned();
            reasons.push(Reason { verdict: Verdict::InsufficientData, code: Cause::NotAsked, text });
        }
        let Some(known) = self.tables.get(&(database.to_owned(), table.to_owned())) else { return reasons };
        let reason = |verdict, code| move |text: &String| Reason { verdict, code, text: text.clone() };
        reasons.extend(known.blockers.iter().map(reason(Verdict::NotReady, Cause::Blocker)));
        reasons.extend(known.notes.iter().map(reason(Verdict::Ready, Cause::Note)));
        reasons
    }

    /// A table is no readier than those that it relies on: they are promoted together.
    pub(super) fn bind(&self, tables: &mut [Judgement]) {
        let verdict = |one: &Judgement| ((one.database.clone(), one.table.clone()), one.verdict);
        let verdicts: BTreeMap<(String, String), Verdict> = tables.iter().map(verdict).collect();
        for table in tables {
            let key = (table.database.clone(), table.table.clone());
            for other in self.tables.get(&key).into_iter().flat_map(|known| &known.relies_on) {
                let of_other = verdicts.get(&(key.0.clone(), other.clone()));
                let verdict = of_other.copied().unwrap_or(Verdict::InsufficientData);
                let text = match verdict {
                    Verdict::Ready => format!("its policies rely on those of {other}: promote both together"),
                    held_back => {
                        format!("its policies rely on those of {other}, which is {}", held_back.label())
                    }
                };
                table.reasons.push(Reason { verdict, code: Cause::Dependency, text });
            }
            table.conclude();
        }
    }
}
