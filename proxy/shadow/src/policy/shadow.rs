//! The policies that make the server answer a shadow role as it will answer the role for which that stands.
//!
//! Whatever permits today is switched off for the shadow role by one policy that permits everything. What will permit
//! then becomes one *restrictive* policy for each command: a restrictive one is asked of every row, whatever others say.
//! Restrictive ones stay what they are. That is exact, unless a restrictive one goes: nothing can switch it off.

use super::definition::{Change, Policy, PolicyCommand, Shape, Switch, Table};
use super::expression::asked;
use std::collections::BTreeSet;
use thiserror::Error;

/// The policy that permits everything to a shadow role, as its name ends.
pub const BASE: &str = "base";

/// The policy that keeps a table open to everybody on which row level security has been switched on to stage something.
pub const OPEN: &str = "pgwarden_open";

/// Why something cannot be staged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotStaged {
    /// Policy: nothing can switch off a restrictive policy for the shadow role alone.
    #[error(
        "restrictive policy \"{0}\" is in force today and goes: nothing can switch it off for the shadow role alone"
    )]
    RestrictiveGoes(String),
    /// Policy: to switch row level security on would put a restrictive policy in force for everybody.
    #[error(
        "row level security is off, and restrictive policy \"{0}\" would be in force for everybody as soon as it is on"
    )]
    RestrictiveSleeps(String),
    /// Policy: the answer would be another for the shadow role.
    #[error(
        "policy \"{policy}\" asks who the role is ({what}): it would not answer the shadow role as the application"
    )]
    AsksRole {
        /// The policy.
        policy: String,
        /// What it asks with.
        what: String,
    },
    /// Policy: expressions that mean something only together with a search path cannot be joined.
    #[error("policies \"{0}\" and \"{1}\" were written for different search paths: name the schemas in them")]
    Paths(String, String),
    /// Policy: an expression cannot be read.
    #[error("the expressions of policy \"{policy}\" cannot be read: {cause}")]
    Unread {
        /// The policy.
        policy: String,
        /// What the parser says.
        cause: String,
    },
}

/// A shadow role, and whom policies bind through it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// Its name.
    pub role: String,
    /// What the names of its policies begin with: `pgwarden`, `pgwarden_2` …
    pub prefix: String,
    /// The roles whose policies bind the application's role: itself, and those whose rights it has.
    pub acting: BTreeSet<String>,
    /// The same for the shadow role today.
    pub own: BTreeSet<String>,
}

impl Shadow {
    /// Whether `policy` binds the role that the shadow stands for.
    #[must_use]
    pub fn will_be_bound_by(&self, policy: &Policy) -> bool {
        binds(policy, &self.acting)
    }

    fn is_bound_by(&self, policy: &Policy) -> bool {
        binds(policy, &self.own)
    }
}

fn binds(policy: &Policy, roles: &BTreeSet<String>) -> bool {
    policy.roles.is_empty() || policy.roles.iter().any(|role| roles.contains(role))
}

