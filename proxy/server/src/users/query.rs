//! Asking the server for the secret of a user.

use crate::lookup::{Line, LookupError, Question};
use crate::meters::{Meters, SecretLookup};
use crate::users::answer::Answer;
use crate::users::cache::{Cache, Cell, Found, Remembered};
use crate::users::list::scram_verifier;
use pgwarden_auth::scram::needs_derivation;
use pgwarden_auth::secret::Secret;
use pgwarden_config::AuthQuery;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// PostgreSQL's NAMEDATALEN allows one byte less. No longer name is a role's, whatever a query would cut it to.
const LONGEST_NAME: usize = 63;

/// How secrets are found on the server, and what was found.
#[derive(Debug)]
pub(super) struct SecretQuery {
    line: Line,
    meters: Arc<Meters>,
    sql: String,
    ttl: Duration,
    unknown_ttl: Duration,
    mock_key: [u8; 32],
    cache: Cache,
}

impl SecretQuery {
    /// Nobody was asked for yet.
    pub(super) fn new(settings: &AuthQuery, line: Line, meters: Arc<Meters>, mock_key: [u8; 32]) -> Self {
        Self {
            line,
            meters,
            sql: settings.sql.clone(),
            ttl: settings.ttl,
            unknown_ttl: settings.unknown_ttl,
            mock_key,
            cache: Cache::new(settings.max_entries),
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
        let cell = self.cache.cell(user, Instant::now());
        let answer = cell.answer.get_or_init(|| self.ask(user)).await;
        let found = answer.as_ref().map(|remembered| remembered.found.clone()).map_err(Arc::clone)?;
        Ok((found, cell))
    }

    /// Forgets what was found of a user.
    pub(super) fn forget(&self, user: &str) {
        self.cache.forget(user);
    }

    async fn ask(&self, user: &str) -> Result<Remembered, Arc<LookupError>> {
        let asked = Instant::now();
        let question = Question { sql: &self.sql, values: &[user], rows: 2 };
        let rows = self.line.ask(question).await.map_err(|error| {
            self.meters.secret_looked_up(SecretLookup::Failed);
            tracing::warn!(%error, "the secret of a user could not be looked up");
            Arc::new(error)
        })?;
        let (secret, valid, outcome) = match Answer::read(&rows, user) {
            Answer::Secret(secret, valid) => (Some(secret), valid, SecretLookup::Found),
            Answer::Nobody => (None, None, SecretLookup::Unknown),
            Answer::Unusable(reason) => {
                tracing::warn!(reason, "what auth.query returned for a user cannot be used");
                (None, None, SecretLookup::Unusable)
            }
        };
        self.meters.secret_looked_up(outcome);
        let ttl = if secret.is_some() { self.ttl } else { self.unknown_ttl };
        let until = asked + valid.map_or(ttl, |valid| valid.min(ttl));
        let until_if_doubted = until.min(asked + self.unknown_ttl);
        let verifier = self.verifier(user, secret.clone()).await;
        Ok(Remembered { found: Found { secret, verifier }, until, until_if_doubted })
    }

    /// What SCRAM checks it by. Deriving that from a password costs about a millisecond: once, and not on the reactor.
    async fn verifier(&self, user: &str, secret: Option<Secret>) -> Option<Secret> {
        match secret {
            Some(secret) if needs_derivation(&secret) => {
                let (user, mock_key) = (user.to_owned(), self.mock_key);
                let derive = move || scram_verifier(&user, &secret, &mock_key);
                tokio::task::spawn_blocking(derive).await.ok()
            }
            secret => secret,
        }
    }
}
