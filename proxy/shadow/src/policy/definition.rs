//! Policies, and the tables that have them.

use super::quoted::{identifier, literal};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Whether a policy permits, or takes away from what others permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One of them has to be true.
    Permissive,
    /// Each of them has to be true.
    Restrictive,
}

/// What a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyCommand {
    /// Every command.
    All,
    /// SELECT, and every other that reads a column.
    Select,
    /// INSERT.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
}

impl PolicyCommand {
    /// Those that a policy for all is for.
    pub const EACH: [Self; 4] = [Self::Select, Self::Insert, Self::Update, Self::Delete];

    /// The word of `CREATE POLICY`, in lower case.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Select => "select",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// The command of that word, in whatever case.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        let all = [Self::All, Self::Select, Self::Insert, Self::Update, Self::Delete];
        all.into_iter().find(|command| command.word().eq_ignore_ascii_case(word))
    }

    /// Whether a policy for `self` is asked for `command`.
    #[must_use]
    pub fn covers(self, command: Self) -> bool {
        self == Self::All || self == command
    }
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its name, without quotes.
    pub name: String,
    /// Permissive or restrictive.
    pub shape: Shape,
    /// What it is for.
    pub command: PolicyCommand,
    /// Whom it binds; empty for PUBLIC.
    pub roles: Vec<String>,
    /// The expression of USING.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub using: Option<String>,
    /// The expression of WITH CHECK.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub check: Option<String>,
    /// The `search_path` in which the expressions mean what they mean, as the argument of SET; none where every name in
    /// them has its schema.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub search_path: Option<String>,
    /// What COMMENT ON says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub comment: Option<String>,
}

impl Policy {
    /// The expression that rows have to satisfy that are there already.
    #[must_use]
    pub fn using_or_true(&self) -> &str {
        self.using.as_deref().unwrap_or("true")
    }

    /// The expression that new rows have to satisfy: where there is no CHECK, that of USING (`QUAL_FOR_WCO` in
    /// `rowsecurity.c`).
    #[must_use]
    pub fn check_or_using(&self) -> &str {
        self.check.as_deref().unwrap_or(self.using_or_true())
    }

    /// The statements that make it on `table`, which is written as SQL has it. Those who run them have the search path
    /// `pg_catalog, pg_temp`, and have it afterwards.
    #[must_use]
    pub fn create(&self, table: &str) -> Vec<String> {
        let mut sql = format!("CREATE POLICY {} ON {table}", identifier(&self.name));
        let shape = if self.shape == Shape::Restrictive { " AS RESTRICTIVE" } else { "" };
        let roles: Vec<String> = self.roles.iter().map(|role| identifier(role)).collect();
        let roles = if roles.is_empty() { "PUBLIC".to_owned() } else { roles.join(", ") };
        let _fits = write!(sql, "{shape} FOR {} TO {roles}", self.command.word().to_uppercase());
        if let Some(using) = &self.using {
            let _fits = write!(sql, " USING ({using})");
        }
        if let Some(check) = &self.check {
            let _fits = write!(sql, " WITH CHECK ({check})");
        }
        let mut statements = Vec::new();
        if let Some(path) = &self.search_path {
            statements.push(format!("SET LOCAL search_path = {path}"));
        }
        statements.push(sql);
        if self.search_path.is_some() {
            statements.push("SET LOCAL search_path = pg_catalog, pg_temp".to_owned());
        }
        if let Some(comment) = &self.comment {
            statements.push(format!(
                "COMMENT ON POLICY {} ON {table} IS {}",
                identifier(&self.name),
                literal(comment)
            ));
        }
        statements
    }
}

/// Something that a table has or has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "bool", into = "bool")]
pub enum Switch {
    /// It has it not.
    #[default]
    Off,
    /// It has it.
    On,
}

impl From<bool> for Switch {
    fn from(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

impl From<Switch> for bool {
    fn from(switch: Switch) -> Self {
        switch == Switch::On
    }
}

/// What a table has today.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Whether row level security is switched on.
    pub enabled: Switch,
    /// Whether it binds the owner too.
    pub forced: Switch,
    /// The policies, those that are staged left out.
    pub policies: Vec<Policy>,
}

/// What is pending for a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The policies that go, by their names.
    pub dropped: Vec<String>,
    /// Those that come.
    pub created: Vec<Policy>,
    /// Whether row level security binds the owner then; none for as it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub force: Option<Switch>,
}

impl Change {
    /// Whether nothing is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Table {
    /// The policies that the table has once `change` has been made.
    #[must_use]
    pub fn after(&self, change: &Change) -> Vec<Policy> {
        let stays = |policy: &&Policy| !change.dropped.contains(&policy.name);
        let kept = self.policies.iter().filter(stays);
        kept.chain(&change.created).cloned().collect()
    }

    /// Whether the owner is bound then.
    #[must_use]
    pub fn is_forced_after(&self, change: &Change) -> bool {
        change.force.unwrap_or(self.forced) == Switch::On
    }
}
