//! The way to the server for questions of one kind: a few connections, opened when they are needed and then kept.

use crate::lookup::LookupError;
use crate::lookup::connection::{Connection, Form, Patience, Question, Row, Table};
use crate::upstream::{Credentials, LIMIT, Server, UpstreamError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Connections at most: a question that takes long does not keep the others waiting at once.
const CONNECTIONS: usize = 4;

/// A login of pgwarden's own in one database.
#[derive(Debug)]
pub(crate) struct Line {
    server: Arc<Server>,
    login: Credentials,
    database: String,
    /// How long a question may take, from the moment it is asked until it is answered, a new connection included.
    patience: Duration,
    places: Semaphore,
    /// How long a question waits for locks; as long as for its answer, if nothing is said.
    lock_patience: Option<Duration>,
    /// The longest message of an answer.
    longest: usize,
    idle: Mutex<Vec<Connection>>,
}

impl Line {
    /// A line that nothing was asked on yet.
    pub(crate) fn new(server: Arc<Server>, login: Credentials, database: String, patience: Duration) -> Self {
        let places = Semaphore::new(CONNECTIONS);
        let (lock_patience, longest, idle) = (None, LIMIT, Mutex::default());
        Self { server, login, database, patience, places, lock_patience, longest, idle }
    }

    /// The same line with so many connections at most.
    pub(crate) fn of_at_most(self, connections: usize) -> Self {
        Self { places: Semaphore::new(connections), ..self }
    }

    /// The same line for answers with longer messages.
    pub(crate) fn reading(self, longest: usize) -> Self {
        Self { longest, ..self }
    }

    /// The same line for questions that wait for locks for so long at most.
    pub(crate) fn waiting_for_locks(self, patience: Duration) -> Self {
        Self { lock_patience: Some(patience), ..self }
    }

    /// Asks. A kept connection that turns out to be dead is replaced, once. Cancel safe: a connection on which somebody
    /// still waited for an answer is closed.
    ///
    /// # Errors
    /// [`LookupError`] when there is no answer in time.
    pub(crate) async fn ask(&self, question: Question<'_>) -> Result<Vec<Row>, LookupError> {
        self.ask_in_time(question, Form::Rows).await.map(|table| table.rows)
    }

    /// Asks, like [`Line::ask`], but of values whose types the server infers, and with the names of the columns.
    ///
    /// # Errors
    /// [`LookupError`] when there is no answer in time.
    pub(crate) async fn look_up(&self, question: Question<'_>) -> Result<Table, LookupError> {
        self.ask_in_time(question, Form::Table).await
    }

    async fn ask_in_time(&self, question: Question<'_>, form: Form) -> Result<Table, LookupError> {
        let asked = tokio::time::timeout(self.patience, self.ask_patiently(question, form)).await;
        asked.unwrap_or(Err(LookupError::TimedOut(self.patience)))
    }

    async fn ask_patiently(&self, question: Question<'_>, form: Form) -> Result<Table, LookupError> {
        let Ok(_place) = self.places.acquire().await else {
            return Err(LookupError::Answer("nothing is asked any more".into()));
        };
        if let Some(kept) = self.take_idle() {
            match self.ask_on(kept, question, form).await {
                Err(LookupError::Upstream(UpstreamError::Io(_))) => (),
                answer => return answer,
            }
        }
        let fresh = Connection::open(&self.server, &self.login, &self.database).await?;
        self.ask_on(fresh.reading(self.longest), question, form).await
    }

    async fn ask_on(
        &self,
        connection: Connection,
        question: Question<'_>,
        form: Form,
    ) -> Result<Table, LookupError> {
        let mut connection = connection;
        let patience = Patience { answer: self.patience, lock: self.lock_patience };
        let table = connection.ask(question, form, patience).await?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(table)
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain_mut(Connection::is_quiet);
        idle.pop()
    }
}
