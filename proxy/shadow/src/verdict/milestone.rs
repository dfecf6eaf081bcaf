//! The steps of the way to enforcement, and where each table stands on it.

use super::issue::Disposition;
use super::moment::Moment;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What can be done on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Policies were staged.
    Stage,
    /// Staged policies were taken away.
    Unstage,
    /// Staged policies are in force.
    Promote,
    /// They are not any more.
    Demote,
    /// A finding is ignored for a time.
    Ignore,
    /// A finding is said to be mended: it counts again when it is met again.
    Resolve,
}

impl Step {
    /// What was done, in the past tense.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Stage => "staged",
            Self::Unstage => "unstaged",
            Self::Promote => "promoted",
            Self::Demote => "demoted",
            Self::Ignore => "ignored",
            Self::Resolve => "resolved",
        }
    }
}

/// A step, as the journal of the database holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milestone {
    /// The number in the journal.
    pub id: i64,
    /// What was done.
    pub step: Step,
    /// The database.
    pub database: String,
    /// Who did it, at the server.
    pub by: String,
    /// When.
    pub at: Moment,
    /// The tables.
    pub tables: Vec<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// What else belongs to it.
    #[serde(default)]
    pub detail: Value,
}

impl Milestone {
    /// The finding that it is about, and what it says of it.
    #[must_use]
    pub fn disposition(&self) -> Option<(&str, Disposition)> {
        if !matches!(self.step, Step::Ignore | Step::Resolve) {
            return None;
        }
        let text = |key: &str| self.detail.get(key).and_then(Value::as_str);
        let disposition = Disposition {
            at: self.at,
            by: self.by.clone(),
            reason: self.reason.clone().unwrap_or_default(),
            owner: text("owner").unwrap_or_default().to_owned(),
            until: text("until").and_then(Moment::parse),
        };
        Some((text("finding")?, disposition))
    }
}

/// Where a table stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing is staged for it.
    #[default]
    Unstaged,
    /// Its policies are staged.
    Staged,
    /// They are in force.
    Promoted,
}

impl Stage {
    /// One or two words.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unstaged => "not staged",
            Self::Staged => "staged",
            Self::Promoted => "in force",
        }
    }
}

/// What a policy that was not staged is, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotStaged {
    /// The table, where it is of one.
    #[serde(default)]
    pub table: Option<String>,
    /// The policy.
    #[serde(default)]
    pub policy: Option<String>,
    /// Why.
    pub reason: String,
}

/// What the steps have made of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct History {
    /// Where it stands.
    pub(super) stage: Stage,
    /// Since when its policies are staged as they are; findings from before say nothing about them.
    pub(super) since: Option<Moment>,
    /// What was not staged.
    pub(super) not_staged: Vec<NotStaged>,
}

impl History {
    /// What becomes of it by a step that names the table.
    fn follow(&mut self, table: &str, milestone: &Milestone) {
        match milestone.step {
            // The journal has no line where the same was staged once more: it is something else than before.
            Step::Stage => {
                let is_refused = milestone.detail.get("state").and_then(Value::as_str) == Some("refused");
                self.since = Some(milestone.at);
                self.not_staged = not_staged(table, &milestone.detail);
                if is_refused {
                    let reason = milestone.reason.clone().unwrap_or_default();
                    self.stage = Stage::Unstaged;
                    self.not_staged.push(NotStaged { table: None, policy: None, reason });
                } else if self.stage == Stage::Unstaged {
                    self.stage = Stage::Staged;
                }
            }
            Step::Unstage => *self = Self { since: Some(milestone.at), ..Self::default() },
            // The policies are the same as before: what was learned about them stays true.
            Step::Promote => self.stage = Stage::Promoted,
            Step::Demote => self.stage = Stage::Staged,
            Step::Ignore | Step::Resolve => (),
        }
    }
}

