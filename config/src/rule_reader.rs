//! Reading `[[auth.rules]]`.

use crate::auth::Method;
use crate::mistake::{Fault, Origin};
use crate::network::Network;
use crate::reader::{Reader, single};
use crate::rules::{Connection, Names, Rule, special_database};
use crate::word::Word;
use crate::written::{Node, Value};

/// The key of the rules.
pub(crate) const KEY: &str = "auth.rules";
const FIELDS: &str = "one of type, database, user, address, method";

/// A rule and where it begins.
pub(crate) struct Placed {
    pub(crate) origin: Origin,
    pub(crate) rule: Rule,
}

/// Reads the rules; those with mistakes are left out.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> Vec<Placed> {
    let Some(node) = reader.node(KEY) else { return Vec::new() };
    let Value::List(items) = &node.value else {
        reader.wrong(KEY, Fault::new("is not a list of tables", "[[auth.rules]] with a method"));
        return Vec::new();
    };
    if items.is_empty() {
        reader.wrong(KEY, Fault::new("is empty", "at least one rule, or the key left out"));
    }
    if reader.is_written("auth.method") {
        let fault = Fault::new("auth.rules say the method already", "one of auth.method and auth.rules");
        reader.wrong("auth.method", fault);
    }
    let mut placed: Vec<Placed> = Vec::new();
    for item in items {
        let Some(rule) = one(reader, item) else { continue };
        if let Some(number) = placed.iter().position(|earlier| earlier.rule.covers(&rule)) {
            let line = place(&placed, number);
            let problem = format!("no client gets to this rule, because {line} takes them all");
            reader.wrong_at(item.origin.clone(), KEY, Fault::new(problem, "the narrower rule first"));
        }
        placed.push(Placed { origin: item.origin.clone(), rule });
    }
    placed
}

fn place(placed: &[Placed], number: usize) -> String {
    match placed.get(number).map(|earlier| &earlier.origin) {
        Some(Origin::File { line, .. }) => format!("the one of line {line}"),
        _ => "an earlier one".to_owned(),
    }
}

/// Reads one rule; `None` after a mistake.
fn one(reader: &mut Reader<'_>, node: &Node) -> Option<Rule> {
    let Value::Table(fields) = &node.value else {
        let fault = Fault::new("is not a table", "a table with type, database, user, address and method");
        reader.wrong_at(node.origin.clone(), KEY, fault);
        return None;
    };
    let mut draft = Draft::default();
    for (name, origin, value) in fields {
        let key = format!("{KEY}.{name}");
        let taken = match name.as_str() {
            "type" => single(value).and_then(Connection::from_word).map(|word| draft.connection = Some(word)),
            "database" => names(value, special_database).map(|names| draft.databases = names),
            "user" => names(value, |_| None).map(|names| draft.users = names),
            "address" => networks(value).map(|networks| draft.networks = networks),
            "method" => single(value).and_then(Method::from_word).map(|word| draft.method = Some(word)),
            _ => {
                reader.wrong_at(origin.clone(), &key, Fault::new("unknown key", FIELDS));
                draft.state = State::Wrong;
                continue;
            }
        };
        if reader.keep(taken, &value.origin, &key).is_none() {
            draft.state = State::Wrong;
        }
    }
    draft.finish(reader, &node.origin)
}

/// A rule as far as it was read.
struct Draft {
    connection: Option<Connection>,
    databases: Names,
    users: Names,
    networks: Vec<Network>,
    method: Option<Method>,
    state: State,
}

/// Whether a mistake was found in a rule.
#[derive(PartialEq, Eq)]
enum State {
    Right,
    Wrong,
}

impl Default for Draft {
    fn default() -> Self {
        let (databases, users) = (Names::All, Names::All);
        Self { connection: None, databases, users, networks: Vec::new(), method: None, state: State::Right }
    }
}

impl Draft {
    fn finish(self, reader: &mut Reader<'_>, origin: &Origin) -> Option<Rule> {
        if self.state == State::Wrong {
            return None;
        }
        let Some(method) = self.method else {
            let fault = Fault::new("is missing", format!("one of {}", Method::listed()));
            reader.wrong_at(origin.clone(), &format!("{KEY}.method"), fault);
            return None;
        };
        if self.connection == Some(Connection::Local) && !self.networks.is_empty() {
            let fault = Fault::new("clients of unix sockets have no address", "type host, or no address");
            reader.wrong_at(origin.clone(), &format!("{KEY}.address"), fault);
            return None;
        }
        let Self { connection, databases, users, networks, .. } = self;
        Some(Rule { connection, databases, users, networks, method })
    }
}

fn names(node: &Node, special: impl Fn(&str) -> Option<&'static str>) -> Result<Names, Fault> {
    Names::parse(&texts(node)?, special)
}

/// `all` stands for every address, as in `pg_hba.conf`, and for unix sockets if the type lets them.
fn networks(node: &Node) -> Result<Vec<Network>, Fault> {
    const EXPECTED: &str = "a range like 10.0.0.0/8 or fd00::/8, an address, or \"all\"";
    let texts = texts(node)?;
    match texts.as_slice() {
        [] => Err(Fault::new("is an empty list", "addresses, or \"all\"")),
        texts if texts.iter().any(|text| text == "all") => Ok(Vec::new()),
        texts => texts.iter().map(|text| Network::parse(text, EXPECTED)).collect(),
    }
}

/// A single text, or a list of them.
fn texts(node: &Node) -> Result<Vec<String>, Fault> {
    match &node.value {
        Value::List(items) => items.iter().map(|item| single(item).map(str::to_owned)).collect(),
        Value::Text(_) | Value::Table(_) => single(node).map(|text| vec![text.to_owned()]),
    }
}
