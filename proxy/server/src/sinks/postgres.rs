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
use pgwarden_audit::without_nul;
use pgwarden_auth::secret::Secret;
use pgwarden_config::{PostgresSink, Tcp};
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
            // A trail of an earlier version may have one.
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
