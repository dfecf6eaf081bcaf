//! Contexts that the configuration itself gives to database users.

use std::collections::BTreeMap;

use crate::mistake::Fault;
use crate::reader::{Reader, single};
use crate::syntax;
use crate::written::{Node, Value};

const KEY: &str = "context.fixed";
const SHAPE: &str = "name=tenant:ID;user:ID";

/// A context that is known without a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fixed {
    /// The tenant, if there is one.
    pub tenant: Option<String>,
    /// The user, if there is one.
    pub user: Option<String>,
}

/// Reads `context.fixed`: a table by database user, or `alice=tenant:ID;user:ID, bob=…`.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> BTreeMap<String, Fixed> {
    let mut contexts = BTreeMap::new();
    let Some(node) = reader.node(KEY) else { return contexts };
    if let Value::Table(users) = &node.value {
        for (name, origin, node) in users {
            let fixed = from_table(reader, &format!("{KEY}.{name}"), node);
            if name.is_empty() {
                reader.wrong_at(origin.clone(), KEY, Fault::new("a user without a name", SHAPE));
            }
            contexts.extend(fixed.map(|fixed| (name.clone(), fixed)));
        }
        return contexts;
    }
    for read in single(node).map_or_else(|fault| vec![Err(fault)], parse_list) {
        let Some((name, fixed)) = reader.keep(read, &node.origin, KEY) else { continue };
        if contexts.insert(name.clone(), fixed).is_some() {
            let fault = Fault::new(format!("{name:?} is given twice"), "each user once");
            reader.wrong_at(node.origin.clone(), KEY, fault);
        }
    }
    contexts
}

/// Reads the one-line form.
pub(crate) fn parse_list(text: &str) -> Vec<Result<(String, Fixed), Fault>> {
    match syntax::split(text, ',') {
        Ok(items) => items.into_iter().map(parse_user).collect(),
        Err(fault) => vec![Err(fault)],
    }
}

fn parse_user(text: &str) -> Result<(String, Fixed), Fault> {
    let split = syntax::split_first(text, '=')?.filter(|(name, _)| !name.is_empty());
    let Some((name, fields)) = split else {
        return Err(Fault::new(format!("{text:?} names no user"), SHAPE));
    };
    let name = syntax::unquote(name)?;
    let mut fixed = Fixed::default();
    for field in syntax::split(fields, ';')? {
        let (place, value) = match syntax::split_first(field, ':')? {
            Some(("tenant", value)) => (&mut fixed.tenant, value),
            Some(("user", value)) => (&mut fixed.user, value),
            _ => return Err(Fault::new(format!("{field:?} is neither tenant:ID nor user:ID"), SHAPE)),
        };
        let value = syntax::unquote(value)?;
        if value.is_empty() || place.replace(value).is_some() {
            return Err(Fault::new(format!("{field:?} is empty or given twice"), SHAPE));
        }
    }
    Ok((name, fixed))
}

fn from_table(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Fixed> {
    let Value::Table(fields) = &node.value else {
        let fault = Fault::new("is not a table", format!("[{key}] with tenant and user"));
        reader.wrong_at(node.origin.clone(), key, fault);
        return None;
    };
    let mut fixed = Fixed::default();
    for (name, origin, node) in fields {
        let place = match name.as_str() {
            "tenant" => &mut fixed.tenant,
            "user" => &mut fixed.user,
            _ => {
                let fault = Fault::new("unknown key", "one of tenant, user");
                reader.wrong_at(origin.clone(), &format!("{key}.{name}"), fault);
                continue;
            }
        };
        let value = single(node).map(str::to_owned);
        *place = reader.keep(value, &node.origin, &format!("{key}.{name}"));
    }
    if fields.is_empty() {
        let fault = Fault::new("is empty", "tenant, user or both");
        reader.wrong_at(node.origin.clone(), key, fault);
    }
    Some(fixed)
}
