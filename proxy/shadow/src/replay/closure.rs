//! All that a query reaches: functions, views, policies, and what those reach.
//!
//! Names are taken for everything that they might stand for, whatever schema it is in. That finds too much, and never too
//! little: what cannot be told to be harmless is not run.

use crate::coverage::Uncovered;
use pgwarden_sql::{LexError, Named, named, runs_text};
use std::collections::BTreeSet;

/// Rounds of questions: what is nested deeper is not run.
const ROUNDS: usize = 24;

/// Words that stand for the role: a query that has one answers another role otherwise.
const ROLES: [&str; 4] = ["current_role", "current_user", "session_user", "user"];
/// Functions and relations that look at the role.
const ASKING: [&str; 6] = [
    "pg_has_role",
    "row_security_active",
    "information_schema",
    "getpgusername",
    "current_schema",
    "current_schemas",
];

/// Why a query is not run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hindrance {
    /// A volatile function: it may have effects that no READ ONLY stops (`pg_notify`, advisory locks, `set_config`).
    Volatile,
    /// A text that is put together when it runs.
    Computed,
    /// Something that cannot be read: another language, too deep, or no tokens.
    Unread,
    /// It asks who asks.
    Role,
    /// It reads the catalog, which is not the same to everybody.
    Catalog,
    /// A table of another server.
    Foreign,
    /// A temporary table: no other session has it.
    Temporary,
}

/// What kind of text a definition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// SQL.
    Sql,
    /// PL/pgSQL, in which EXECUTE runs what is put together.
    Procedural,
}

/// What the server is to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round {
    /// Names that were not asked about.
    pub names: Vec<String>,
    /// Those in front of a parenthesis.
    pub called: Vec<String>,
    /// Operators.
    pub operators: Vec<String>,
}

/// What has been asked, and what has to be.
#[derive(Debug, Default)]
pub struct Closure {
    asked: Named,
    open: Named,
    rounds: usize,
}

impl Hindrance {
    /// How it counts.
    #[must_use]
    pub fn uncovered(self) -> Uncovered {
        match self {
            Self::Unread => Uncovered::Unread,
            Self::Volatile
            | Self::Computed
            | Self::Role
            | Self::Catalog
            | Self::Foreign
            | Self::Temporary => Uncovered::Unsafe,
        }
    }
}

impl From<LexError> for Hindrance {
    fn from(_: LexError) -> Self {
        Self::Unread
    }
}

impl Closure {
    /// Adds a text: the query, the definition of a view, the body of a function, the expression of a policy.
    ///
    /// # Errors
    /// [`Hindrance`] when the text itself shows one.
    pub fn add(&mut self, text: &str, body: Body) -> Result<(), Hindrance> {
        let found = named(text)?;
        if body == Body::Procedural && found.words.contains("execute") {
            return Err(Hindrance::Computed);
        }
        if found.called.iter().any(|name| runs_text(name.as_bytes())) {
            return Err(Hindrance::Computed);
        }
        let asks = |name: &String| {
            ASKING.contains(&name.as_str()) || (name.starts_with("has_") && name.ends_with("_privilege"))
        };
        if found.words.iter().any(|word| ROLES.contains(&word.as_str())) || found.names.iter().any(asks) {
            return Err(Hindrance::Role);
        }
        let fresh = |found: BTreeSet<String>, asked: &BTreeSet<String>| {
            found.into_iter().filter(|one| !asked.contains(one)).collect::<Vec<_>>()
        };
        self.open.names.extend(fresh(found.names, &self.asked.names));
        self.open.called.extend(fresh(found.called, &self.asked.called));
        self.open.operators.extend(fresh(found.operators, &self.asked.operators));
        Ok(())
    }

    /// What is to be asked next; nothing when everything has been.
    ///
    /// # Errors
    /// [`Hindrance::Unread`] when there is no end to it.
    pub fn next(&mut self) -> Result<Option<Round>, Hindrance> {
        let open = std::mem::take(&mut self.open);
        if open == Named::default() {
            return Ok(None);
        }
        self.rounds += 1;
        if self.rounds > ROUNDS {
            return Err(Hindrance::Unread);
        }
        let round = Round {
            names: open.names.iter().cloned().collect(),
            called: open.called.iter().cloned().collect(),
            operators: open.operators.iter().cloned().collect(),
        };
        self.asked.names.extend(open.names);
        self.asked.called.extend(open.called);
        self.asked.operators.extend(open.operators);
        Ok(Some(round))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_asked_about_once() {
        let mut closure = Closure::default();
        closure.add("SELECT f(a) FROM v", Body::Sql).expect("harmless");
        let round = closure.next().expect("not too deep").expect("names");
        assert!(round.names.contains(&"v".to_owned()) && round.called == ["f"]);
        closure.add("SELECT f(b) FROM v", Body::Sql).expect("harmless");
        let round = closure.next().expect("not too deep").expect("one name more");
        assert_eq!((round.names, round.called), (vec!["b".to_owned()], vec![]));
        assert_eq!(closure.next(), Ok(None));
    }

    #[test]
    fn a_name_that_is_called_later_is_asked_about_as_a_function() {
        let mut closure = Closure::default();
        closure.add("SELECT f FROM t", Body::Sql).expect("harmless");
        closure.next().expect("not too deep");
        closure.add("SELECT f(1)", Body::Sql).expect("harmless");
        assert_eq!(closure.next().expect("not too deep").expect("a call").called, ["f"]);
    }

    #[test]
    fn what_asks_for_the_role_or_runs_a_text_is_a_hindrance() {
        let hindrance = |text, body| Closure::default().add(text, body).expect_err(text);
        for text in [
            "SELECT current_user",
            "SELECT * FROM t WHERE owner = session_user",
            "SELECT pg_has_role('a', 'USAGE')",
            "SELECT has_table_privilege('t', 'SELECT')",
            "SELECT * FROM information_schema.tables",
        ] {
            assert_eq!(hindrance(text, Body::Sql), Hindrance::Role, "{text}");
        }
        assert_eq!(hindrance("BEGIN EXECUTE x; END", Body::Procedural), Hindrance::Computed);
        assert_eq!(hindrance("SELECT query_to_xml('x', true, true, '')", Body::Sql), Hindrance::Computed);
        assert_eq!(hindrance("SELECT 'x", Body::Sql), Hindrance::Unread);
        for text in
            ["SELECT \"user\", t.user, a AS user FROM t", "SELECT 'current_user'", "SELECT execute FROM t"]
        {
            assert_eq!(Closure::default().add(text, Body::Sql), Ok(()), "{text}");
        }
    }
}
