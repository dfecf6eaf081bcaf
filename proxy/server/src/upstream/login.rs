//! Logging in to the server, and what it says about itself.

use crate::cancel::BackendKey;
use crate::packet;
use crate::stream::Stream;
use crate::upstream::authenticate::authenticate;
use crate::upstream::error::UpstreamError;
use crate::upstream::process::{has_readers, process_of};
use crate::upstream::server::{Facts, Seals, Server, SetConfig};
use pgwarden_auth::scram_keys::ScramKeys;
use pgwarden_auth::secret::Secret;
use pgwarden_config::Pooler;
use pgwarden_session::{Process, Settings};
use pgwarden_shadow::writes::NONCE;
use pgwarden_tenant::ROLE;
use pgwarden_wire::{Fields, PROTOCOL_3_0, Writer, parameter_status};
use std::sync::Arc;

/// The longest message taken from a server during login.
pub(crate) const LIMIT: usize = 65_536;

/// A login on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// The user.
    pub(crate) user: String,
    /// Its secret, where one is known.
    pub(crate) secret: Option<Secret>,
    /// The keys that its own proof has left, where there was one. They go before a secret.
    pub(crate) keys: Option<ScramKeys>,
}

/// A connection that is ready for its first query.
#[derive(Debug)]
pub(crate) struct Established {
    /// The connection.
    pub(crate) stream: Stream,
    /// What the server reported.
    pub(crate) reported: Settings,
    /// What cancels it.
    pub(crate) key: Arc<BackendKey>,
    /// What is known of the server.
    pub(crate) facts: Facts,
    /// Which process of the server it is, where contexts are sealed.
    pub(crate) process: Option<Process>,
}

impl Server {
    /// Opens a connection and logs in, with the variables of the context empty and the start-up settings given. Where
    /// contexts are sealed, it asks for the server's process.
    ///
    /// # Errors
    /// [`UpstreamError`] when that fails or takes longer than the configured time.
    pub(crate) async fn connect(
        &self,
        login: &Credentials,
        database: &str,
        (variables, seals): (&[String], Seals),
        settings: &[(String, String)],
    ) -> Result<Established, UpstreamError> {
        self.in_time(async {
            let mut stream = self.introduce(&login.user, database, variables, settings).await?;
            authenticate(&mut stream, login, self.binding).await?;
            self.enter(stream, &login.user, database, seals).await
        })
        .await
    }

    /// Opens a connection and says who wants to log in; how is up to the caller.
    ///
    /// # Errors
    /// As [`Server::connect`].
    pub(crate) async fn begin(
        &self,
        user: &str,
        database: &str,
        variables: &[String],
        settings: &[(String, String)],
    ) -> Result<Stream, UpstreamError> {
        self.in_time(self.introduce(user, database, variables, settings)).await
    }

    /// Goes on behind AuthenticationOk.
    ///
    /// # Errors
    /// As [`Server::connect`].
    pub(crate) async fn finish(
        &self,
        stream: Stream,
        user: &str,
        database: &str,
        seals: Seals,
    ) -> Result<Established, UpstreamError> {
        self.in_time(self.enter(stream, user, database, seals)).await
    }

    async fn in_time<R>(
        &self,
        work: impl Future<Output = Result<R, UpstreamError>>,
    ) -> Result<R, UpstreamError> {
        let done = tokio::time::timeout(self.timeout, work).await;
        done.unwrap_or(Err(UpstreamError::Timeout(self.timeout.as_secs())))
    }

    async fn introduce(
        &self,
        user: &str,
        database: &str,
        variables: &[String],
        settings: &[(String, String)],
    ) -> Result<Stream, UpstreamError> {
        let mut stream = self.open().await?;
        let mut startup = Vec::new();
        Writer::new(&mut startup).counted(|p| {
            p.bytes(&PROTOCOL_3_0.to_be_bytes());
            p.string(b"user").string(user.as_bytes()).string(b"database").string(database.as_bytes());
            // So that each reads as empty and not as unknown. A pooler in between would refuse what it does not know.
            let blank = if self.pooler == Pooler::No { variables } else { &[] };
            for name in blank.iter().filter(|name| *name != ROLE) {
                p.string(name.as_bytes()).string(b"");
            }
            // Connections of pgwarden's own have no variables, and are not looked at.
            if let Some(nonce) = self.nonce().filter(|_| !blank.is_empty()) {
                p.string(NONCE.as_bytes()).string(nonce.as_bytes());
            }
            for (name, value) in settings {
                p.string(name.as_bytes()).string(value.as_bytes());
            }
            p.byte(0);
        });
        packet::write(&mut stream, &startup).await?;
        Ok(stream)
    }

