//! What is asked for, what was measured, and whether it will do.

use std::fmt::Write as _;

use crate::goals::Goal;

/// A heading, and one line for each goal; nothing where there are none.
pub fn goals(goals: &[Goal]) -> String {
    let mut text = String::new();
    let width = |of: fn(&Goal) -> &str| goals.iter().map(|goal| of(goal).chars().count()).max().unwrap_or(0);
    let (what, measured, target) =
        (width(|goal| &goal.what), width(|goal| &goal.measured), width(|goal| &goal.target));
    if !goals.is_empty() {
        text.push_str("\nwhat shadow mode costs\n");
    }
    for goal in goals {
        let met = if goal.met { "met" } else { "NOT MET" };
        let Goal { what: name, measured: value, target: limit, .. } = goal;
        let _ = writeln!(text, "  {name:<what$}  {value:>measured$}  {limit:<target$}  {met}");
    }
    text
}
