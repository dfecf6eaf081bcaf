//! What is counted about contexts that are looked up.

use super::GaugeGuard;
use super::family::{Family, Registry};
use super::labels::{ChangeKind, IdentityOutcome, RememberedOrNot};
use metrics::{Counter, Gauge};

/// Handles for look-ups.
pub(crate) struct IdentityMeters {
    lookups: Family<IdentityOutcome, Counter>,
    requests: Family<RememberedOrNot, Counter>,
    changes: Family<ChangeKind, Counter>,
    listening: Gauge,
}

impl IdentityMeters {
    /// Registers and describes them.
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            lookups: r.counters(
                "pgwarden_identity_lookups_total",
                "outcome",
                "Times that it was found out whom evidence stands for, by what came of it.",
            ),
            requests: r.counters(
                "pgwarden_identity_requests_total",
                "answer",
                "Times that a session asked whom evidence stands for: remembered, or looked up.",
            ),
            changes: r.counters(
                "pgwarden_identity_changes_total",
                "kind",
                "Changes that were told on the channel, by what they were about.",
            ),
            listening: r.gauge(
                "pgwarden_identity_listening",
                "Connections on which changes of identities are heard of: 1, or 0 while there is none.",
            ),
        }
    }

    /// It was found out whom evidence stands for.
    pub(crate) fn looked_up(&self, outcome: IdentityOutcome) {
        self.lookups.count(outcome);
    }

    /// A session was told what is remembered.
    pub(crate) fn hit(&self) {
        self.requests.count(RememberedOrNot::Remembered);
    }

    /// A session had to wait for a look-up.
    pub(crate) fn miss(&self) {
        self.requests.count(RememberedOrNot::LookedUp);
    }

    /// A change was told.
    pub(crate) fn changed(&self, kind: ChangeKind) {
        self.changes.count(kind);
    }

    /// Changes are heard of, until the guard is dropped.
    pub(crate) fn listening(&self) -> GaugeGuard {
        GaugeGuard::new(&self.listening)
    }
}
