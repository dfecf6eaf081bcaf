//! What an expression of a policy asks: functions, tables, the role.

use super::body::is_about_roles;
use pg_query::protobuf::SqlValueFunctionOp;
use pgwarden_sql::{ParseError, Relation, user_relations};
use serde_json::{Map, Value};

/// What an expression asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The functions that it calls; operators are left out.
    pub functions: Vec<Called>,
    /// The tables that its sub-queries read.
    pub relations: Vec<Relation>,
    /// What asks who the role is, if anything does.
    pub role: Option<String>,
}

/// A function, as an expression names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Called {
    /// The schema, where that is named.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
}

/// Looks into an expression. For a thread with a deep stack, as all that parses.
///
/// # Errors
/// [`ParseError`] when it is none.
pub fn asked(expression: &str) -> Result<Asked, ParseError> {
    let query = format!("SELECT {expression}");
    let relations = user_relations(&query)?;
    let syntax = |reason: String| ParseError::Syntax { reason };
    let tree = pg_query::parse(&query, pg_query::ParserOptions::default())
        .map_err(|error| syntax(error.to_string()))?;
    let tree = serde_json::to_value(&tree.protobuf).map_err(|error| syntax(error.to_string()))?;
    let mut asked = Asked { relations, ..Asked::default() };
    asked.value(&tree);
    Ok(asked)
}

impl Asked {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => self.object(fields),
            Value::Array(values) => values.iter().for_each(|value| self.value(value)),
            _ => {}
        }
    }

    fn object(&mut self, fields: &Map<String, Value>) {
        for (name, value) in fields {
            if name.eq_ignore_ascii_case("SqlvalueFunction") {
                let kind = value.get("op").and_then(Value::as_i64).and_then(|op| i32::try_from(op).ok());
                let role = kind.and_then(|op| SqlValueFunctionOp::try_from(op).ok()).and_then(role_word);
                self.role = self.role.take().or(role.map(str::to_owned));
            }
            if name == "funcname" {
                self.called(value, fields);
            }
            self.value(value);
        }
    }

    fn called(&mut self, name: &Value, call: &Map<String, Value>) {
        let parts: Vec<&str> = name.as_array().into_iter().flatten().filter_map(part).collect();
        let called = match parts.as_slice() {
            [name] => Called { schema: None, name: (*name).to_owned() },
            [.., schema, name] => Called { schema: Some((*schema).to_owned()), name: (*name).to_owned() },
            [] => return,
        };
        if is_about_roles(&called.name) || is_about_roles_in(&called.name, call) {
            self.role.get_or_insert_with(|| called.name.clone());
        }
        self.functions.push(called);
    }
}

fn part(value: &Value) -> Option<&str> {
    value.get("node")?.get("String")?.get("sval")?.as_str()
}

fn role_word(op: SqlValueFunctionOp) -> Option<&'static str> {
    match op {
        SqlValueFunctionOp::SvfopCurrentRole => Some("current_role"),
        SqlValueFunctionOp::SvfopCurrentUser => Some("current_user"),
        SqlValueFunctionOp::SvfopUser => Some("user"),
        SqlValueFunctionOp::SvfopSessionUser => Some("session_user"),
        _ => None,
    }
}

/// `current_setting('role')` and its like.
fn is_about_roles_in(name: &str, call: &Map<String, Value>) -> bool {
    let text = || serde_json::to_string(call.get("args").unwrap_or(&Value::Null)).unwrap_or_default();
    name == "current_setting"
        && ["\"role\"", "\"session_authorization\"", "\"is_superuser\""]
            .iter()
            .any(|one| text().contains(one))
}
