//! Which relations a text reads and which it writes, for the account of what somebody did.

use crate::catalog::is_catalog_relation;
use crate::overlooked::overlooked;
use crate::relation::{MAX_PARSE_BYTES, ParseError, Relation};
use crate::{StringSyntax, Verb, analyse};
use pg_query::NodeEnum;
use pg_query::protobuf::summary_result::Context;
use pg_query::protobuf::{DropStmt, Node, ObjectType, RangeVar};
use std::collections::BTreeSet;

/// The relations outside `pg_catalog` and `information_schema` that a text names, by what it does with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Those that queries in it read from.
    pub read: BTreeSet<Relation>,
    /// Those that it changes, or whose definition it changes.
    pub written: BTreeSet<Relation>,
    /// Whether it runs something else that may reach others: DO, CALL or EXECUTE.
    pub is_partial: bool,
}

/// The relations that a text reads and writes.
///
/// What [`user_relations`](crate::user_relations) says of its answer and of the stack holds here, too: functions, `DO`
/// and `CALL` reach relations that no text names.
///
/// # Errors
/// [`ParseError`] when the text is too long or is not PostgreSQL's SQL.
pub fn relation_uses(text: &str) -> Result<Uses, ParseError> {
    if text.len() > MAX_PARSE_BYTES {
        return Err(ParseError::TooLong { bytes: text.len() });
    }
    let unreadable = |error: crate::LexError| ParseError::Syntax { reason: error.to_string() };
    let mut uses = Uses::default();
    for statement in analyse(text.as_bytes(), StringSyntax::Standard).map_err(unreadable)?.statements() {
        let part = text.get(statement.span.clone()).unwrap_or_default();
        let mut found = Uses::default();
        let common = summarise(part, &[], &mut found)?;
        for query in overlooked(part).map_err(unreadable)? {
            summarise(&query, &common, &mut found)?;
        }
        match statement.verb {
            // To the summary every COPY reads.
            Verb::CopyFrom => found.written.append(&mut found.read),
            Verb::Other | Verb::Unblockable if found == Uses::default() => {
                found.written.extend(defined(part).into_iter().filter(|one| !is_of_the_system(one)));
            }
            Verb::Do | Verb::Call | Verb::ExecutePrepared => uses.is_partial = true,
            _ => {}
        }
        uses.read.append(&mut found.read);
        uses.written.append(&mut found.written);
    }
    Ok(uses)
}

/// The relation whose definition a statement changes, for statements that the summary does not look into
/// (`pg_query_summary.c`).
fn defined(statement: &str) -> Vec<Relation> {
    let Ok(parsed) = pg_query::parse(statement, 0) else { return Vec::new() };
    let first = parsed.protobuf.stmts.into_iter().next().and_then(|raw| raw.stmt).and_then(|node| node.node);
    let range = match first {
        Some(NodeEnum::CreatePolicyStmt(one)) => one.table,
        Some(NodeEnum::AlterPolicyStmt(one)) => one.table,
        Some(NodeEnum::RenameStmt(one)) => one.relation,
        Some(NodeEnum::AlterObjectSchemaStmt(one)) => one.relation,
        Some(NodeEnum::ClusterStmt(one)) => one.relation,
        Some(NodeEnum::ReindexStmt(one)) => one.relation,
        Some(NodeEnum::CreateSeqStmt(one)) => one.sequence,
        Some(NodeEnum::AlterSeqStmt(one)) => one.sequence,
        Some(NodeEnum::DropStmt(one)) => return dropped(&one),
        _ => None,
    };
    let relation = |range: RangeVar| Relation {
        schema: Some(range.schemaname).filter(|name| !name.is_empty()),
        name: range.relname,
    };
    range.map(relation).into_iter().collect()
}

