//! One database, looked at again and again.

use crate::lookup::{Line, LookupError, Question};
use crate::observer::Snapshot;
use pgwarden_shadow::{Catalog, LOOK, TenantRule, Unreadable};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::Notify;

/// A database, and how it is looked at.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) name: String,
    pub(super) snapshot: Snapshot,
    pub(super) line: Line,
    pub(super) rules: Arc<[TenantRule]>,
    pub(super) interval: Duration,
}

/// Why a look has failed.
#[derive(Debug, Error)]
pub(super) enum LookError {
    /// The server could not be asked.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It did not answer with a document.
    #[error("the answer is no document")]
    Nothing,
    /// Or with one that cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// Whether the last look was one; what is said of it is said once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Clear,
    Lost,
}

impl Watched {
    /// Looks, waits for a change to be told or for the next time, and looks again.
    pub(super) async fn look_for_ever(self, told: Arc<Notify>) {
        let (mut known, mut sight) = (String::new(), None);
        loop {
            match self.look(&known).await {
                Ok(seen) => {
                    if sight != Some(Sight::Clear) {
                        tracing::info!(database = self.name, "the tables of the database are known");
                    }
                    sight = Some(Sight::Clear);
                    if let Some((hash, catalog)) = seen {
                        known = hash;
                        self.snapshot.store(Arc::new(catalog));
                    }
                }
                Err(error) => {
                    if sight != Some(Sight::Lost) {
                        tracing::warn!(%error, database = self.name, "the tables of the database cannot be looked at");
                    }
                    sight = Some(Sight::Lost);
                }
            }
            tokio::select! {
                () = told.notified() => (),
                () = tokio::time::sleep(self.interval) => (),
            }
        }
    }

    /// Looks once; nothing where it is the document of this hash still.
    async fn look(&self, known: &str) -> Result<Option<(String, Catalog)>, LookError> {
        let question = Question { sql: LOOK, values: &[known], rows: 1 };
        let mut rows = self.line.ask(question).await?;
        let mut row = rows.pop().ok_or(LookError::Nothing)?.into_iter();
        let hash = row.next().flatten().ok_or(LookError::Nothing)?;
        let Some(document) = row.next().flatten() else { return Ok(None) };
        Ok(Some((hash.to_string(), Catalog::read(&document, &self.rules)?)))
    }
}
