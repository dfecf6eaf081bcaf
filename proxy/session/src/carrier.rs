//! A tenant context, encoded once, as it travels in front of statements.

use crate::seal::{Sealed, Sealing};
use pgwarden_wire::Writer;

/// The encoded context of a client. Made by the tenant layer; this crate only places it.
///
/// With no context at all every value is empty: nothing of an earlier client may show through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carrier {
    /// One SELECT that sets every variable for the transaction, parameters `$1 …` (bytea).
    pub local: Vec<u8>,
    /// The same for the session.
    pub session: Vec<u8>,
    /// The number of parameter types and their OIDs, as they travel in Parse.
    pub types: Vec<u8>,
    /// What follows the two names in Bind: formats, values, result formats.
    pub values: Vec<u8>,
    /// The same with every value empty.
    pub empty: Vec<u8>,
    /// `SET LOCAL a = E'…';SET LOCAL b = E'…';` — ASCII only, so that bytes are characters.
    pub text: Vec<u8>,
    /// How many statements `text` holds.
    pub statements: u32,
    /// For a server where set_config may not be executed: `a = E'…'`, one a variable.
    pub assignments: Vec<Vec<u8>>,
    /// The same with every value empty.
    pub blanks: Vec<Vec<u8>>,
    /// The role that transactions run as; `None` where no role is set.
    pub role: Option<Box<str>>,
    /// What seals it, if it is sealed: the last variable is the seal then.
    pub sealing: Option<Sealing>,
}

/// How long the context is to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Until the transaction ends.
    Local,
    /// Until it is cleared.
    Session,
    /// Set for the session before, to be emptied now.
    Clear,
}

/// How the context reaches a backend inside an extended batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vehicle {
    /// A statement prepared once per backend.
    Prepared,
    /// Parsed, run and closed within the batch: the next batch may meet another server (a pooler in between).
    InBatch,
    /// As `InBatch`, with SET LOCAL: set_config may not be executed on this server.
    Commands,
}

/// How the context reaches a backend with a simple query outside of a transaction block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SimpleForm {
    /// Extended messages without Sync in front; the query's text stays as it is.
    Front,
    /// SET LOCAL in front of the text: the server would leave the transaction open (PostgreSQL 18), or a message
    /// and what is in front of it may meet different servers.
    Text,
}

impl Sealed<'_> {
    /// Writes Bind, Execute and Close of a prepared context statement: replies `2 D C 3`.
    pub(crate) fn run(&self, statement: &[u8], portal: &[u8], values: &[&[u8]], writer: &mut Writer<'_>) {
        writer.bind_front(portal, statement, values.iter().map(|part| part.len()).sum());
        for part in values {
            writer.raw(part);
        }
        writer.execute(portal).close(b'P', portal);
    }

    /// Writes the whole context as messages that leave no statement behind; returns how often CloseComplete answers.
    pub(crate) fn in_batch(
        &self,
        vehicle: Vehicle,
        scope: Scope,
        name: &[u8],
        writer: &mut Writer<'_>,
    ) -> u32 {
        const NO_TYPES: [u8; 2] = [0; 2];
        const NO_VALUES: [u8; 6] = [0; 6];
        let mut closes = 0;
        let mut once = |text: &[u8], types: &[u8], values: &[&[u8]]| {
            writer.parse(name, text, types);
            self.run(name, name, values, writer);
            writer.close(b'S', name);
            closes += 2;
        };
        if vehicle == Vehicle::Commands {
            let verb = if scope == Scope::Local { b"SET LOCAL ".as_slice() } else { b"SET SESSION " };
            let mut set = |assignment: &[u8]| once(&[verb, assignment].concat(), &NO_TYPES, &[&NO_VALUES]);
            match scope {
                Scope::Clear => self.blanks.iter().for_each(|blank| set(blank)),
                Scope::Local | Scope::Session => self.assignments().for_each(|parts| set(&parts.concat())),
            }
        } else {
            match scope {
                Scope::Local => once(&self.local, &self.types, &self.values()),
                Scope::Session => once(&self.session, &self.types, &self.values()),
                Scope::Clear => once(&self.session, &self.types, &[&self.empty]),
            }
        }
        closes
    }
}