/// What a DROP drops; for what belongs to a table, the table.
fn dropped(statement: &DropStmt) -> Vec<Relation> {
    let belongs = match ObjectType::try_from(statement.remove_type) {
        Ok(ObjectType::ObjectPolicy | ObjectType::ObjectRule | ObjectType::ObjectTrigger) => 1,
        Ok(
            ObjectType::ObjectView
            | ObjectType::ObjectMatview
            | ObjectType::ObjectSequence
            | ObjectType::ObjectForeignTable
            | ObjectType::ObjectIndex,
        ) => 0,
        _ => return Vec::new(),
    };
    let text = |node: &Node| match &node.node {
        Some(NodeEnum::String(text)) => Some(text.sval.clone()),
        _ => None,
    };
    let relation = |object: &Node| {
        let Some(NodeEnum::List(list)) = &object.node else { return None };
        let mut names = list.items.iter().rev().skip(belongs).filter_map(text);
        names.next().map(|name| Relation { schema: names.next(), name })
    };
    statement.objects.iter().filter_map(relation).collect()
}

/// Adds what libpg_query's summary finds, except the names given; returns those of common table expressions.
fn summarise(text: &str, except: &[String], uses: &mut Uses) -> Result<Vec<String>, ParseError> {
    let summary =
        pg_query::summary(text, 0, -1).map_err(|error| ParseError::Syntax { reason: error.to_string() })?;
    for table in summary.tables {
        let schema = Some(table.schema_name).filter(|name| !name.is_empty());
        let relation = Relation { schema, name: table.table_name };
        let is_common = relation.schema.is_none() && except.contains(&relation.name);
        if is_common || is_of_the_system(&relation) {
            continue;
        }
        match table.context {
            Context::Dml | Context::Ddl => uses.written.insert(relation),
            _ => uses.read.insert(relation),
        };
    }
    Ok(summary.cte_names)
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
    fn check(text: &str, read: &str, written: &str) {
        let uses = relation_uses(text).expect("it parses");
        let names = |relations: &BTreeSet<Relation>| {
            relations.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!((names(&uses.read).as_str(), names(&uses.written).as_str()), (read, written), "{text}");
    }

    #[test]
    fn reading_is_told_from_writing() {
        check("SELECT * FROM a JOIN public.b USING (id)", "a public.b", "");
        check("WITH c AS (SELECT * FROM a) SELECT * FROM c", "a", "");
        check("INSERT INTO a SELECT * FROM b", "b", "a");
        check("UPDATE a SET x = b.x FROM b", "b", "a");
        check("DELETE FROM a USING b WHERE a.id IN (SELECT id FROM c)", "b c", "a");
        check("DELETE FROM a RETURNING (SELECT x FROM b)", "b", "a");
        check("SELECT * FROM pg_class, information_schema.tables", "", "");
        check("DECLARE c CURSOR FOR SELECT * FROM a", "a", "");
    }

    #[test]
    fn what_runs_something_else_says_so() {
        for (text, is_partial) in [
            ("SELECT f()", false),
            ("DO 'BEGIN END'", true),
            ("CALL f()", true),
            ("SELECT 1; EXECUTE a", true),
        ] {
            assert_eq!(relation_uses(text).map(|uses| uses.is_partial), Ok(is_partial), "{text}");
        }
    }

    #[test]
    fn changing_a_definition_is_writing() {
        for text in [
            "CREATE TABLE a (x int)",
            "ALTER TABLE a ADD COLUMN y int",
            "DROP TABLE a",
            "TRUNCATE a",
            "CREATE INDEX CONCURRENTLY i ON a (x)",
            "CREATE POLICY p ON a USING (true)",
            "CREATE POLICY p ON a USING (x IN (SELECT x FROM b))",
            "ALTER POLICY p ON a USING (true)",
            "DROP POLICY p ON a",
            "DROP TRIGGER t ON a",
            "ALTER TABLE a RENAME x TO y",
            "ALTER TABLE a SET SCHEMA z",
            "REINDEX TABLE a",
            "DROP VIEW a",
            "CREATE SEQUENCE a",
            "GRANT SELECT ON a TO b",
            "LOCK TABLE a",
            "COPY a FROM STDIN",
        ] {
            check(text, "", "a");
        }
        check("COPY a TO STDOUT", "a", "");
        check("CREATE VIEW v AS SELECT * FROM a", "a", "v");
        check("CREATE TABLE b AS SELECT * FROM a", "a", "b");
        check("ALTER TABLE a RENAME TO b", "", "a b");
        check("DROP POLICY p ON s.a; SELECT * FROM b; COPY c FROM STDIN", "b", "c s.a");
    }
}
