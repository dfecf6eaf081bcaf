//! Where everything goes that detectors find: counters, and the log where there is no trail.

mod announced;

use self::announced::{Announced, News};
use crate::meters::Meters;
use pgwarden_audit::{Event, Staging};
use pgwarden_shadow::{Coverage, Finding, Reporter};
use std::sync::Arc;

/// Hears of findings, coverage, and what happens to pgwarden itself.
#[derive(Debug)]
pub(crate) struct Trail {
    meters: Arc<Meters>,
    announced: Announced,
}

impl Trail {
    /// One that keeps nothing: findings are counted, and the first of each sort is a line of the log.
    pub(crate) fn unkept(meters: Arc<Meters>) -> Self {
        Self { meters, announced: Announced::default() }
    }

    /// Something that is recorded. Never waits.
    #[allow(dead_code, reason = "the observer hands over what it hears")]
    pub(crate) fn record(&self, event: Event) {
        match event {
            Event::Finding(finding) => self.found(*finding),
            Event::Coverage(coverage) => self.covered(*coverage),
            Event::Staging(staging) => tell(&staging),
            Event::PoliciesChanged { database, policy_hash } => {
                tracing::info!(database, policy_hash, "policies changed");
            }
            // The log has these already.
            Event::Service(_) | Event::Started { .. } | Event::Stopped | Event::Reloaded { .. } => (),
        }
    }

    /// The highest number of the journal of this database (`pgwarden.journal`) that was recorded; none: nothing was.
    #[allow(dead_code, reason = "the observer goes on from there")]
    pub(crate) fn journal_position(&self, _database: &str) -> Option<i64> {
        None
    }
}

impl Reporter for Trail {
    fn found(&self, finding: Finding) {
        self.meters.shadow_found(finding.kind, finding.count);
        match self.announced.news(&finding) {
            News::First => announce(&finding),
            News::Last => {
                announce(&finding);
                tracing::warn!("further sorts of findings are counted, and no line is logged for them");
            }
            News::None => (),
        }
    }

    fn covered(&self, _coverage: Coverage) {}
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
