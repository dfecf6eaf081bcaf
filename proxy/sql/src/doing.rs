//! What a text does to tables: those that it writes to, those that it reads besides, and the functions that it calls.

use crate::catalog::is_catalog_relation;
use crate::relation::{MAX_PARSE_BYTES, ParseError, Relation};
use crate::writing::{Writing, writing};
use serde_json::Value;
use std::collections::BTreeSet;

/// What a text does to tables, in all of its statements and in their WITH.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doing {
    /// The tables that it writes to.
    pub writings: Vec<Writing>,
    /// The relations that it reads from, outside `pg_catalog` and `information_schema`. A table that is only written to is
    /// not among them; one of its own name in a sub-query is. Names of common table expressions may be among them.
    pub reads: BTreeSet<Relation>,
    /// The names of its common table expressions: what it reads by such a name may be no relation.
    pub common: BTreeSet<String>,
    /// The functions that it calls, without their schemas.
    pub calls: BTreeSet<String>,
}

/// What a text does to tables.
///
/// As [`user_relations`](crate::user_relations), for a thread with a deep stack.
///
/// # Errors
/// [`ParseError`] when the text is too long or is not PostgreSQL's SQL.
pub fn doing(text: &str) -> Result<Doing, ParseError> {
    if text.len() > MAX_PARSE_BYTES {
        return Err(ParseError::TooLong { bytes: text.len() });
    }
    let syntax = |reason: String| ParseError::Syntax { reason };
    let tree = pg_query::parse(text, pg_query::ParserOptions::default())
        .map_err(|error| syntax(error.to_string()))?;
    let tree = serde_json::to_value(&tree.protobuf).map_err(|error| syntax(error.to_string()))?;
    let mut doing = Doing::default();
    walk(&tree, &mut doing);
    Ok(doing)
}

fn walk(value: &Value, doing: &mut Doing) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| walk(value, doing)),
        Value::Object(fields) => {
            for (name, value) in fields {
                node(name, value, doing);
                // What TRUNCATE names it does not read.
                if name != "TruncateStmt" {
                    walk(value, doing);
                }
            }
        }
        _ => {}
    }
}

/// A target stands in its statement as it is, what is read from in a node of its own: only the latter has the name of its
/// kind.
fn node(kind: &str, fields: &Value, doing: &mut Doing) {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    match kind {
        "RangeVar" => {
            let schema = text("schemaname").map(str::to_owned);
            let relation = text("relname").map(|name| Relation { schema, name: name.to_owned() });
            doing.reads.extend(relation.filter(|relation| !is_of_the_system(relation)));
        }
        "CommonTableExpr" => doing.common.extend(text("ctename").map(str::to_owned)),
        "FuncCall" | "funccall" => doing.calls.extend(called(fields)),
        _ => writing(kind, fields, &mut doing.writings),
    }
}

fn called(call: &Value) -> Option<String> {
    let last = call.get("funcname")?.as_array()?.last()?;
    last.get("node")?.get("String")?.get("sval")?.as_str().map(str::to_owned)
}

fn is_of_the_system(relation: &Relation) -> bool {
    match relation.schema.as_deref() {
        Some(schema) => matches!(schema, "pg_catalog" | "information_schema"),
        None => is_catalog_relation(&relation.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, writes: &str, reads: &str, calls: &str) {
        let doing = doing(text).expect("SQL");
        let written: Vec<&str> = doing.writings.iter().map(|one| one.table.as_str()).collect();
        let read: Vec<String> = doing.reads.iter().map(ToString::to_string).collect();
        let called: Vec<&str> = doing.calls.iter().map(String::as_str).collect();
        assert_eq!(
            (written.join(" "), read.join(" "), called.join(" ")),
            (writes.into(), reads.into(), calls.into())
        );
    }

    #[test]
    fn what_is_read_is_told_from_what_is_written() {
        check("INSERT INTO t VALUES (1, now())", "t", "", "now");
        check("INSERT INTO t SELECT * FROM u", "t", "u", "");
        check("UPDATE t SET a = b + 1 WHERE c = $1 RETURNING *", "t", "", "");
        check("UPDATE t SET a = u.a FROM s.u WHERE t.id = u.id", "t", "s.u", "");
        check("UPDATE t SET a = (SELECT max(a) FROM t)", "t", "t", "max");
        check("DELETE FROM t USING u WHERE t.id = u.id", "t", "u", "");
        check("DELETE FROM t RETURNING (SELECT x FROM w)", "t", "w", "");
        check("MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE", "t", "u", "");
        check("INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = excluded.a", "t", "", "");
        check("TRUNCATE t, u", "t u", "", "");
        check("COPY t FROM STDIN", "t", "", "");
        check("INSERT INTO t SELECT s.f(x) FROM g(1) AS x, pg_class", "t", "", "f g");
        check("CALL s.p(1)", "", "", "p");
        check("DECLARE c CURSOR FOR SELECT * FROM t", "", "t", "");
    }

    #[test]
    fn a_common_table_expression_may_hide_a_table_of_its_name() {
        let doing = doing("WITH t AS (SELECT * FROM t) INSERT INTO u SELECT * FROM t").expect("SQL");
        assert!(doing.common.contains("t") && doing.reads.iter().any(|one| one.name == "t"));
    }
}
