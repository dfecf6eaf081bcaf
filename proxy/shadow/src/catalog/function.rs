//! A function of the database, and what it does to tables.

use pgwarden_sql::{Doing, Named, body, doing};
use serde::Deserialize;
use std::sync::OnceLock;

/// A function or procedure that is neither PostgreSQL's own nor an extension's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Function {
    /// Its name; several may have it, with other arguments or in other schemas.
    pub name: String,
    /// `sql`, `plpgsql` …
    pub language: String,
    /// Its body, as its language has it.
    pub source: String,
    #[serde(skip)]
    act: OnceLock<Option<Act>>,
}

/// What a function does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Act {
    /// Its statements that write.
    pub(crate) writing: Vec<Doing>,
    /// The names of the rest.
    pub(crate) rest: Named,
}

impl Function {
    /// What it does; `None` where that cannot be told. The first call parses: it is for a thread with a deep stack.
    pub(crate) fn act(&self) -> Option<&Act> {
        self.act.get_or_init(|| Act::of(&self.language, &self.source)).as_ref()
    }
}

impl Act {
    fn of(language: &str, source: &str) -> Option<Self> {
        let act = match language {
            "sql" => Self { writing: vec![doing(source).ok()?], rest: Named::default() },
            "plpgsql" => {
                let body = body(source).ok()?;
                let writing = body.writing.iter().map(|text| doing(text).ok()).collect::<Option<_>>()?;
                Self { writing, rest: body.rest }
            }
            _ => return None,
        };
        // What is put together when it runs.
        (!act.rest.words.contains("execute")).then_some(act)
    }
}
