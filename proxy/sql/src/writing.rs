//! Which tables a text writes to, and whether it reads them while it does: then the policies for SELECT count as well
//! (`get_row_security_policies` in PostgreSQL's `rowsecurity.c` asks for ACL_SELECT).

use serde_json::Value;

/// A table that a text writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writing {
    /// Its schema, where it is given.
    pub schema: Option<String>,
    /// Its name.
    pub table: String,
    /// How it is written to.
    pub command: WritingCommand,
    /// Whether columns of it are read.
    pub reads: Reads,
}

/// How a table is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WritingCommand {
    /// INSERT.
    Insert,
    /// INSERT with ON CONFLICT DO NOTHING.
    InsertOrSkip,
    /// INSERT with ON CONFLICT DO UPDATE.
    Upsert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// MERGE.
    Merge,
    /// COPY FROM.
    Copy,
    /// TRUNCATE.
    Truncate,
}

/// Whether columns of the table are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reads {
    /// They are.
    Yes,
    /// They are not.
    No,
    /// A column is named that may be another table's.
    Unknown,
}

/// Adds the tables that a statement writes to; `node` is the name of its kind (`parsenodes.h`).
pub(crate) fn writing(node: &str, fields: &Value, writings: &mut Vec<Writing>) {
    let target = fields.get("relation");
    let (command, reads) = match node {
        "InsertStmt" => insert(fields),
        "UpdateStmt" => (WritingCommand::Update, reads(fields, "from_clause")),
        "DeleteStmt" => (WritingCommand::Delete, reads(fields, "using_clause")),
        "MergeStmt" => (WritingCommand::Merge, Reads::Yes),
        "CopyStmt" if fields.get("is_from") == Some(&Value::Bool(true)) => (WritingCommand::Copy, Reads::No),
        "TruncateStmt" => {
            let relations = fields.get("relations").and_then(Value::as_array).into_iter().flatten();
            let ranges = relations.filter_map(|relation| relation.get("node")?.get("RangeVar"));
            writings.extend(ranges.filter_map(|range| named(range, WritingCommand::Truncate, Reads::No)));
            return;
        }
        _ => return,
    };
    writings.extend(target.and_then(|target| named(target, command, reads)));
}

fn named(range: &Value, command: WritingCommand, reads: Reads) -> Option<Writing> {
    let text = |name: &str| range.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    Some(Writing {
        schema: text("schemaname").map(str::to_owned),
        table: text("relname")?.to_owned(),
        command,
        reads,
    })
}

/// ON CONFLICT reads the columns by which it finds the conflict.
fn insert(fields: &Value) -> (WritingCommand, Reads) {
    const NOTHING: u64 = 2;
    const UPDATE: u64 = 3;
    let conflict = fields.get("on_conflict_clause").filter(|clause| !clause.is_null());
    let action = conflict.and_then(|clause| clause.get("action")).and_then(Value::as_u64);
    let command = match action {
        Some(UPDATE) => return (WritingCommand::Upsert, Reads::Yes),
        Some(NOTHING) => WritingCommand::InsertOrSkip,
        _ => WritingCommand::Insert,
    };
    let infers = conflict.and_then(|clause| clause.get("infer")).is_some_and(|infer| !infer.is_null());
    let returns = ["returning_list", "returning_clause"].iter().any(|list| has_column(fields.get(list)));
    (command, if infers || returns { Reads::Yes } else { Reads::No })
}

/// Of UPDATE and DELETE: where no other table is in sight, each column is the target's own.
fn reads(fields: &Value, others: &str) -> Reads {
    let clauses = ["where_clause", "target_list", "returning_list", "returning_clause"];
    if !clauses.iter().any(|clause| has_column(fields.get(clause))) {
        return Reads::No;
    }
    let is_alone = fields.get(others).and_then(Value::as_array).is_none_or(Vec::is_empty);
    let outside = |clause: &str| has_own_column(fields.get(clause));
    match is_alone && clauses.iter().any(|clause| outside(clause)) {
        true => Reads::Yes,
        false => Reads::Unknown,
    }
}

/// Whether a column is named anywhere in there.
fn has_column(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Array(values)) => values.iter().any(|value| has_column(Some(value))),
        Some(Value::Object(fields)) => {
            fields.contains_key("ColumnRef") || fields.values().any(|value| has_column(Some(value)))
        }
        _ => false,
    }
}

/// Whether a column is named outside of sub-selects, which have tables of their own.
fn has_own_column(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Array(values)) => values.iter().any(|value| has_own_column(Some(value))),
        Some(Value::Object(fields)) => {
            fields.contains_key("ColumnRef")
                || fields.iter().any(|(name, value)| name != "subselect" && has_own_column(Some(value)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doing;

    fn one(text: &str) -> (WritingCommand, Reads) {
        let writings = doing(text).expect("SQL").writings;
        assert_eq!(writings.len(), 1, "{text}: {writings:?}");
        assert_eq!(writings[0].table, "t", "{text}");
        (writings[0].command, writings[0].reads)
    }

    #[test]
    fn a_statement_reads_what_it_names() {
        use Reads::{No, Unknown, Yes};
        use WritingCommand::{Copy, Delete, Insert, InsertOrSkip, Merge, Truncate, Update, Upsert};
        for (text, expected) in [
            ("INSERT INTO t VALUES (1)", (Insert, No)),
            ("INSERT INTO t SELECT a FROM u", (Insert, No)),
            ("INSERT INTO t VALUES (1) RETURNING 1", (Insert, No)),
            ("INSERT INTO t VALUES (1) RETURNING id", (Insert, Yes)),
            ("INSERT INTO t VALUES (1) RETURNING *", (Insert, Yes)),
            ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", (InsertOrSkip, No)),
            ("INSERT INTO t VALUES (1) ON CONFLICT (id) DO NOTHING", (InsertOrSkip, Yes)),
            ("INSERT INTO t VALUES (1) ON CONFLICT ON CONSTRAINT k DO NOTHING", (InsertOrSkip, Yes)),
            ("INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 1", (Upsert, Yes)),
            ("UPDATE t SET a = 1", (Update, No)),
            ("UPDATE t SET a = $1", (Update, No)),
            ("UPDATE t SET a = a + 1", (Update, Yes)),
            ("UPDATE t SET a = 1 WHERE id = 2", (Update, Yes)),
            ("UPDATE t SET a = 1 RETURNING id", (Update, Yes)),
            ("UPDATE t SET a = (SELECT max(b) FROM u)", (Update, Unknown)),
            ("UPDATE t SET a = 1 FROM u WHERE u.id = 2", (Update, Unknown)),
            ("UPDATE t SET a = 1 WHERE CURRENT OF c", (Update, No)),
            ("DELETE FROM t", (Delete, No)),
            ("DELETE FROM s.t WHERE id = 1", (Delete, Yes)),
            ("DELETE FROM t USING u WHERE t.id = u.id", (Delete, Unknown)),
            ("MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE", (Merge, Yes)),
            ("COPY t FROM STDIN", (Copy, No)),
            ("TRUNCATE t", (Truncate, No)),
            ("WITH x AS (DELETE FROM t RETURNING id) SELECT * FROM x", (Delete, Yes)),
        ] {
            assert_eq!(one(text), expected, "{text}");
        }
    }

    #[test]
    fn a_query_writes_nothing() {
        for text in ["SELECT * FROM t", "COPY t TO STDOUT", "CREATE TABLE t (a int)", "BEGIN"] {
            assert_eq!(doing(text).expect("SQL").writings, [], "{text}");
        }
        assert!(doing("UPDATE").is_err());
    }
}
