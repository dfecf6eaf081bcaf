//! What is counted of the audit trail, and of what is lost on the way there.

use super::family::Registry;
use metrics::{Counter, Gauge};

/// The metrics of the audit trail; all 0 where none is kept.
pub(crate) struct TrailMeters {
    records: Counter,
    dropped: Counter,
    notices: Counter,
    failures: Counter,
    broken: Gauge,
}

impl TrailMeters {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            records: registry.counter(
                "pgwarden_audit_records_total",
                None,
                "Records written to the audit trail.",
            ),
            dropped: registry.counter(
                "pgwarden_audit_dropped_total",
                None,
                "Findings, executions and events of which the audit trail has only the number.",
            ),
            notices: registry.counter(
                "pgwarden_shadow_notices_dropped_total",
                None,
                "What triggers have told of writes and found no place, or could not be read.",
            ),
            failures: registry.counter(
                "pgwarden_audit_failures_total",
                None,
                "Attempts to write the audit trail that failed.",
            ),
            broken: registry.gauge("pgwarden_audit_unwritable", "1 while the audit trail cannot be written."),
        }
    }

    /// So many records were written.
    pub(crate) fn wrote(&self, count: usize) {
        self.records.increment(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// There was no place for so many.
    pub(crate) fn dropped(&self, count: u64) {
        self.dropped.increment(count);
    }

    /// So much of what triggers have told never gets there.
    pub(crate) fn notices_dropped(&self, count: u64) {
        self.notices.increment(count);
    }

    /// Nothing can be written.
    pub(crate) fn broken(&self) {
        self.failures.increment(1);
        self.broken.set(1.0);
    }

    /// It can again.
    pub(crate) fn mended(&self) {
        self.broken.set(0.0);
    }
}
