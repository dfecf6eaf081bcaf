//! How much was looked at: what was never evaluated is not clean.

use crate::finding::{Query, Site};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// Whether a statement has a context, and leaves it alone.
    Context,
    /// Rows on their way to the client.
    Rows,
    /// Rows that are written.
    Writes,
    /// Queries run once more, with the policies.
    Replay,
    /// Errors of policies that are in force.
    Denied,
}

/// Why an execution was not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uncovered {
    /// No column of the result comes from a table: functions, casts, set operations, scalar sub-selects.
    ComputedColumns,
    /// Tables are read, but no tenant column is in the result.
    NoTenantColumn,
    /// Whole rows in one column.
    WholeRows,
    /// COPY, which does not describe what it sends.
    Copy,
    /// The result was never described to the client.
    NotDescribed,
    /// Bytes of this type cannot be compared.
    Type,
    /// The client has no context.
    NoContext,
    /// The statement could be replayed only with effects.
    Unsafe,
    /// The result depends on the plan, and only the number of rows could be compared.
    Unstable,
    /// It could not be run again: a finding says why.
    Failed,
    /// Not chosen for replay, because others like it were.
    NotSampled,
    /// There was no room: queue, time or budget.
    Dropped,
    /// The table has no triggers, they are disabled, or the writer is a replica.
    NoTrigger,
    /// It writes rows that it finds in other tables: the triggers see only what is written. Where it inserts them, a replay
    /// sees the rest.
    ReadsElsewhere,
    /// A function, a trigger or a rule reads tables while it writes, and nobody sees that.
    FunctionReads,
    /// The policy cannot be evaluated beside the statement (volatile functions, say).
    Policy,
    /// It could not be told what the text says.
    Unread,
}

/// Executions of one query that a detector has looked at, or could not look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// The query.
    pub query: Arc<Query>,
    /// Where it ran.
    pub site: Site,
    /// The tables that it names, `schema.table` where that is known.
    pub tables: Vec<String>,
    /// Who looked.
    pub detector: Detector,
    /// Why not; `None` where it was looked at.
    pub uncovered: Option<Uncovered>,
    /// How often.
    pub count: u64,
}
