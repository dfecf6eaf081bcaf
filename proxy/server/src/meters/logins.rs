//! What is counted about logins.

use super::family::{Family, Registry};
use super::labels::{LoginOutcome, SecretLookup};
use metrics::Counter;

/// Handles for logins.
pub(super) struct Logins {
    pub(super) outcomes: Family<LoginOutcome, Counter>,
    pub(super) delayed: Counter,
    pub(super) lookups: Family<SecretLookup, Counter>,
}

impl Logins {
    /// Registers and describes them.
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            outcomes: r.counters("pgwarden_logins_total", "outcome", "Logins by how they ended."),
            delayed: r.counter(
                "pgwarden_delayed_logins_total",
                None,
                "Logins that had to wait, or to come again, because others from there or by that name had failed.",
            ),
            lookups: r.counters(
                "pgwarden_secret_lookups_total",
                "outcome",
                "Questions to the server for the secret of a user, by what came of them.",
            ),
        }
    }
}