/// The policies to stage for `shadow` on a table.
///
/// # Errors
/// [`NotStaged`] when nothing could be staged that answers exactly.
pub fn staged(today: &Table, change: &Change, shadow: &Shadow) -> Result<Vec<Policy>, NotStaged> {
    let goes = |policy: &&Policy| policy.shape == Shape::Restrictive && change.dropped.contains(&policy.name);
    if let Some(policy) = today.policies.iter().filter(goes).find(|policy| shadow.is_bound_by(policy)) {
        return Err(NotStaged::RestrictiveGoes(policy.name.clone()));
    }
    let mut restrictive = today.policies.iter().filter(|policy| policy.shape == Shape::Restrictive);
    if let (Switch::Off, Some(policy)) = (today.enabled, restrictive.next()) {
        return Err(NotStaged::RestrictiveSleeps(policy.name.clone()));
    }
    let after: Vec<Policy> =
        today.after(change).into_iter().filter(|policy| shadow.will_be_bound_by(policy)).collect();
    after.iter().try_for_each(asks_nobody)?;
    let permitting: Vec<&Policy> = after.iter().filter(|policy| policy.shape == Shape::Permissive).collect();
    let mut policies = vec![shadow.policy(BASE, Shape::Permissive, PolicyCommand::All)];
    if let Some(base) = policies.first_mut() {
        (base.using, base.check) = (Some("true".to_owned()), Some("true".to_owned()));
    }
    for command in PolicyCommand::EACH {
        policies.extend(joined(&permitting, command, shadow)?);
    }
    let in_force = |policy: &Policy| today.policies.contains(policy) && shadow.is_bound_by(policy);
    let restricting = after.iter().filter(|policy| policy.shape == Shape::Restrictive && !in_force(policy));
    for (number, policy) in (1..).zip(restricting) {
        let mut own = shadow.policy(&format!("restrictive_{number}"), Shape::Restrictive, policy.command);
        own.using.clone_from(&policy.using);
        own.check.clone_from(&policy.check);
        own.search_path.clone_from(&policy.search_path);
        policies.push(own);
    }
    Ok(policies)
}

impl Shadow {
    fn policy(&self, ending: &str, shape: Shape, command: PolicyCommand) -> Policy {
        Policy {
            name: format!("{}_{ending}", self.prefix),
            shape,
            command,
            roles: vec![self.role.clone()],
            using: None,
            check: None,
            search_path: None,
            comment: None,
        }
    }
}

/// One restrictive policy that says what the permissive ones for `command` say together; none where that is nothing. One
/// without the expression lets nothing through (`add_security_quals` in `rowsecurity.c`).
fn joined(
    permitting: &[&Policy],
    command: PolicyCommand,
    shadow: &Shadow,
) -> Result<Option<Policy>, NotStaged> {
    let asked: Vec<&&Policy> = permitting.iter().filter(|policy| policy.command.covers(command)).collect();
    let using = either(asked.iter().filter_map(|policy| policy.using.as_deref()));
    let check = either(asked.iter().filter_map(|policy| policy.check.as_deref().or(policy.using.as_deref())));
    let mut policy = shadow.policy(command.word(), Shape::Restrictive, command);
    match command {
        PolicyCommand::Insert => policy.check = Some(check),
        PolicyCommand::Update => (policy.using, policy.check) = (Some(using), Some(check)),
        PolicyCommand::All | PolicyCommand::Select | PolicyCommand::Delete => policy.using = Some(using),
    }
    let says = |expression: &Option<String>| expression.as_deref().is_some_and(|text| text != "true");
    if !says(&policy.using) && !says(&policy.check) {
        return Ok(None);
    }
    let mut written = asked.iter().filter(|policy| policy.search_path.is_some());
    if let Some(first) = written.next() {
        if let Some(other) = written.find(|other| other.search_path != first.search_path) {
            return Err(NotStaged::Paths(first.name.clone(), other.name.clone()));
        }
        policy.search_path.clone_from(&first.search_path);
    }
    Ok(Some(policy))
}

/// `(a) OR (b)`; `false` for none, and `true` where one says so.
fn either<'a>(expressions: impl Iterator<Item = &'a str>) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for expression in expressions {
        if expression.trim().eq_ignore_ascii_case("true") {
            return "true".to_owned();
        }
        if !parts.contains(&expression) {
            parts.push(expression);
        }
    }
    match parts.as_slice() {
        [] => "false".to_owned(),
        [one] => (*one).to_owned(),
        many => format!("({})", many.join(") OR (")),
    }
}

fn asks_nobody(policy: &Policy) -> Result<(), NotStaged> {
    for expression in [&policy.using, &policy.check].into_iter().flatten() {
        let asked = asked(expression)
            .map_err(|cause| NotStaged::Unread { policy: policy.name.clone(), cause: cause.to_string() })?;
        if let Some(what) = asked.role {
            return Err(NotStaged::AsksRole { policy: policy.name.clone(), what });
        }
    }
    Ok(())
}
