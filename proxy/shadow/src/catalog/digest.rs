//! What the policies of a table say, in a few digits: whether they are still those that were looked at with.

use super::{Catalog, Policy, Relation, RowSecurity};
use crate::policy::OPEN;
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What the policies of a table say, and which step of the journal has left them so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDigest {
    /// Those that are staged, and whether row level security is on at all.
    pub staged: String,
    /// All others.
    pub today: String,
    /// What the last command about the table has left, if that may be known: with another one, other policies are meant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<String>,
}

impl PolicyDigest {
    /// Whether somebody has changed the policies since, and by none of pgwarden's commands.
    #[must_use]
    pub fn is_changed_by_hand(&self, now: &Self) -> bool {
        let others = now.step.is_some() && self.today != now.today;
        self.step == now.step && (self.staged != now.staged || others)
    }
}

impl Catalog {
    /// The digests of all tables for which something is staged. `steps` says what the last command has left, by OID.
    #[must_use]
    pub fn digests(&self, steps: &BTreeMap<u32, String>) -> BTreeMap<String, PolicyDigest> {
        let staged = self.relations().filter(|relation| relation.is_staged());
        staged.map(|relation| (relation.full_name(), of(relation, steps.get(&relation.oid)))).collect()
    }
}

fn of(relation: &Relation, step: Option<&String>) -> PolicyDigest {
    let (staged, others): (Vec<&Policy>, Vec<&Policy>) =
        relation.policies.iter().filter(|policy| policy.name != OPEN).partition(|policy| policy.is_staged());
    PolicyDigest {
        staged: short(&(relation.row_security == RowSecurity::Off, said(&staged))),
        today: short(&said(&others)),
        step: step.cloned(),
    }
}

/// What policies say themselves; whom they bind depends on roles.
fn said<'a>(policies: &[&'a Policy]) -> Vec<impl Serialize + use<'a>> {
    let said = policies
        .iter()
        .map(|one| (&one.name, one.command, one.permissive, &one.roles, &one.using, &one.check));
    said.collect()
}

fn short(what: &impl Serialize) -> String {
    let text = serde_json::to_vec(what).unwrap_or_default();
    digest::digest(&digest::SHA256, &text).as_ref().iter().take(8).fold(String::new(), |mut digits, byte| {
        let _fits = write!(digits, "{byte:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(staged: &str, today: &str, step: Option<&str>) -> PolicyDigest {
        PolicyDigest { staged: staged.to_owned(), today: today.to_owned(), step: step.map(str::to_owned) }
    }

    #[test]
    fn what_a_command_has_done_is_not_by_hand() {
        let before = digest("a", "b", Some("staged"));
        assert!(!before.is_changed_by_hand(&before));
        assert!(!before.is_changed_by_hand(&digest("a", "c", Some("promoted"))));
        assert!(before.is_changed_by_hand(&digest("a", "c", Some("staged"))));
        assert!(before.is_changed_by_hand(&digest("c", "b", Some("staged"))));
        let unknown = digest("a", "b", None);
        assert!(!unknown.is_changed_by_hand(&digest("a", "c", None)), "it may have been a promotion");
        assert!(unknown.is_changed_by_hand(&digest("c", "b", None)), "which leaves what is staged as it is");
    }
}
