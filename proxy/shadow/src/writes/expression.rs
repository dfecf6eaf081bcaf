//! What the policies of a table come to for one role and one command, as one expression.
//!
//! As `get_policies_for_relation` and `add_with_check_options` of PostgreSQL's `rowsecurity.c` have it: one permissive
//! policy must let the row through, and no restrictive one may keep it back; without a permissive one, nothing passes.

use super::notice::Group;
use crate::catalog::{Policy, PolicyCommand};

/// Which of a policy's expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// USING: of rows that are there.
    Using,
    /// WITH CHECK, or USING in its place: of rows as they will be.
    Check,
}

/// The expression that a row has to make true.
pub(super) fn combined<'a>(
    policies: impl Iterator<Item = &'a Policy>,
    command: PolicyCommand,
    side: Side,
) -> String {
    let (mut permissive, mut restrictive) = (Vec::new(), Vec::new());
    for policy in policies.filter(|policy| policy.is_for(command)) {
        let using = policy.using.as_deref();
        let expression = match side {
            Side::Using => using,
            Side::Check => policy.check.as_deref().or(using),
        };
        let list = if policy.permissive { &mut permissive } else { &mut restrictive };
        list.push(expression.unwrap_or("true"));
    }
    if permissive.is_empty() {
        return "false".to_owned();
    }
    let mut all: Vec<String> = Vec::new();
    if !permissive.contains(&"true") {
        all.push(joined(&permissive, " OR "));
    }
    restrictive.retain(|expression| *expression != "true");
    if !restrictive.is_empty() {
        all.push(joined(&restrictive, " AND "));
    }
    if all.is_empty() { "true".to_owned() } else { format!("({})", all.join(" AND ")) }
}

/// What is true where both are. A policy often says the same of each command, and need not be asked twice: none of them is
/// VOLATILE.
pub(super) fn both(own: &str, select: &str) -> String {
    if own == select { own.to_owned() } else { format!("({own} AND {select})") }
}

/// What a row counts as: a bit for the command's own policies, and one for those of SELECT.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bits {
    own: u8,
    select: u8,
}

impl Bits {
    /// Of a row that was there.
    pub(super) const OLD: Self = Self { own: Group::OLD, select: Group::OLD_SELECT };
    /// Of a row as it will be.
    pub(super) const NEW: Self = Self { own: Group::NEW, select: Group::NEW_SELECT };

    /// The expression of their sum.
    pub(super) fn mask(self, own: &str, select: &str) -> String {
        let Self { own: bit, select: other } = self;
        if own == select {
            return format!("CASE WHEN {own} THEN {} ELSE 0 END", bit + other);
        }
        format!("CASE WHEN {own} THEN {bit} ELSE 0 END + CASE WHEN {select} THEN {other} ELSE 0 END")
    }
}

fn joined(expressions: &[&str], word: &str) -> String {
    format!("(({}))", expressions.join(&format!("){word}(")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissive(command: PolicyCommand, using: Option<&str>, check: Option<&str>) -> Policy {
        let text = |text: &str| text.to_owned();
        Policy {
            name: text("p"),
            command,
            permissive: true,
            roles: vec![text("public")],
            binds: vec![text("pgwarden_shadow")],
            using: using.map(text),
            check: check.map(text),
            columns: Vec::new(),
            volatile: None,
            volatile_built_in: None,
        }
    }

    fn restrictive(command: PolicyCommand, using: Option<&str>, check: Option<&str>) -> Policy {
        Policy { permissive: false, ..permissive(command, using, check) }
    }

    #[test]
    fn permissive_policies_are_alternatives_and_restrictive_ones_conditions() {
        use PolicyCommand::{All, Insert, Select, Update};
        let policies = [
            permissive(All, Some("a"), None),
            permissive(Update, Some("b"), Some("c")),
            restrictive(Insert, None, Some("d")),
            restrictive(Update, Some("e"), None),
        ];
        let of = |command, side| combined(policies.iter(), command, side);
        assert_eq!(of(Select, Side::Using), "(((a)))");
        assert_eq!(of(Update, Side::Using), "(((a) OR (b)) AND ((e)))");
        assert_eq!(of(Update, Side::Check), "(((a) OR (c)) AND ((e)))");
        assert_eq!(of(Insert, Side::Check), "(((a)) AND ((d)))");
    }

    #[test]
    fn without_a_permissive_policy_nothing_passes() {
        let kept_back = [restrictive(PolicyCommand::All, Some("true"), None)];
        assert_eq!(combined(kept_back.iter(), PolicyCommand::Select, Side::Using), "false");
        let open = [permissive(PolicyCommand::All, Some("true"), None)];
        assert_eq!(combined(open.iter().chain(&kept_back), PolicyCommand::Select, Side::Using), "true");
    }
}
