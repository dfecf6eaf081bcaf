//! A migration file, as far as it is about policies.

use super::definition::{Change, Policy, Switch};
use super::statement::{self, Setting, Statement};
use pg_query::protobuf::RawStmt;
use std::collections::BTreeMap;
use thiserror::Error;

/// The longest file that is read, in bytes.
const LONGEST: usize = 4 * 1024 * 1024;

/// What a file does to policies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migration {
    /// What it does to each table.
    pub tables: BTreeMap<Named, Change>,
    /// The functions that it makes, and what it grants on them, in the file's order.
    pub helpers: Vec<Helper>,
    /// What has not been read.
    pub unread: Vec<Unread>,
}

/// A table as the file names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The schema, where it is named.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
    /// The search path in which it is looked for: the argument of SET, where the file has one.
    pub search_path: Option<String>,
}

/// A statement about a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helper {
    /// The statement.
    pub sql: String,
    /// The role that the file has become there.
    pub role: Option<String>,
    /// The search path that it has set there.
    pub search_path: Option<String>,
}

/// A statement that is not staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The line in which it begins.
    pub line: usize,
    /// Why it is left out.
    pub why: String,
    /// Whether policies depend on it.
    pub weight: Weight,
}

/// How much a statement that is left out matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It has nothing to do with policies.
    Aside,
    /// It changes policies in a way that cannot be told.
    Policies,
    /// It drops policies that it does not name.
    Drops,
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MigrationError {
    /// Resource: it is longer than 4 MiB.
    #[error("the file has {0} bytes, {LONGEST} at most are read")]
    TooLong(usize),
    /// Caller: it is no SQL.
    #[error("the file is not PostgreSQL's SQL: {0}")]
    Syntax(String),
}

/// Reads a migration. For a thread with a deep stack (64 MiB are enough for 4 MiB).
///
/// What its transaction control, its locks and its timeouts say does not matter here, and is skipped.
///
/// # Errors
/// [`MigrationError`] when the file cannot be read as a whole.
pub fn migration(text: &str) -> Result<Migration, MigrationError> {
    if text.len() > LONGEST {
        return Err(MigrationError::TooLong(text.len()));
    }
    let parsed = pg_query::parse(text, pg_query::ParserOptions::default())
        .map_err(|error| MigrationError::Syntax(error.to_string()))?;
    let mut reader = Reader { text, migration: Migration::default(), role: None, search_path: None };
    for raw in &parsed.protobuf.stmts {
        reader.statement(raw);
    }
    reader.migration.tables.retain(|_, change| !change.is_empty());
    Ok(reader.migration)
}

struct Reader<'a> {
    text: &'a str,
    migration: Migration,
    role: Option<String>,
    search_path: Option<String>,
}

impl Reader<'_> {
    fn statement(&mut self, raw: &RawStmt) {
        let Some(node) = raw.stmt.as_ref().and_then(|stmt| stmt.node.as_ref()) else { return };
        match statement::read(node) {
            Statement::Create(table, policy) => self.create(table, *policy),
            Statement::Drop(table, name) => {
                let change = self.change(table);
                change.created.retain(|policy| policy.name != name);
                if !change.dropped.contains(&name) {
                    change.dropped.push(name);
                }
            }
            Statement::Force(table, switch) => self.change(table).force = Some(switch),
            // Staging sees to it; where it is off, it says so.
            Statement::Enable(_, Switch::On) | Statement::Skipped => {}
            Statement::Enable(table, Switch::Off) => {
                let why = format!("it switches row level security off on {}", table.name);
                self.unread(raw, why, Weight::Policies);
            }
            Statement::Set(Setting::Role(role)) => self.role = role,
            Statement::Set(Setting::SearchPath(path)) => self.search_path = path,
            Statement::Helper => {
                let helper = Helper {
                    sql: self.source(raw),
                    role: self.role.clone(),
                    search_path: self.search_path.clone(),
                };
                self.migration.helpers.push(helper);
            }
            Statement::Block => self.block(raw),
            Statement::Unread(why, weight) => self.unread(raw, why, weight),
        }
    }

    fn create(&mut self, table: Named, policy: Policy) {
        let policy = Policy { search_path: self.search_path.clone(), ..policy };
        let change = self.change(table);
        change.created.retain(|other| other.name != policy.name);
        change.created.push(policy);
    }

    fn change(&mut self, table: Named) -> &mut Change {
        let named = Named { search_path: self.search_path.clone(), ..table };
        self.migration.tables.entry(named).or_default()
    }

    /// A DO block: what it runs is put together when it runs.
    fn block(&mut self, raw: &RawStmt) {
        let source = self.source(raw).to_lowercase();
        let says = |words: &str| source.split_whitespace().collect::<Vec<_>>().join(" ").contains(words);
        let (why, weight) =
            if says("create policy") || says("alter policy") || says("row level security") && says("execute")
            {
                ("a DO block changes policies in a way that only running it tells", Weight::Policies)
            } else if says("drop policy") {
                ("a DO block drops policies, and which only running it tells", Weight::Drops)
            } else {
                ("a DO block is not run", Weight::Aside)
            };
        self.unread(raw, why.to_owned(), weight);
    }

    fn unread(&mut self, raw: &RawStmt, why: String, weight: Weight) {
        let line = 1 + self.before(raw).matches('\n').count();
        self.migration.unread.push(Unread { line, why, weight });
    }

    /// What stands in front of the statement, with the blanks and comments that the parser counts to it.
    fn before(&self, raw: &RawStmt) -> &str {
        let start = usize::try_from(raw.stmt_location).unwrap_or_default();
        let rest = self.text.get(start..).unwrap_or_default();
        let blank = rest.len() - skip_comments(rest).len();
        self.text.get(..start + blank).unwrap_or_default()
    }

    fn source(&self, raw: &RawStmt) -> String {
        let start = usize::try_from(raw.stmt_location).unwrap_or_default();
        let rest = self.text.get(start..).unwrap_or_default();
        let length = usize::try_from(raw.stmt_len).unwrap_or_default();
        let statement = if length == 0 { rest } else { rest.get(..length).unwrap_or(rest) };
        skip_comments(statement).trim_end().to_owned()
    }
}

/// The text from its first word on.
fn skip_comments(text: &str) -> &str {
    let mut rest = text.trim_start();
    loop {
        let next = if rest.starts_with("--") {
            rest.split_once('\n').map_or("", |(_, rest)| rest)
        } else if rest.starts_with("/*") {
            rest.split_once("*/").map_or("", |(_, rest)| rest)
        } else {
            return rest;
        };
        rest = next.trim_start();
    }
}
