//! The configuration as it was written: keys, values, and where each value stands.
//!
//! The file, the environment and the flags all end up in one map from dotted key to [`Node`], the
//! stronger origin replacing the weaker. Values are not interpreted here, so that a wrong value does not
//! hide the next one; only the shape (syntax, unknown keys) is checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::keys;
use crate::mistake::{Fault, Mistake, Origin};

/// A value and where it stands. No `Debug`: it may hold a secret.
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

/// A value as it was written.
pub(crate) enum Value {
    /// A string, number, boolean or date, as text; everything from the environment is one.
    Text(String),
    /// An array.
    List(Vec<Node>),
    /// A table: name, where the name stands, value.
    Table(Vec<(String, Origin, Node)>),
}

/// All that was written, and what is wrong with its shape.
pub(crate) struct Written {
    entries: BTreeMap<String, Node>,
    /// Unknown keys of the file.
    pub(crate) mistakes: Vec<Mistake>,
    /// Unknown `PGWARDEN_*` names; not a mistake if the configuration itself refers to them by `env:`.
    pub(crate) unknown: Vec<(String, Origin)>,
}

impl Written {
    /// Reads file, environment and flags, in this order, later ones replacing earlier ones.
    ///
    /// Stops only when the file is not TOML: what would follow from half a file helps nobody.
    pub(crate) fn read(
        file: Option<(&Path, &str)>,
        environment: &[(String, String)],
        overrides: &[(String, String)],
    ) -> Result<Self, Vec<Mistake>> {
        let mut written = Self { entries: BTreeMap::new(), mistakes: Vec::new(), unknown: Vec::new() };
        if let Some((path, text)) = file {
            let place = Place { path: path.to_owned(), text };
            let (table, errors) = DeTable::parse_recoverable(text);
            if !errors.is_empty() {
                return Err(errors.iter().map(|error| place.syntax(error)).collect());
            }
            written.section("", table.get_ref(), &place);
        }
        for (name, value) in environment {
            if name.starts_with(keys::PREFIX) && !is_service_link(name, value) {
                written.variable(name, value, Origin::Environment { name: name.clone() });
            }
        }
        for (name, value) in overrides {
            written.variable(name, value, Origin::Flag { name: flag(name) });
        }
        Ok(written)
    }

    /// What was written under a key.
    pub(crate) fn node(&self, key: &str) -> Option<&Node> {
        self.entries.get(key)
    }

    fn variable(&mut self, name: &str, value: &str, origin: Origin) {
        if let Some(key) = keys::of_variable(name) {
            self.entries.insert(key.to_owned(), Node { origin, value: Value::Text(value.to_owned()) });
        } else if name != keys::CONFIG {
            self.unknown.push((name.to_owned(), origin));
        }
    }

    fn section(&mut self, prefix: &str, table: &DeTable<'_>, place: &Place<'_>) {
        for (name, value) in table {
            let name_text = name.get_ref().as_ref();
            let path = if prefix.is_empty() { name_text.to_owned() } else { format!("{prefix}.{name_text}") };
            if keys::is_key(&path) {
                self.entries.insert(path, place.node(value));
                continue;
            }
            match value.get_ref() {
                DeValue::Table(inner) if keys::is_section(&path) => self.section(&path, inner, place),
                _ if keys::is_section(&path) => {
                    let fault = Fault::new("is not a table", format!("a section [{path}]"));
                    self.mistakes.push(fault.at(place.origin(value.span().start), &path));
                }
                _ => self.mistakes.push(unknown_key(prefix, &path, place.origin(name.span().start))),
            }
        }
    }
}

/// The mistake that an unknown variable or flag is.
pub(crate) fn unknown_variable(name: &str, origin: Origin) -> Mistake {
    let problem = match keys::nearest_variable(name) {
        Some(meant) => format!("unknown variable, did you mean {meant}?"),
        None => "unknown variable".to_owned(),
    };
    Fault::new(problem, "one of the variables in reference.toml").at(origin, "")
}

fn unknown_key(section: &str, path: &str, origin: Origin) -> Mistake {
    let problem = match keys::nearest_key(path) {
        Some(meant) => format!("unknown key, did you mean {meant}?"),
        None => "unknown key".to_owned(),
    };
    Fault::new(problem, format!("one of {}", keys::names_in(section).join(", "))).at(origin, path)
}

/// `PGWARDEN_POOL_SIZE` as one types it on the command line: `--pool-size`.
fn flag(name: &str) -> String {
    let bare = name.strip_prefix(keys::PREFIX).unwrap_or(name);
    format!("--{}", bare.to_ascii_lowercase().replace('_', "-"))
}

/// Whether Kubernetes put this variable there, for a service that is named `pgwarden` or `pgwarden-…`.
///
/// <https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables>
fn is_service_link(name: &str, value: &str) -> bool {
    let numbered = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && value.contains("://"))
        || name.split_once("_PORT_").is_some_and(|(_, rest)| numbered(rest))
}

/// The file, for turning byte offsets into lines and columns.
struct Place<'a> {
    path: PathBuf,
    text: &'a str,
}

impl Place<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Origin::File {
            path: self.path.clone(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).map_or(0, |line| line.chars().count()) + 1,
        }
    }

    fn syntax(&self, error: &toml::de::Error) -> Mistake {
        let offset = error.span().map_or(0, |span| span.start);
        let message = error.message();
        let (problem, expected) = message.split_once(", expected ").unwrap_or((message, "valid TOML"));
        Fault::new(problem, expected).at(self.origin(offset), "")
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        let value_read = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => Value::Text(number.to_string()),
            DeValue::Float(number) => Value::Text(number.to_string()),
            DeValue::Boolean(truth) => Value::Text(truth.to_string()),
            DeValue::Datetime(moment) => Value::Text(moment.to_string()),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => Value::Table(
                table
                    .iter()
                    .map(|(name, item)| {
                        (name.get_ref().to_string(), self.origin(name.span().start), self.node(item))
                    })
                    .collect(),
            ),
        };
        Node { origin: self.origin(value.span().start), value: value_read }
    }
}
