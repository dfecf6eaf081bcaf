//! What the server itself says: its steps, its tables, what promotion would run into, and the statements that it has met.

use super::problem::ReportError;
use super::{facts, past};
use crate::loaded::{self, Purpose};
use crate::meters::Meters;
use crate::stage::{Administrator, Effect, Failure, ahead};
use crate::upstream::{Credentials, Server};
use pgwarden_audit::Staging;
use pgwarden_config::{Pooler, Settings};
use pgwarden_shadow::policy::literal;
use pgwarden_shadow::verdict::{Fact, Ledger, Moment, Surroundings};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The journal, as [`Staging`] is written.
const JOURNAL: &str = "SELECT id, step, current_database() AS database, by_user AS by, \
    to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS at, tables, reason, detail \
    FROM pgwarden.journal WHERE step IN ('stage', 'unstage', 'promote', 'demote', 'ignore', 'resolve') ORDER BY id";

/// Tables with a policy of pgwarden's.
const STAGED: &str = "SELECT DISTINCT n.nspname || '.' || c.relname FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.polname LIKE 'pgwarden\\_%'";

/// How long somebody may take who was not named, and need not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A database that can be asked.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    server: Arc<Server>,
    login: Credentials,
    name: String,
    asking: Asking,
}

/// Who says that a database is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// Whoever wants the report: it has to answer.
    Named,
    /// The configuration, for the observer: a report says so if it does not.
    Observed,
}

impl Database {
    /// The one that these settings name.
    ///
    /// # Errors
    /// [`ReportError`] when they name no login, or files that cannot be used.
    pub(super) fn named(settings: &Settings) -> Result<Self, ReportError> {
        let (server, secret, _) = server(settings)?;
        let user = settings.upstream.user.clone().ok_or_else(|| ReportError::Argument {
            name: "--url",
            problem: "names no user; expected postgres://user:password@host:port/database".to_owned(),
        })?;
        let name = settings.upstream.database.clone().unwrap_or_else(|| user.clone());
        let login = Credentials { user, secret, keys: None };
        Ok(Self { server, login, name, asking: Asking::Named })
    }

    /// Those of the observer that these settings name, if they name one.
    ///
    /// # Errors
    /// [`ReportError`] when they name files that cannot be used.
    pub(super) fn observed_of(settings: &Settings) -> Result<Vec<Self>, ReportError> {
        let Some(observer) = &settings.shadow.observer else { return Ok(Vec::new()) };
        let (server, _, secret) = server(settings)?;
        let login = Credentials { user: observer.user.clone(), secret, keys: None };
        let names = observer.databases.iter();
        Ok(names.map(|name| Self::observed(&server, &login, name)).collect())
    }

    /// One that an observer looks at.
    pub(crate) fn observed(server: &Arc<Server>, login: &Credentials, name: &str) -> Self {
        let (server, login, name) = (Arc::clone(server), login.clone(), name.to_owned());
        Self { server, login, name, asking: Asking::Observed }
    }

    /// Adds what it says. Not cancel safe, but nothing is lost by it.
    ///
    /// # Errors
    /// [`ReportError`] when it does not answer, and has to.
    pub(super) async fn tell(
        &self,
        ledger: &mut Ledger,
        known: &mut Surroundings,
    ) -> Result<(), ReportError> {
        if self.asking == Asking::Named {
            return self.told(ledger, known).await;
        }
        let told = match self.server.pooler {
            // What is set for the session would be lost, or met by others.
            Pooler::No => tokio::time::timeout(PATIENCE, self.told(ledger, known)).await,
            _ => Ok(Err(ReportError::System(io::Error::other("there is a pooler in between")))),
        };
        let why = match told {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => crate::causes::WithCauses(&error).to_string(),
            Err(_) => format!("no answer within {} seconds", PATIENCE.as_secs()),
        };
        let (name, user) = (&self.name, &self.login.user);
        known.caveats.push(format!("database {name} could not be asked as {user}: {why}"));
        Ok(())
    }

