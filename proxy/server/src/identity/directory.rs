//! Who is who, as the database knows it: the three questions that the configuration has queries for.

use crate::identity::answer::{Answer, AnswerError};
use crate::identity::fingerprint::{hexadecimal, sha256};
use crate::lookup::{Line, LookupError, Question, Row};
use pgwarden_config::{Lookups, TokenHash};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use thiserror::Error;

/// Rows to fetch: the second one only shows that there is one too many.
const ROWS: u16 = 2;

/// Tenants of one user, at most; with more, nothing is known of them.
const MOST_TENANTS: u16 = 10_000;

/// Errors of the server about a value that is none of its type: nobody has such a one.
const NO_SUCH_VALUE: [&str; 3] = ["22P02", "22003", "22007"];

/// Asks the database.
#[derive(Debug)]
pub(super) struct Directory {
    line: Arc<Line>,
    queries: Lookups,
    health: [AtomicBool; 4],
}

/// A query of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Query {
    SessionToken,
    Resolver,
    Membership,
    Tenants,
}

/// Why there is no answer. The text is for the log; it holds no value.
#[derive(Debug, Error)]
pub(super) enum DirectoryError {
    /// The server could not be asked, or the query failed.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The answer says nothing.
    #[error("the answer cannot be used: {0}")]
    Answer(#[from] AnswerError),
}

impl Directory {
    /// Asks on this line.
    pub(super) fn new(line: Arc<Line>, queries: Lookups) -> Self {
        Self { line, queries, health: [true; 4].map(AtomicBool::new) }
    }

    /// Whether opaque tokens are known here.
    pub(super) fn knows_tokens(&self) -> bool {
        self.queries.session_token.is_some()
    }

    /// Whether it is known here in which tenant a user works.
    pub(super) fn knows_tenants(&self) -> bool {
        self.queries.resolver.is_some()
    }

    /// Whether it is known here who belongs where.
    pub(super) fn knows_members(&self) -> bool {
        self.queries.membership.is_some()
    }

    /// Whose session the token is.
    ///
    /// # Errors
    /// [`DirectoryError`] when that cannot be found out.
    pub(super) async fn session_of(&self, token: &str) -> Result<Option<Answer>, DirectoryError> {
        let Some(session_token) = &self.queries.session_token else { return Ok(None) };
        let value = match session_token.hash {
            TokenHash::Sha256Hex => hexadecimal(&sha256(token)),
            TokenHash::Sha256 => format!("\\x{}", hexadecimal(&sha256(token))),
            TokenHash::None => token.to_owned(),
        };
        let answer = self.ask(Query::SessionToken, &session_token.query, &[&value]).await?;
        Ok(answer.filter(|answer| answer.tenant.is_some() || answer.user.is_some()))
    }

    /// In which tenant the user works.
    ///
    /// # Errors
    /// [`DirectoryError`] when that cannot be found out.
    pub(super) async fn tenant_of(&self, user: &str) -> Result<Option<Answer>, DirectoryError> {
        let Some(query) = &self.queries.resolver else { return Ok(None) };
        self.ask(Query::Resolver, query, &[user]).await
    }

    /// Whether the user belongs to the tenant: what else is said about that, if so.
    ///
    /// # Errors
    /// [`DirectoryError`] when that cannot be found out.
    pub(super) async fn membership(
        &self,
        user: &str,
        tenant: &str,
    ) -> Result<Option<Answer>, DirectoryError> {
        let Some(query) = &self.queries.membership else { return Ok(None) };
        let answer = self.ask(Query::Membership, query, &[user, tenant]).await?;
        Ok(answer.filter(|answer| answer.truth != Some(false)))
    }

    /// Whether it is known here which tenants' rows a user may see.
    pub(super) fn knows_sights(&self) -> bool {
        self.queries.tenants.is_some()
    }

    /// The tenants whose rows the user may see, by the first column of each row.
    ///
    /// # Errors
    /// [`DirectoryError`] when that cannot be found out.
    pub(super) async fn tenants_seen_by(&self, user: &str) -> Result<Vec<String>, DirectoryError> {
        let Some(sql) = &self.queries.tenants else { return Ok(Vec::new()) };
        let found = match self.line.look_up(Question { sql, values: &[user], rows: MOST_TENANTS }).await {
            Ok(table) => Ok(table.rows),
            Err(LookupError::Failed { sqlstate, .. }) if NO_SUCH_VALUE.contains(&sqlstate.as_str()) => {
                Ok(Vec::new())
            }
            Err(error) => Err(error.into()),
        };
        self.note(Query::Tenants, found.as_ref().err());
        let first = |row: Row| row.into_iter().next().flatten().map(|text| text.to_string());
        Ok(found?.into_iter().filter_map(first).collect())
    }

    async fn ask(&self, query: Query, sql: &str, values: &[&str]) -> Result<Option<Answer>, DirectoryError> {
        let answer = match self.line.look_up(Question { sql, values, rows: ROWS }).await {
            Ok(table) => Answer::read(table).and_then(|answer| query.fits(answer)).map_err(Into::into),
            Err(LookupError::Failed { sqlstate, .. }) if NO_SUCH_VALUE.contains(&sqlstate.as_str()) => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        };
        self.note(query, answer.as_ref().err());
        answer
    }

    /// The first failure of a streak is worth a line, and its end.
    fn note(&self, query: Query, error: Option<&DirectoryError>) {
        let Some(health) = self.health.get(query.place()) else { return };
        match (health.swap(error.is_none(), Ordering::Relaxed), error) {
            (true, Some(error)) => tracing::warn!(query = query.key(), %error, "a look-up failed"),
            (false, Some(error)) => tracing::debug!(query = query.key(), %error, "a look-up failed again"),
            (false, None) => tracing::info!(query = query.key(), "look-ups work again"),
            (true, None) => (),
        }
    }
}

impl Query {
    /// Who it is has to be said; of a member, a row is enough.
    fn fits(self, answer: Option<Answer>) -> Result<Option<Answer>, AnswerError> {
        match &answer {
            Some(Answer { names_somebody: false, .. }) if self != Self::Membership => {
                Err(AnswerError::Nameless)
            }
            _ => Ok(answer),
        }
    }

    fn place(self) -> usize {
        match self {
            Self::SessionToken => 0,
            Self::Resolver => 1,
            Self::Membership => 2,
            Self::Tenants => 3,
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::SessionToken => "context.session_token",
            Self::Resolver => "context.resolver",
            Self::Membership => "context.membership",
            Self::Tenants => "context.tenants",
        }
    }
}

impl DirectoryError {
    /// Whether it was a matter of time.
    pub(super) fn is_late(&self) -> bool {
        match self {
            Self::Lookup(LookupError::TimedOut(_)) => true,
            Self::Lookup(LookupError::Failed { sqlstate, .. }) => sqlstate == "57014",
            Self::Lookup(LookupError::Upstream(_) | LookupError::Answer(_)) | Self::Answer(_) => false,
        }
    }

    /// Whether it may pass by itself: there is no connection, or there are too many, or the server is not ready.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Lookup(LookupError::TimedOut(_) | LookupError::Upstream(_)) => true,
            Self::Lookup(LookupError::Failed { sqlstate, .. }) => {
                ["08", "40", "53", "57"].iter().any(|class| sqlstate.starts_with(class))
            }
            Self::Lookup(LookupError::Answer(_)) | Self::Answer(_) => false,
        }
    }
}
