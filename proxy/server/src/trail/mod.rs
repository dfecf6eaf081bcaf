//! The audit trail: everything goes here that detectors find, and what happens to pgwarden itself.
//!
//! Whoever tells something counts it at the [`Desk`] and goes on; a thread of its own ([`writer`]) makes records of it, gives
//! them their place in the chain ([`scribe`]) and writes them to a file ([`store`]). Where no trail is kept, findings are
//! counters, and lines of the log.

mod announced;
pub(crate) mod command;
mod desk;
pub(crate) mod files;
mod health;
mod recovery;
mod scribe;
mod second_place;
mod sorts;
mod start;
mod store;
mod tallies;
mod terms;
mod writer;

pub(crate) use self::store::StoreError;
pub(crate) use self::terms::Terms;

use self::announced::{Announced, News};
use self::desk::{Call, Desk};
use self::health::Health;
use crate::admin::Readiness;
use crate::clock;
use crate::meters::Meters;
use arc_swap::ArcSwap;
use pgwarden_audit::{Event, Staging};
use pgwarden_shadow::{Coverage, Finding, Reporter};
use pgwarden_tenant::Gate;
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Hears of findings, coverage, and what happens to pgwarden itself.
#[derive(Debug)]
pub(crate) struct Trail {
    meters: Arc<Meters>,
    announced: Announced,
    terms: Arc<ArcSwap<Terms>>,
    health: Arc<Health>,
    /// There is one where a trail is kept.
    desk: Option<Arc<Desk>>,
    /// What the writer will hear, until it begins.
    calls: Mutex<Option<Receiver<Call>>>,
}

/// Who else may have the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nobody: if somebody has, that is a mistake.
    Nobody,
    /// The process from which this one takes over. It writes until its last client has left.
    Predecessor,
}

impl Trail {
    /// What these terms say; nothing is written before [`Trail::begin`].
    pub(crate) fn new(terms: Arc<Terms>, meters: &Arc<Meters>, readiness: &Arc<Readiness>) -> Self {
        let is_kept = terms.audit.directory.is_some();
        let terms = Arc::new(ArcSwap::new(terms));
        let (sender, calls) = channel();
        let desk = is_kept.then(|| Arc::new(Desk::new(Arc::clone(&terms), sender)));
        Self {
            meters: Arc::clone(meters),
            announced: Announced::default(),
            terms,
            health: Arc::new(Health::new(Arc::clone(meters), Arc::clone(readiness))),
            desk,
            calls: Mutex::new(Some(calls)),
        }
    }

    /// What counts.
    pub(crate) fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Starts the writer, if a trail is kept.
    ///
    /// # Errors
    /// [`StoreError`] when the directory cannot be used.
    pub(crate) fn begin(&self, before: Before) -> Result<(), StoreError> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(desk), Some(calls)) = (&self.desk, calls) else { return Ok(()) };
        start::start((Arc::clone(desk), Arc::clone(&self.health)), calls, before)
    }

    /// Puts what a reload has read into force.
    pub(crate) fn follow(&self, terms: Arc<Terms>) {
        let config_hash = terms.config_hash.clone();
        self.terms.store(terms);
        self.record(Event::Reloaded { config_hash });
    }

    /// Writes everything, and that pgwarden stops; waits for that at most for `patience`.
    pub(crate) fn close(&self, patience: Duration) {
        let Some(desk) = &self.desk else { return };
        let (done, closed) = sync_channel(1);
        desk.close(done);
        if closed.recv_timeout(patience).is_err() {
            tracing::warn!("the audit trail may lack its end");
        }
    }

    /// What keeps transactions from beginning while the trail cannot be written.
    pub(crate) fn gate(&self) -> Option<Arc<dyn Gate>> {
        self.desk.as_ref()?;
        let health: Arc<dyn Gate> = Arc::<Health>::clone(&self.health);
        Some(health)
    }

    /// Something that is recorded. Never waits.
    pub(crate) fn record(&self, event: Event) {
        match (event, &self.desk) {
            (Event::Finding(finding), _) => self.found(*finding),
            (Event::Coverage(coverage), _) => self.covered(*coverage),
            (event, Some(desk)) => desk.happened(event),
            (Event::Staging(staging), None) => tell(&staging),
            (Event::PoliciesChanged { database, policy_hash, .. }, None) => {
                tracing::info!(database, policy_hash, "policies changed");
            }
            // The log has these already.
            (Event::Service(_) | Event::Started { .. } | Event::Stopped | Event::Reloaded { .. }, None) => (),
        }
    }

    /// The highest number of the journal of this database (`pgwarden.journal`) that was recorded; none: nothing was, or it
    /// is not known. What is handed over once more is not recorded again.
    pub(crate) fn journal_position(&self, database: &str) -> Option<i64> {
        self.desk.as_ref()?.journal_position(database)
    }

    /// The number of the last record that is written; what stands behind it in the files may be taken back.
    pub(crate) fn written(&self) -> u64 {
        self.desk.as_ref().map_or(0, |desk| desk.last())
    }
}

impl Reporter for Trail {
    fn found(&self, finding: Finding) {
        self.meters.shadow.found(finding.kind, finding.count);
        if let Some(desk) = &self.desk {
            desk.found(finding, clock::timestamp());
            return;
        }
        match self.announced.news(&finding) {
            News::First => announce(&finding),
            News::Last => {
                announce(&finding);
                tracing::warn!("further sorts of findings are counted, and no line is logged for them");
            }
            News::None => (),
        }
    }

    fn covered(&self, coverage: Coverage) {
        if let Some(desk) = &self.desk {
            desk.covered(coverage, clock::timestamp());
        }
    }
}

/// A line of the log for the first finding of its sort.
fn announce(finding: &Finding) {
    let query = finding.query.as_ref().map(|query| query.fingerprint.as_str());
    tracing::info!(
        kind = finding.kind.label(),
        fingerprint = query,
        schema = finding.target.schema,
        table = finding.target.table,
        policy = finding.target.policy,
        database = &*finding.site.database,
        user = finding.actor.user,
        "finding"
    );
}

fn tell(staging: &Staging) {
    tracing::info!(
        step = ?staging.step,
        database = staging.database,
        by = staging.by,
        tables = staging.tables.join(", "),
        "a step of staging"
    );
}

#[cfg(test)]
mod tests;