    async fn told(&self, ledger: &mut Ledger, known: &mut Surroundings) -> Result<(), ReportError> {
        let mut witness = self.witness().await?;
        witness.steps(ledger).await?;
        witness.surroundings(known).await?;
        Ok(())
    }

    /// Connects.
    ///
    /// # Errors
    /// [`ReportError`] when that is not possible.
    pub(super) async fn witness(&self) -> Result<Witness, ReportError> {
        let mut session =
            Administrator::enter(&self.server, &self.login, &self.name, Effect::Printed).await?;
        session.read("SET default_transaction_read_only = on").await?;
        Ok(Witness { session })
    }
}

/// A connection to the server that is asked.
#[derive(Debug)]
pub(super) struct Witness {
    session: Administrator,
}

impl Witness {
    /// The database.
    pub(super) fn database(&self) -> &str {
        &self.session.database
    }

    /// Adds the steps that the journal has and no trail has yet. What the trail has stands there as it was.
    async fn steps(&mut self, ledger: &mut Ledger) -> Result<(), Failure> {
        if !self.has_journal().await? {
            return Ok(());
        }
        for staging in self.session.objects::<Staging>(JOURNAL).await? {
            if ledger.knows_step(&self.session.database, staging.id) {
                continue;
            }
            if let Some(Fact::Step(step)) = facts::step(staging) {
                ledger.note_step(&step);
            }
        }
        Ok(())
    }

    /// Adds what only the server knows.
    async fn surroundings(&mut self, known: &mut Surroundings) -> Result<(), Failure> {
        for table in self.session.texts(STAGED).await? {
            known.tables.insert((self.session.database.clone(), table));
        }
        ahead(&mut self.session, &mut known.ahead).await?;
        past::look(&mut self.session, known).await
    }

    /// Whether there is a journal.
    ///
    /// # Errors
    /// As [`Administrator::read`].
    pub(super) async fn has_journal(&mut self) -> Result<bool, Failure> {
        Ok(self.session.text("SELECT to_regclass('pgwarden.journal') IS NOT NULL").await? == "t")
    }

    /// Writes a step into the journal.
    ///
    /// # Errors
    /// As [`Administrator::read`].
    pub(super) async fn write(
        &mut self,
        step: &str,
        tables: &[String],
        reason: &str,
        detail: &serde_json::Value,
    ) -> Result<(), Failure> {
        let tables: Vec<String> = tables.iter().map(|table| literal(table)).collect();
        let sql = format!(
            "BEGIN READ WRITE; INSERT INTO pgwarden.journal (step, tables, reason, detail) \
             VALUES ({}, ARRAY[{}]::text[], {}, {}); NOTIFY pgwarden_shadow; COMMIT",
            literal(step),
            tables.join(", "),
            literal(reason),
            literal(&detail.to_string())
        );
        self.session.read(&sql).await.map(drop)
    }
}

type Secret = Option<pgwarden_auth::secret::Secret>;

/// The server, and the secrets of its own login and of the observer's.
fn server(settings: &Settings) -> Result<(Arc<Server>, Secret, Secret), ReportError> {
    let loaded = loaded::load(settings, Purpose::Check).map_err(|mistakes| {
        let lines: Vec<String> =
            mistakes.iter().map(|mistake| crate::causes::WithCauses(mistake).to_string()).collect();
        ReportError::System(io::Error::other(lines.join("\n")))
    })?;
    let server = Server::new(&settings.upstream, loaded.connector, &settings.tcp, Arc::new(Meters::new()));
    Ok((Arc::new(server), loaded.upstream_secret, loaded.observer_secret))
}

/// The time until which something is ignored: a time, or so long from now, like `30d`.
pub(super) fn until(text: &str, now: Moment) -> Option<Moment> {
    Moment::parse(text).or_else(|| Some(now.after(super::age(text)?)))
}
