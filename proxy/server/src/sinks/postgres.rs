//! The table `pgwarden.audit` of a PostgreSQL server, through the function that appends to it (`deploy/sql/audit.sql`).
//!
//! A batch is one question and one transaction. The login may append and nothing else, and a record that is there already
//! is left alone: to be delivered twice does no harm.

use super::entry::Entry;
use super::failure::{Class, Failure};
use super::pump::Sink;
use crate::lookup::{Line, Question};
use crate::meters::Meters;
use crate::tls::Connector;
use crate::upstream::{Credentials, Server};
use pgwarden_auth::secret::Secret;
use pgwarden_config::{PostgresSink, Tcp};
use std::borrow::Cow;
use std::sync::Arc;

/// The table and what belongs to it, for psql.
pub(crate) const SCRIPT: &str = include_str!("../../../../deploy/sql/audit.sql");

const APPEND: &str = "SELECT pgwarden.audit_append($1)";
/// The database where none is named.
const DATABASE: &str = "postgres";

/// A table.
#[derive(Debug)]
pub(super) struct Table(Line);

impl Table {
    /// The table of a server.
    pub(super) fn new(
        sink: &PostgresSink,
        (connector, secret): (Connector, Option<Secret>),
        tcp: &Tcp,
        meters: Arc<Meters>,
    ) -> Self {
        let server = Server::new(&sink.server, connector, tcp, meters);
        let user = sink.server.user.clone().unwrap_or_default();
        let database = sink.server.database.clone().unwrap_or_else(|| DATABASE.to_owned());
        let login = Credentials { user, secret, keys: None };
        Self(Line::new(Arc::new(server), login, database, sink.timeout).of_at_most(1))
    }
}

impl Sink for Table {
    async fn deliver(&mut self, entries: &[Entry]) -> Result<u64, Failure> {
        let mut array = String::from("[");
        for (number, entry) in entries.iter().enumerate() {
            array.push_str(if number == 0 { "" } else { "," });
            array.push_str(&without_nul(&entry.text));
        }
        array.push(']');
        let rows = self.0.ask(Question { sql: APPEND, values: &[&array], rows: 1 }).await?;
        match rows.as_slice() {
            [_appended] => Ok(0),
            _ => Err(Failure::new(Class::Protocol, "the function that appends did not answer with one row")),
        }
    }
}

/// The record without `\u0000`, which no text of PostgreSQL can hold; a replacement character stands there instead.
fn without_nul(text: &str) -> Cow<'_, str> {
    const NUL: &str = "\\u0000";
    if !text.contains(NUL) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        clean.push_str(before);
        // An escape begins here: one that stands for a backslash is two characters.
        let length = if escape.starts_with(NUL) { NUL.len() } else { 2 };
        let (escape, behind) = escape.split_at_checked(length).unwrap_or((escape, ""));
        clean.push_str(if escape == NUL { "\\ufffd" } else { escape });
        rest = behind;
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_replaced_and_a_backslash_in_front_of_such_letters_is_none() {
        for (text, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"b"}"#),
            (r#"{"a":"\u0000\n"}"#, r#"{"a":"\ufffd\n"}"#),
            (r#"{"a":"\\u0000"}"#, r#"{"a":"\\u0000"}"#),
            (r#"{"a":"\\\u0000é"}"#, r#"{"a":"\\\ufffdé"}"#),
        ] {
            assert_eq!(without_nul(text), expected);
        }
    }
}