    async fn enter(
        &self,
        stream: Stream,
        user: &str,
        database: &str,
        seals: Seals,
    ) -> Result<Established, UpstreamError> {
        let mut stream = stream;
        let (reported, key) = greeting(&mut stream).await?;
        let version = version_of(&reported);
        let facts = match self.facts(user, database, version) {
            Some(facts) => facts,
            None => self.learned(user, database, version, set_config(&mut stream).await?),
        };
        let process = match seals {
            Seals::Off => None,
            Seals::On => Some(self.process(&mut stream, database).await?),
        };
        Ok(Established { stream, reported, key: Arc::new(key), facts, process })
    }

    /// Who is at the other end; the first in each database is asked whether it matters.
    async fn process(&self, stream: &mut Stream, database: &str) -> Result<Process, UpstreamError> {
        if self.asked_for_readers.insert(database.to_owned()) && !has_readers(stream).await? {
            tracing::warn!(
                ?database,
                "contexts are sealed, but nothing verifies them in this database; see \"pgwarden seal install\""
            );
        }
        process_of(stream).await
    }
}

/// Reads what follows AuthenticationOk.
async fn greeting(stream: &mut Stream) -> Result<(Settings, BackendKey), UpstreamError> {
    let (mut reported, mut key) = (Settings::default(), BackendKey { pid: 0, secret: Vec::new() });
    loop {
        let message = packet::read(stream, LIMIT).await?;
        match message.tag {
            b'S' => {
                let (name, value) =
                    parameter_status(&message.payload).map_err(|e| UpstreamError::Protocol(e.to_string()))?;
                reported.set(&String::from_utf8_lossy(name), &String::from_utf8_lossy(value));
            }
            b'K' => {
                let mut fields = Fields::new(&message.payload);
                let pid = fields.array().map_err(|e| UpstreamError::Protocol(e.to_string()))?;
                key = BackendKey { pid: u32::from_be_bytes(pid), secret: fields.rest().to_vec() };
            }
            b'Z' => return Ok((reported, key)),
            b'N' => (),
            b'E' => return Err(UpstreamError::refused(message.payload)),
            other => {
                return Err(UpstreamError::Protocol(format!("unexpected message {:?}", char::from(other))));
            }
        }
    }
}

/// `15.18 (Debian …)`, `18beta1` → 150018, 180000, as `PQserverVersion` of libpq reads it.
fn version_of(reported: &Settings) -> u32 {
    let text = reported.value("server_version").unwrap_or_default();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let major = numbers.next().unwrap_or(0);
    let minor =
        if text.chars().find(|c| !c.is_ascii_digit()) == Some('.') { numbers.next().unwrap_or(0) } else { 0 };
    major * 10_000 + minor
}

async fn set_config(stream: &mut Stream) -> Result<SetConfig, UpstreamError> {
    const QUESTION: &[u8] =
        b"SELECT pg_catalog.has_function_privilege('pg_catalog.set_config(text, text, boolean)', 'EXECUTE')";
    let rows = query(stream, QUESTION).await?;
    let revoked = rows.last().is_some_and(|row| row.ends_with(b"f"));
    Ok(if revoked { SetConfig::Revoked } else { SetConfig::Allowed })
}

/// Runs one simple query of pgwarden's own and returns its rows as they travel.
pub(super) async fn query(stream: &mut Stream, text: &[u8]) -> Result<Vec<Vec<u8>>, UpstreamError> {
    let mut rows = Vec::new();
    exchange(stream, text, |tag, payload| {
        if tag == b'D' {
            rows.push(payload);
        }
    })
    .await?;
    Ok(rows)
}

/// Runs simple statements of pgwarden's own and returns the settings that the server reported meanwhile.
///
/// # Errors
/// [`UpstreamError::Refused`] when the server refuses one.
pub(crate) async fn query_reporting(
    stream: &mut Stream,
    text: &[u8],
) -> Result<Vec<(String, String)>, UpstreamError> {
    let mut reports = Vec::new();
    exchange(stream, text, |tag, payload| {
        if let (b'S', Ok((name, value))) = (tag, parameter_status(&payload)) {
            reports.push((
                String::from_utf8_lossy(name).into_owned(),
                String::from_utf8_lossy(value).into_owned(),
            ));
        }
    })
    .await?;
    Ok(reports)
}

async fn exchange(
    stream: &mut Stream,
    text: &[u8],
    mut each: impl FnMut(u8, Vec<u8>),
) -> Result<(), UpstreamError> {
    let mut request = Vec::new();
    Writer::new(&mut request).query(text);
    packet::write(stream, &request).await?;
    let mut failure = None;
    loop {
        let message = packet::read(stream, LIMIT).await?;
        match message.tag {
            b'E' => failure = Some(UpstreamError::refused(message.payload)),
            b'Z' => return failure.map_or(Ok(()), Err),
            tag => each(tag, message.payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_libpq_reads_them() {
        for (text, number) in [("15.18 (Debian 15.18-0)", 150_018), ("18beta1", 180_000), ("14.23", 140_023)]
        {
            let mut reported = Settings::default();
            reported.set("server_version", text);
            assert_eq!(version_of(&reported), number);
        }
    }
}
