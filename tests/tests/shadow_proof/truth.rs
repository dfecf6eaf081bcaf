//! What PostgreSQL does: with the tables as they are today, with the policies in force, and as the role of the staged form.

use std::fmt;

use pgwarden_tests::{Message, Server, Wire, psql};

use crate::case::Case;
use crate::schema::quoted;
use crate::statement::{Order, Statement};

/// What came of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Bodies of DataRow or CopyData.
    pub rows: Vec<Vec<u8>>,
    /// The command tag.
    pub tag: Option<String>,
    /// The SQLSTATE, where it failed.
    pub error: Option<String>,
    /// The message of the error, for who reads it.
    pub message: String,
    /// All rows of all tables behind it; only of statements that write, and have not failed.
    pub effect: Option<String>,
    /// Bodies of NoticeResponses.
    pub notices: Vec<Vec<u8>>,
}

/// How two outcomes differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Difference {
    Same,
    /// It returns something else.
    Result,
    /// It is refused: 42501.
    Refused,
    /// It changes something else.
    Effect,
    /// It fails in another way.
    Error,
    /// What it returns depends on the plan, and may be the same.
    Unstable,
    /// It fails already.
    FailsToday,
}

impl Difference {
    /// Between what happens today and what happens then.
    pub fn between(statement: &Statement, today: &Outcome, then: &Outcome) -> Difference {
        match (&today.error, &then.error) {
            (Some(_), _) => Difference::FailsToday,
            (None, Some(code)) if code == "42501" => Difference::Refused,
            (None, Some(_)) => Difference::Error,
            (None, None) if today.effect != then.effect => Difference::Effect,
            (None, None) => rows(statement, today, then),
        }
    }
}

fn rows(statement: &Statement, today: &Outcome, then: &Outcome) -> Difference {
    if today.tag != then.tag || today.rows.len() != then.rows.len() {
        return Difference::Result;
    }
    let sorted = |outcome: &Outcome| {
        let mut rows = outcome.rows.clone();
        rows.sort();
        rows
    };
    let same = match statement.order {
        Order::Total => today.rows == then.rows,
        Order::Any | Order::Unstable => sorted(today) == sorted(then),
    };
    match (same, statement.order) {
        (true, _) => Difference::Same,
        (false, Order::Unstable) => Difference::Unstable,
        (false, _) => Difference::Result,
    }
}

impl Outcome {
    /// Whether PostgreSQL did the same in both cases, as far as the statement says what it does.
    pub fn is_like(&self, statement: &Statement, other: &Outcome) -> bool {
        let same = self.error == other.error && self.effect == other.effect;
        same && (self.error.is_some()
            || matches!(rows(statement, self, other), Difference::Same | Difference::Unstable))
    }

    /// Sends a statement, and hears what comes of it.
    pub fn converse(wire: &mut Wire, statement: &Statement) -> Outcome {
        let mut answers = Vec::new();
        for messages in statement.messages() {
            wire.send(&messages);
            answers.extend(wire.until_ready());
            if answers.iter().any(|message| message.tag == b'E') {
                break;
            }
        }
        Outcome::of(&answers)
    }

    /// From the messages that answer a statement.
    fn of(messages: &[Message]) -> Outcome {
        let rows = messages.iter().filter(|message| matches!(message.tag, b'D' | b'd'));
        let error = messages.iter().find(|message| message.tag == b'E').map(Message::fields);
        Outcome {
            rows: rows.map(|message| message.body.clone()).collect(),
            tag: messages.iter().find(|message| message.tag == b'C').map(Message::command),
            message: error.as_ref().map_or_else(String::new, ToString::to_string),
            error: error.map(|error| error.code().to_owned()),
            effect: None,
            notices: messages
                .iter()
                .filter(|message| message.tag == b'N')
                .map(|message| message.body.clone())
                .collect(),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.error.is_some() {
            return write!(formatter, "{}", self.message);
        }
        writeln!(formatter, "{}", self.tag.as_deref().unwrap_or("no command tag"))?;
        for row in self.rows.iter().take(12) {
            writeln!(formatter, "    {}", row.escape_ascii())?;
        }
        self.effect.as_ref().map_or(Ok(()), |effect| write!(formatter, "  tables behind it: {effect}"))
    }
}

/// A database with the tables of a case, and a connection to it.
#[derive(Debug)]
pub struct Copy {
    pub wire: Wire,
    role: Option<&'static str>,
}

impl Copy {
    /// As the application.
    pub fn open(server: &Server, database: &str) -> Copy {
        Copy { wire: Wire::open(server.port(), "app", "", database), role: None }
    }

    /// As somebody who becomes `role`.
    pub fn open_as(server: &Server, database: &str, role: &'static str) -> Copy {
        Copy { wire: Wire::open(server.port(), "postgres", "", database), role: Some(role) }
    }

    /// Runs the statement with its context, in a transaction that is rolled back.
    pub fn run(&mut self, case: &Case, statement: &Statement) -> Outcome {
        let role = self.role.map_or_else(String::new, |role| format!("; SET LOCAL ROLE {role}"));
        self.wire.rows(&format!("BEGIN; {}{role}", case.context(statement)));
        let mut outcome = Outcome::converse(&mut self.wire, statement);
        if outcome.error.is_none() && statement.class.writes() {
            outcome.effect = self.wire.rows("SELECT proof.snapshot()").swap_remove(0).swap_remove(0);
        }
        self.wire.rows("ROLLBACK");
        outcome
    }
}

/// Runs a script in a database, as superuser.
#[track_caller]
pub fn load(server: &Server, database: &str, script: &str) {
    let url = server.url_for("postgres", "", database);
    let output = psql(&url, &["-c", script]);
    assert!(output.status.success(), "{}\n{script}", String::from_utf8_lossy(&output.stderr));
}

impl Case {
    /// The settings of the context, as a statement.
    pub fn context(&self, statement: &Statement) -> String {
        let (tenant, user) = match statement.user {
            Some(user) => {
                let (name, tenant) = &self.schema.users[user];
                (self.schema.tenants[*tenant].as_str(), name.as_str())
            }
            None => ("", ""),
        };
        let (tenant, user) = (quoted(tenant), quoted(user));
        format!("SELECT set_config('app.org', {tenant}, true), set_config('app.who', {user}, true)")
    }
}
