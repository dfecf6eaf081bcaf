//! What PostgreSQL's own grammar (libpg_query) finds in a text: calls, settings, and every other name.
//!
//! The tree is walked as a generic one, so that no kind of node is overlooked: whatever holds a name and is not known
//! to be harmless is a [`Parsed::other`].

use serde_json::{Map, Value};

use crate::relation::{MAX_PARSE_BYTES, ParseError};

/// What a text says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// Its calls of functions and procedures.
    pub calls: Vec<Call>,
    /// The parameters that are set in it, by SET or by the SET clause of another statement.
    pub settings: Vec<String>,
    /// The relations that UPDATE and MERGE change.
    pub changed: Vec<String>,
    /// Its statements, and those within them, by the names of their nodes (`parsenodes.h`).
    pub statements: Vec<String>,
    /// All other names and constants of definitions; not the names of columns and aliases.
    pub other: Vec<String>,
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The function's name in lower case, parts joined by dots.
    pub name: String,
    /// What it is called with.
    pub arguments: Vec<Argument>,
}

/// An argument of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// A string constant, perhaps cast to `text`.
    Text(String),
    /// Another constant: it is no text.
    Constant,
    /// Anything else.
    Computed,
}

/// Parses a text.
///
/// As [`user_relations`](crate::user_relations), for a thread with a deep stack. String constants are read as with
/// `standard_conforming_strings = on`: see [`reads_the_same`](crate::reads_the_same).
///
/// # Errors
/// [`ParseError`] when the text is too long or is not PostgreSQL's SQL.
pub fn parsed(text: &str) -> Result<Parsed, ParseError> {
    if text.len() > MAX_PARSE_BYTES {
        return Err(ParseError::TooLong { bytes: text.len() });
    }
    let syntax = |reason: String| ParseError::Syntax { reason };
    let tree = pg_query::parse(text, pg_query::ParserOptions::default())
        .map_err(|error| syntax(error.to_string()))?;
    let tree = serde_json::to_value(&tree.protobuf).map_err(|error| syntax(error.to_string()))?;
    let mut parsed = Parsed::default();
    parsed.value("", &tree);
    Ok(parsed)
}

impl Parsed {
    /// `key` is the name of the field or node that holds the value.
    fn value(&mut self, key: &str, value: &Value) {
        match value {
            Value::Object(fields) => self.object(key, fields),
            Value::Array(values) => values.iter().for_each(|value| self.value(key, value)),
            Value::String(text) if !text.is_empty() => self.other.push(text.clone()),
            _ => {}
        }
    }

    fn object(&mut self, key: &str, fields: &Map<String, Value>) {
        if key.ends_with("Stmt") {
            self.statements.push(key.to_owned());
        }
        match key {
            // The second is the SET clause of ALTER ROLE and ALTER DATABASE.
            "VariableSetStmt" | "setstmt" => {
                self.settings.extend(text(fields, "name").map(str::to_lowercase));
            }
            "UpdateStmt" | "MergeStmt" => {
                let name = fields.get("relation").and_then(|relation| relation.get("relname"));
                self.changed.extend(name.and_then(Value::as_str).map(str::to_lowercase));
            }
            _ => {}
        }
        let is_call = fields.contains_key("funcname") && fields.contains_key("agg_star");
        if is_call {
            self.calls.push(call(fields));
        }
        for (name, value) in fields {
            let is_harmless = match (key, name.as_str()) {
                ("VariableSetStmt" | "setstmt", "name") | ("ResTarget", "name") | ("ColumnRef", "fields") => {
                    true
                }
                ("Alias" | "alias", "aliasname" | "colnames") => true,
                ("GrantStmt" | "CommentStmt", "objects" | "object") => true,
                ("AConst", _) => true,
                (_, "funcname") => is_call,
                _ => false,
            };
            if !is_harmless {
                self.value(name, value);
            }
        }
    }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

fn call(fields: &Map<String, Value>) -> Call {
    let list = |name: &str| fields.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let parts: Vec<String> = list("funcname").iter().filter_map(string).collect();
    Call { name: parts.join(".").to_lowercase(), arguments: list("args").iter().map(argument).collect() }
}

/// The node within a `Node`, of this kind.
fn node<'a>(value: &'a Value, kind: &str) -> Option<&'a Value> {
    value.get("node")?.get(kind)
}

