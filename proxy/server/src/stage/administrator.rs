//! The session of whoever stages and promotes: an owner of the tables, or a superuser.

use super::failure::{Failure, ServerError};
use crate::loaded::{self, Purpose};
use crate::meters::Meters;
use crate::packet;
use crate::stream::Stream;
use crate::upstream::{Credentials, Seals, Server};
use pgwarden_config::Settings;
use pgwarden_wire::{Fields, Malformed, Writer};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The longest row.
const LONGEST: usize = 64 * 1024 * 1024;

/// So that nothing in the database can stand for what the statements name, and every text is read as it is written.
const BEFORE: &str = "SET search_path = pg_catalog, pg_temp; SET standard_conforming_strings = on; \
     SET client_min_messages = warning; SET statement_timeout = 0; SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = '60s'; \
     SET DateStyle = 'ISO'; SET TimeZone = 'UTC'";

/// The values of a row.
pub(crate) type Row = Vec<Option<String>>;

/// A session that may change the database, or only says how it would.
#[derive(Debug)]
pub(crate) struct Administrator {
    stream: Stream,
    /// Of the server: `server_version_num`.
    pub(crate) version: u32,
    /// The search path that a session of this user begins with.
    pub(crate) search_path: String,
    /// The database.
    pub(crate) database: String,
    /// What the configuration says, where one was read.
    pub(crate) configured: Option<Settings>,
    effect: Effect,
}

/// Whether something comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Changes are made.
    Made,
    /// Changes are printed.
    Printed,
}

impl Administrator {
    /// Logs in.
    ///
    /// # Errors
    /// [`Failure`] when that is not possible.
    pub(crate) async fn open(settings: &Settings, effect: Effect) -> Result<Self, Failure> {
        let loaded = loaded::load(settings, Purpose::Check).map_err(|mistakes| {
            let lines: Vec<String> = mistakes.iter().map(|one| crate::WithCauses(one).to_string()).collect();
            Failure::caller(lines.join("\n"), "")
        })?;
        let Some(user) = settings.upstream.user.clone() else {
            let hint = "Name an owner of the tables, or a superuser, with --url.";
            return Err(Failure::caller("the address of the server names no user", hint));
        };
        let server =
            Server::new(&settings.upstream, loaded.connector, &settings.tcp, Arc::new(Meters::new()));
        let database = settings.upstream.database.clone().unwrap_or_else(|| user.clone());
        let login = Credentials { user, secret: loaded.upstream_secret, keys: None };
        Self::enter(&server, &login, &database, effect).await
    }

    /// Logs in to a database of a server that is known.
    ///
    /// # Errors
    /// [`Failure`] when that is not possible.
    pub(crate) async fn enter(
        server: &Server,
        login: &Credentials,
        database: &str,
        effect: Effect,
    ) -> Result<Self, Failure> {
        let names = [
            ("application_name".to_owned(), "pgwarden".to_owned()),
            ("client_encoding".to_owned(), "UTF8".to_owned()),
        ];
        let established = server.connect(login, database, (&[], Seals::Off), &names).await?;
        let mut session = Self {
            configured: None,
            stream: established.stream,
            version: 0,
            search_path: String::new(),
            database: database.to_owned(),
            effect,
        };
        session.search_path = session.text("SELECT current_setting('search_path')").await?;
        session.read(BEFORE).await?;
        let version = session.text("SELECT current_setting('server_version_num')").await?;
        session.version = version.parse().map_err(|_| Failure::Answer(version))?;
        Ok(session)
    }

    /// Whether changes are printed only.
    pub(crate) fn only_prints(&self) -> bool {
        self.effect == Effect::Printed
    }

    /// Asks: one or more statements as one simple query; the rows of all of them.
    ///
    /// Not cancel safe, as everything here: an answer that was read in part is lost.
    ///
    /// # Errors
    /// [`Failure`] when the server refuses it, or the connection breaks.
    pub(crate) async fn read(&mut self, sql: &str) -> Result<Vec<Row>, Failure> {
        let mut request = Vec::new();
        Writer::new(&mut request).query(sql.as_bytes());
        packet::write(&mut self.stream, &request).await.map_err(|error| Failure::Upstream(error.into()))?;
        let (mut rows, mut failure) = (Vec::new(), None);
        loop {
            let message = match (packet::read(&mut self.stream, LONGEST).await, failure.take()) {
                (Ok(message), before) => {
                    failure = before;
                    message
                }
                (Err(_), Some(last)) => return Err(Failure::Ended(Box::new(last))),
                (Err(error), None) => return Err(error.into()),
            };
            match message.tag {
                b'D' => rows.push(row(&message.payload).map_err(|error| Failure::Answer(error.to_string()))?),
                b'E' => failure = Some(ServerError::read(&message.payload)),
                b'Z' => return failure.map_or(Ok(rows), |error| Err(Failure::Server(Box::new(error)))),
                _ => {}
            }
        }
    }

    /// The one value that answers; empty for none.
    ///
    /// # Errors
    /// As [`Administrator::read`].
    pub(crate) async fn text(&mut self, sql: &str) -> Result<String, Failure> {
        let value = self.read(sql).await?.into_iter().next().and_then(|row| row.into_iter().next());
        Ok(value.flatten().unwrap_or_default())
    }

    /// The first column of the rows.
    ///
    /// # Errors
    /// As [`Administrator::read`].
    pub(crate) async fn texts(&mut self, sql: &str) -> Result<Vec<String>, Failure> {
        let rows = self.read(sql).await?;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
    }

    /// The rows of a query, each as an object.
    ///
    /// # Errors
    /// As [`Administrator::read`].
    pub(crate) async fn objects<T: DeserializeOwned>(&mut self, query: &str) -> Result<Vec<T>, Failure> {
        let rows = self.texts(&format!("SELECT row_to_json(object) FROM ({query}) object")).await?;
        let parse =
            |text: &String| serde_json::from_str(text).map_err(|error| Failure::Answer(error.to_string()));
        rows.iter().map(parse).collect()
    }

    /// Makes one change, in a transaction of its own, or prints it.
    ///
    /// # Errors
    /// As [`Administrator::read`]; then nothing of it is done.
    pub(crate) async fn change(&mut self, statements: &[String]) -> Result<(), Failure> {
        if statements.is_empty() {
            return Ok(());
        }
        if self.only_prints() {
            print(statements);
            return Ok(());
        }
        let sql = format!("BEGIN;\n{};\nCOMMIT", statements.join(";\n"));
        let done = self.read(&sql).await.map(drop);
        if matches!(done, Err(Failure::Server(_))) {
            self.read("ROLLBACK").await?;
        }
        done
    }
}

/// Prints a transaction.
pub(crate) fn print(statements: &[String]) {
    crate::say(&format!("BEGIN;\n{};\nCOMMIT;\n\n", statements.join(";\n")));
}

fn row(payload: &[u8]) -> Result<Row, Malformed> {
    let mut fields = Fields::new(payload);
    (0..fields.int16()?)
        .map(|_| match usize::try_from(fields.int32()?) {
            Ok(length) => Ok(Some(String::from_utf8_lossy(fields.bytes(length)?).into_owned())),
            Err(_) => Ok(None),
        })
        .collect()
}