/// Follows the steps in their order; each table is a database and a name.
pub(super) fn histories(milestones: &[Milestone]) -> BTreeMap<(String, String), History> {
    let mut histories: BTreeMap<(String, String), History> = BTreeMap::new();
    for milestone in milestones {
        if matches!(milestone.step, Step::Ignore | Step::Resolve) {
            continue;
        }
        for table in &milestone.tables {
            let key = (milestone.database.clone(), table.clone());
            histories.entry(key).or_default().follow(table, milestone);
        }
    }
    histories
}

fn not_staged(table: &str, detail: &Value) -> Vec<NotStaged> {
    let listed = detail.get("not_staged").and_then(Value::as_array);
    let listed =
        listed.into_iter().flatten().filter_map(|one| serde_json::from_value::<NotStaged>(one.clone()).ok());
    listed.filter(|one| one.table.as_deref().is_none_or(|name| name == table)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn step(step: Step, seconds: i64, detail: Value) -> Milestone {
        Milestone {
            id: seconds,
            step,
            database: "shop".to_owned(),
            by: "dba".to_owned(),
            at: Moment::of_seconds(seconds),
            tables: vec!["public.items".to_owned()],
            reason: None,
            detail,
        }
    }

    fn after(steps: &[Milestone]) -> History {
        histories(steps).remove(&("shop".to_owned(), "public.items".to_owned())).unwrap_or_default()
    }

    #[test]
    fn a_table_is_staged_promoted_and_demoted_and_what_was_learned_stays() {
        let mut steps = vec![step(Step::Stage, 10, json!({"policies": ["p"]}))];
        assert_eq!((after(&steps).stage, after(&steps).since), (Stage::Staged, Some(Moment::of_seconds(10))));
        steps.push(step(Step::Promote, 20, json!({})));
        assert_eq!(after(&steps).stage, Stage::Promoted);
        steps.push(step(Step::Demote, 30, json!({})));
        steps.push(step(Step::Ignore, 31, json!({"finding": "x"})));
        assert_eq!((after(&steps).stage, after(&steps).since), (Stage::Staged, Some(Moment::of_seconds(10))));
        steps.push(step(Step::Unstage, 40, json!({})));
        assert_eq!(
            (after(&steps).stage, after(&steps).since),
            (Stage::Unstaged, Some(Moment::of_seconds(40)))
        );
    }

    #[test]
    fn what_is_staged_anew_begins_anew_and_what_is_refused_is_not_staged() {
        let mut steps = vec![step(Step::Stage, 10, json!({"policies": ["p"]}))];
        steps.push(step(Step::Stage, 20, json!({"policies": ["p"]})));
        assert_eq!(after(&steps).since, Some(Moment::of_seconds(20)));
        let mut refused = step(Step::Stage, 30, json!({"state": "refused"}));
        refused.reason = Some("it asks for the role".to_owned());
        steps.push(refused);
        assert_eq!(after(&steps).stage, Stage::Unstaged);
        assert_eq!(after(&steps).not_staged[0].reason, "it asks for the role");
    }

    #[test]
    fn what_was_not_staged_is_kept_for_its_table() {
        let listed = json!({"not_staged": [
            {"table": "public.items", "policy": "p", "reason": "asks for current_user"},
            {"table": "public.other", "policy": "q", "reason": "is restrictive"},
        ]});
        let history = after(&[step(Step::Stage, 10, listed)]);
        assert_eq!(history.not_staged.len(), 1);
        assert_eq!(history.not_staged[0].reason, "asks for current_user");
    }

    #[test]
    fn a_step_about_a_finding_says_who_answers_for_it_and_until_when() {
        let detail = json!({"finding": "abc", "owner": "team", "until": "2030-01-01T00:00:00Z"});
        let ignored = step(Step::Ignore, 5, detail);
        let (finding, disposition) = ignored.disposition().expect("a disposition");
        assert_eq!((finding, disposition.owner.as_str()), ("abc", "team"));
        assert_eq!(disposition.until, Moment::parse("2030-01-01"));
        assert!(step(Step::Stage, 5, Value::Null).disposition().is_none());
    }
}