fn string(value: &Value) -> Option<String> {
    Some(node(value, "String")?.get("sval")?.as_str()?.to_owned())
}

fn argument(value: &Value) -> Argument {
    if let Some(cast) = node(value, "TypeCast") {
        let is_text = cast.get("type_name").is_some_and(is_text);
        let inner = cast.get("arg").map(argument);
        return inner.filter(|_| is_text).unwrap_or(Argument::Computed);
    }
    match node(value, "AConst").and_then(|constant| constant.get("val")) {
        Some(Value::Object(kinds)) => match kinds.get("Sval").and_then(|value| value.get("sval")) {
            Some(text) => Argument::Text(text.as_str().unwrap_or_default().to_owned()),
            None => Argument::Constant,
        },
        // NULL has no value.
        Some(_) => Argument::Constant,
        None => Argument::Computed,
    }
}

fn is_text(name: &Value) -> bool {
    let parts = name.get("names").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let parts: Vec<String> = parts.iter().filter_map(string).collect();
    let is_plain = name.get("array_bounds").and_then(Value::as_array).is_none_or(Vec::is_empty);
    is_plain
        && matches!(
            parts.iter().map(String::as_str).collect::<Vec<_>>().as_slice(),
            ["text"] | ["pg_catalog", "text"]
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Parsed {
        parsed(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn calls_are_found_wherever_they_stand() {
        for text in [
            "SELECT app.f('x', 1, a)",
            "SELECT 1 FROM t WHERE EXISTS (SELECT app.f('x', 1, a))",
            "INSERT INTO t VALUES (1) RETURNING (SELECT app.f('x', 1, a))",
            "DECLARE c CURSOR FOR SELECT app.f('x', 1, a)",
            "COPY (SELECT app.f('x', 1, a)) TO STDOUT",
            "MERGE INTO t USING (SELECT app.f('x', 1, a)) s ON true WHEN MATCHED THEN DELETE",
            "CALL app.f('x', 1, a)",
            "EXECUTE p(app.f('x', 1, a))",
            "CREATE TABLE t (a text DEFAULT app.f('x', 1, a))",
        ] {
            let call = Call {
                name: "app.f".to_owned(),
                arguments: vec![Argument::Text("x".to_owned()), Argument::Constant, Argument::Computed],
            };
            assert_eq!(read(text).calls, [call], "{text}");
        }
    }

    #[test]
    fn a_name_that_is_no_call_is_told_from_one_that_can_become_one() {
        let named = |text: &str| read(text).other.iter().filter(|name| *name == "set_config").count();
        for text in [
            "SELECT set_config FROM t",
            "SELECT 1 AS set_config",
            "SELECT 'set_config'",
            "SELECT * FROM f() set_config",
        ] {
            assert_eq!(named(text), 0, "{text}");
        }
        for text in [
            "CREATE AGGREGATE a(text, boolean) (sfunc = set_config, stype = text)",
            "CREATE AGGREGATE a(text, boolean) (sfunc = 'set_config', stype = text)",
            "CREATE TRIGGER t BEFORE INSERT ON t EXECUTE FUNCTION set_config()",
            "SELECT * FROM set_config",
        ] {
            assert_eq!(named(text), 1, "{text}");
        }
    }

    #[test]
    fn settings_are_found_in_clauses_too() {
        assert_eq!(read("ALTER ROLE x SET app.a = 'b'").settings, ["app.a"]);
        assert_eq!(
            read("CREATE FUNCTION f() RETURNS int LANGUAGE sql SET Role = 'x' AS ''").settings,
            ["role"]
        );
        assert_eq!(
            read("WITH x AS (UPDATE pg_settings SET setting = 'x' RETURNING 1) SELECT 1").changed,
            ["pg_settings"]
        );
    }
}
