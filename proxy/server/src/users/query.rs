//! Secrets that the server itself tells, remembered for a while.
//!
//! All who log in as a user at once wait for one answer. An answer ends after its time, or sooner when a login with it
//! fails; a user who is not there is remembered, too. Both count from the question, and a failure shortens both alike:
//! otherwise the time of an answer would tell who is there.

use crate::lookup::{Line, LookupError, Question};
use crate::users::answer::Answer;
use crate::users::list::scram_verifier;
use pgwarden_auth::secret::Secret;
use pgwarden_config::AuthQuery;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;

/// PostgreSQL's NAMEDATALEN allows one byte less. No longer name is a role's, whatever a query would cut it to.
const LONGEST_NAME: usize = 63;

/// How secrets are found on the server, and what was found.
#[derive(Debug)]
pub(super) struct SecretQuery {
    line: Line,
    sql: String,
    ttl: Duration,
    unknown_ttl: Duration,
    most: usize,
    mock_key: [u8; 32],
    cells: Mutex<HashMap<String, Arc<Cell>>>,
}

/// The place of one answer: whoever comes first asks, the others wait.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    answer: OnceCell<Result<Remembered, Arc<LookupError>>>,
    is_doubted: AtomicBool,
}

/// An answer with its times.
#[derive(Debug)]
struct Remembered {
    found: Found,
    until: Instant,
    until_if_doubted: Instant,
}

/// What was found of a user.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// The secret as it is stored; none for who is not there.
    pub(super) secret: Option<Secret>,
    /// The secret as SCRAM needs it.
    pub(super) verifier: Option<Secret>,
}

impl SecretQuery {
    /// Nobody was asked for yet.
    pub(super) fn new(settings: &AuthQuery, line: Line, mock_key: [u8; 32]) -> Self {
        Self {
            line,
            sql: settings.sql.clone(),
            ttl: settings.ttl,
            unknown_ttl: settings.unknown_ttl,
            most: settings.max_entries,
            mock_key,
            cells: Mutex::default(),
        }
    }

    /// The secret of a user, and where it is remembered. Cancel safe: the next who waits asks in place of who gave up.
    ///
    /// # Errors
    /// [`LookupError`], the same for all who waited; the next login asks again.
    pub(super) async fn secret(&self, user: &str) -> Result<(Found, Arc<Cell>), Arc<LookupError>> {
        if user.len() > LONGEST_NAME {
            return Ok((Found::default(), Arc::default()));
        }
        let cell = self.cell(user);
        let answer = cell.answer.get_or_init(|| self.ask(user)).await;
        let found = answer.as_ref().map(|remembered| remembered.found.clone()).map_err(Arc::clone)?;
        Ok((found, cell))
    }

    /// A login with this answer has failed: it is not good for long any more.
    pub(super) fn doubt(&self, cell: &Cell) {
        cell.is_doubted.store(true, Ordering::Relaxed);
    }

    /// Forgets what was found of a user.
    pub(super) fn forget(&self, user: &str) {
        self.lock().remove(user);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Cell>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of the answer about a user: that of one that is good, or for which somebody has asked already.
    fn cell(&self, user: &str) -> Arc<Cell> {
        let now = Instant::now();
        let mut cells = self.lock();
        if let Some(known) = cells.get(user).filter(|cell| !cell.has_ended(now)) {
            return Arc::clone(known);
        }
        if cells.len() >= self.most {
            cells.retain(|_, cell| !cell.has_ended(now));
        }
        if cells.len() >= self.most {
            // Names that somebody makes up take no place from those that there are.
            cells.retain(|_, cell| cell.is_of_somebody());
        }
        if cells.len() >= self.most {
            cells.clear();
        }
        let cell = Arc::<Cell>::default();
        cells.insert(user.to_owned(), Arc::clone(&cell));
        cell
    }

    async fn ask(&self, user: &str) -> Result<Remembered, Arc<LookupError>> {
        let asked = Instant::now();
        let question = Question { sql: &self.sql, values: &[user], rows: 2 };
        let rows = self.line.ask(question).await.map_err(|error| {
            tracing::warn!(%error, "the secret of a user could not be looked up");
            Arc::new(error)
        })?;
        let (secret, valid) = match Answer::read(&rows, user) {
            Answer::Secret(secret, valid) => (Some(secret), valid),
            Answer::Nobody => (None, None),
            Answer::Unusable(reason) => {
                tracing::warn!(reason, "what auth.query returned for a user cannot be used");
                (None, None)
            }
        };
        let ttl = if secret.is_some() { self.ttl } else { self.unknown_ttl };
        let until = asked + valid.map_or(ttl, |valid| valid.min(ttl));
        let until_if_doubted = until.min(asked + self.unknown_ttl);
        let verifier = match &secret {
            Some(secret) => self.verifier(user, secret.clone()).await,
            None => None,
        };
        Ok(Remembered { found: Found { secret, verifier }, until, until_if_doubted })
    }

    /// Deriving one from a password costs about a millisecond: once, and not on the reactor.
    async fn verifier(&self, user: &str, secret: Secret) -> Option<Secret> {
        let (user, mock_key) = (user.to_owned(), self.mock_key);
        let derive = move || scram_verifier(&user, &secret, &mock_key);
        tokio::task::spawn_blocking(derive).await.ok()
    }
}

impl Cell {
    /// Whether the answer is too old; not while somebody still asks.
    fn has_ended(&self, now: Instant) -> bool {
        match self.answer.get() {
            None => false,
            Some(Err(_)) => true,
            Some(Ok(remembered)) if self.is_doubted.load(Ordering::Relaxed) => {
                remembered.until_if_doubted <= now
            }
            Some(Ok(remembered)) => remembered.until <= now,
        }
    }

    fn is_of_somebody(&self) -> bool {
        match self.answer.get() {
            Some(Ok(remembered)) => remembered.found.secret.is_some(),
            Some(Err(_)) | None => false,
        }
    }
}
