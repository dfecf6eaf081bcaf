//! Where the rows of an INSERT come from, as a query of its own.

use pg_query::NodeEnum;
use pg_query::protobuf::{InsertStmt, OnConflictAction};
use serde_json::Value;

/// The query, if running it alone says what the INSERT reads: it reads from tables, from none that the statement writes to
/// (they would have changed since), and nothing else in the statement reads from any.
pub(crate) fn of_insert(insert: InsertStmt) -> Option<String> {
    // A row that conflicts may change nothing, whether it is read or not.
    let conflict = insert.on_conflict_clause.as_ref();
    if conflict
        .is_some_and(|one| one.action() == OnConflictAction::OnconflictNothing || one.where_clause.is_some())
    {
        return None;
    }
    let target = insert.relation.as_ref()?.relname.clone();
    let tree = serde_json::to_value((&insert.on_conflict_clause, &insert.returning_clause)).ok()?;
    let Some(NodeEnum::SelectStmt(mut select)) = insert.select_stmt?.node else { return None };
    match (&select.with_clause, insert.with_clause) {
        (Some(_), Some(_)) => return None,
        (None, with) if with.is_some() => select.with_clause = with,
        _ => (),
    }
    let source = serde_json::to_value(&select).ok()?;
    let is_default = |kind: &str, _: &Value| kind == "SetToDefault";
    let is_target = |kind: &str, node: &Value| {
        kind == "RangeVar" && node.get("relname").and_then(Value::as_str) == Some(target.as_str())
    };
    let reads = |kind: &str, _: &Value| kind == "RangeVar";
    if holds(&tree, &reads)
        || !holds(&source, &reads)
        || holds(&source, &is_target)
        || holds(&source, &is_default)
    {
        return None;
    }
    NodeEnum::SelectStmt(select).deparse(pg_query::DeparseOptions::default()).ok()
}

/// Whether a tree has such a node, by the name of its kind.
fn holds(tree: &Value, is_such: &impl Fn(&str, &Value) -> bool) -> bool {
    match tree {
        Value::Array(values) => values.iter().any(|value| holds(value, is_such)),
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| is_such(name, value) || holds(value, is_such))
        }
        _ => false,
    }
}
