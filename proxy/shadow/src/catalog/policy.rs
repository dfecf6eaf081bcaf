//! A policy, as the catalog has it.

use serde::{Deserialize, Serialize};

/// A policy of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// The command.
    pub command: PolicyCommand,
    /// Whether it lets rows through (`AS PERMISSIVE`) or keeps some back.
    pub permissive: bool,
    /// The roles that it names; `public` stands for everybody.
    pub roles: Vec<String>,
    /// The shadow roles that it binds.
    pub binds: Vec<String>,
    /// Whether it names a shadow role: then it is staged, or belongs to one that is.
    pub staged: bool,
    /// The expression of USING.
    #[serde(rename = "using")]
    pub using: Option<String>,
    /// The expression of WITH CHECK.
    pub check: Option<String>,
    /// The columns of its own table that the expressions read, by number.
    pub columns: Vec<i16>,
    /// A function in the expressions that may return something else each time (`VOLATILE`).
    pub volatile: Option<String>,
    /// The same, where PostgreSQL itself has it.
    pub volatile_built_in: Option<String>,
}

/// The command of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PolicyCommand {
    /// Every one.
    #[serde(rename = "*")]
    All,
    /// SELECT, and what reads in other statements.
    #[serde(rename = "r")]
    Select,
    /// INSERT.
    #[serde(rename = "a")]
    Insert,
    /// UPDATE.
    #[serde(rename = "w")]
    Update,
    /// DELETE.
    #[serde(rename = "d")]
    Delete,
}

impl Policy {
    /// The function that makes it impossible to evaluate the policy beside the statement.
    #[must_use]
    pub fn volatile_function(&self) -> Option<&str> {
        self.volatile.as_deref().or(self.volatile_built_in.as_deref())
    }

    /// Whether it counts for this command.
    #[must_use]
    pub fn is_for(&self, command: PolicyCommand) -> bool {
        self.command == PolicyCommand::All || self.command == command
    }
}
