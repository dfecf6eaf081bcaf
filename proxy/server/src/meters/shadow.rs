//! What is counted of shadow mode.

use super::family::{Family, Registry};
use metrics::Counter;
use pgwarden_shadow::Kind;

/// The metrics of what detectors find.
pub(crate) struct ShadowMeters {
    findings: Family<Kind, Counter>,
    notices_dropped: Counter,
}

impl ShadowMeters {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            findings: registry.counters(
                "pgwarden_shadow_findings_total",
                "kind",
                "Statements that the policies would have changed, and what else detectors found, by kind.",
            ),
            notices_dropped: registry.counter(
                "pgwarden_shadow_notices_dropped_total",
                None,
                "What triggers have told of writes and found no place, or could not be read.",
            ),
        }
    }

    /// Detectors have found so many of a kind.
    pub(crate) fn found(&self, kind: Kind, count: u64) {
        if let Some(counter) = self.findings.of(kind) {
            counter.increment(count);
        }
    }

    /// So much of what triggers have told is lost.
    pub(crate) fn notices_dropped(&self, count: u64) {
        self.notices_dropped.increment(count);
    }
}
