//! One database, looked at again and again.

use crate::lookup::{Line, LookupError, Question};
use crate::observer::journal::{self, Journal};
use crate::observer::upkeep::{Done, Upkeep};
use crate::observer::{Snapshot, Stages};
use crate::pool::Pools;
use crate::trail::Trail;
use pgwarden_audit::Event;
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
    pub(super) stages: Stages,
    pub(super) line: Line,
    pub(super) rules: Arc<[TenantRule]>,
    pub(super) interval: Duration,
    pub(super) upkeep: Upkeep,
    pub(super) trail: Arc<Trail>,
    pub(super) pools: Arc<Pools>,
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

/// What is known so far.
#[derive(Debug, Default)]
struct Known {
    /// The hash of the document that was seen last.
    document: String,
    /// The hash of the policies that were recorded last.
    policies: String,
    /// The hash of the document by which the triggers were looked after last.
    kept: String,
}

/// Whether the policies are others already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    On,
    Not,
}

impl Watched {
    /// Looks, waits for a change to be told or for the next time, and looks again.
    pub(super) async fn look_for_ever(mut self, told: Arc<Notify>) {
        let (mut known, mut sight) = (Known::default(), None);
        let mut journal = Journal::new(&self.name, &self.trail);
        loop {
            let looked = match self.look(&mut known).await {
                Ok(()) => self.follow(&mut journal).await.map_err(LookError::from),
                failed => failed,
            };
            let now = if looked.is_ok() { Sight::Clear } else { Sight::Lost };
            if sight.replace(now) != Some(now) {
                match looked {
                    Ok(()) => tracing::info!(database = self.name, "the tables of the database are known"),
                    Err(error) => {
                        tracing::warn!(%error, database = self.name, "the database cannot be looked at");
                    }
                }
            }
            tokio::select! {
                () = told.notified() => (),
                () = tokio::time::sleep(self.interval) => (),
            }
        }
    }

    /// Looks until nothing is left to do about what was seen.
    async fn look(&mut self, known: &mut Known) -> Result<(), LookError> {
        loop {
            if let Some((hash, catalog)) = self.seen(&known.document).await? {
                known.document = hash;
                let catalog = Arc::new(catalog);
                let before = self.snapshot.swap(Arc::clone(&catalog));
                self.heed_memberships(&before, &catalog);
            }
            let catalog = self.snapshot.load_full();
            if known.policies != catalog.policy_hash && self.record(&catalog, known).await? == Moved::On {
                continue;
            }
            if known.kept == known.document {
                return Ok(());
            }
            if self.upkeep.keep(&catalog).await == Done::Nothing {
                known.kept.clone_from(&known.document);
                return Ok(());
            }
        }
    }

    /// Hears of the steps that were taken.
    async fn follow(&self, journal: &mut Journal) -> Result<(), LookupError> {
        self.stages.store(Arc::new(journal::steps(&self.line).await?));
        journal.follow(&self.line, &self.trail).await
    }

    /// Records what the policies are, with the steps that have made them so: those that are read between two looks that see
    /// the same policies, because a command changes both at once.
    async fn record(&self, catalog: &Catalog, known: &mut Known) -> Result<Moved, LookError> {
        let steps = journal::steps(&self.line).await?;
        let later = self.seen(&known.document).await?;
        if later.is_some_and(|(_, later)| later.policy_hash != catalog.policy_hash) {
            return Ok(Moved::On);
        }
        known.policies.clone_from(&catalog.policy_hash);
        self.trail.record(Event::PoliciesChanged {
            database: self.name.clone(),
            policy_hash: catalog.policy_hash.clone(),
            tables: catalog.digests(&steps),
        });
        Ok(Moved::Not)
    }

    /// Which policies bind whom is part of plans, and a changed membership makes none of them anew (`plancache.c`): backends
    /// that may have such plans go.
    fn heed_memberships(&self, before: &Catalog, now: &Catalog) {
        let is_first = before.policy_hash.is_empty();
        if !is_first && before.memberships != now.memberships {
            tracing::info!(
                database = self.name,
                "members of roles that policies name have changed: backends are exchanged"
            );
            self.pools.exchange(&self.name);
        }
    }

    /// Looks once; nothing where it is the document of this hash still.
    async fn seen(&self, known: &str) -> Result<Option<(String, Catalog)>, LookError> {
        let question = Question { sql: LOOK, values: &[known], rows: 1 };
        let mut rows = self.line.ask(question).await?;
        let mut row = rows.pop().ok_or(LookError::Nothing)?.into_iter();
        let hash = row.next().flatten().ok_or(LookError::Nothing)?;
        let Some(document) = row.next().flatten() else { return Ok(None) };
        let mut catalog = Catalog::read(&document, &self.rules)?;
        self.upkeep.outdate(&mut catalog);
        Ok(Some((hash.to_string(), catalog)))
    }
}
