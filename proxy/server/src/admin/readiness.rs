//! Whether clients should be sent here.

use pgwarden_config::Required;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

const UNTRIED: u8 = 0;
const REACHED: u8 = 1;
const LOST: u8 = 2;

const WRITTEN: u8 = 0;
const MISSED: u8 = 1;
const NEEDED: u8 = 2;

/// Why clients should not be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unready {
    /// pgwarden is about to stop.
    Draining,
    /// No login to the server behind has been tried yet.
    UpstreamUntried,
    /// The last login to the server behind failed.
    UpstreamUnreachable,
    /// No transaction begins, because the audit trail cannot be written.
    TrailUnwritable,
}

impl Unready {
    /// The reason as `/readyz` names it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::UpstreamUntried => "upstream_untried",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::TrailUnwritable => "audit_unwritable",
        }
    }
}

/// What readiness is made of; shared by whoever learns something about it.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    draining: AtomicBool,
    /// How the last login ended.
    upstream: AtomicU8,
    /// Whether the audit trail can be written, and is needed.
    trail: AtomicU8,
}

/// Clients can be sent here, and somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Degraded {
    /// The audit trail cannot be written.
    TrailUnwritable,
}

impl Degraded {
    /// The reason as `/readyz` names it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::TrailUnwritable => "audit_unwritable",
        }
    }
}

impl Readiness {
    /// pgwarden takes no new clients from now on.
    pub(crate) fn draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// A login to the server behind worked.
    pub(crate) fn upstream_reached(&self) {
        self.upstream.store(REACHED, Ordering::Relaxed);
    }

    /// A login to the server behind failed.
    pub(crate) fn upstream_lost(&self) {
        self.upstream.store(LOST, Ordering::Relaxed);
    }

    /// The audit trail cannot be written.
    pub(crate) fn trail_broken(&self, required: Required) {
        let state = match required {
            Required::Yes => NEEDED,
            Required::No => MISSED,
        };
        self.trail.store(state, Ordering::Relaxed);
    }

    /// The audit trail can be written.
    pub(crate) fn trail_mended(&self) {
        self.trail.store(WRITTEN, Ordering::Relaxed);
    }

    /// What somebody should look at.
    pub(crate) fn degraded(&self) -> Option<Degraded> {
        (self.trail.load(Ordering::Relaxed) == MISSED).then_some(Degraded::TrailUnwritable)
    }

    /// Why clients should not be sent here; none when they should.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = Unready> + use<> {
        let draining = self.draining.load(Ordering::Relaxed).then_some(Unready::Draining);
        let upstream = match self.upstream.load(Ordering::Relaxed) {
            REACHED => None,
            UNTRIED => Some(Unready::UpstreamUntried),
            _ => Some(Unready::UpstreamUnreachable),
        };
        let trail = (self.trail.load(Ordering::Relaxed) == NEEDED).then_some(Unready::TrailUnwritable);
        draining.into_iter().chain(upstream).chain(trail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_to_the_server_makes_it_ready_until_one_fails() {
        let readiness = Readiness::default();
        assert!(readiness.reasons().eq([Unready::UpstreamUntried]));
        readiness.upstream_reached();
        assert!(readiness.reasons().eq([]));
        readiness.upstream_lost();
        assert!(readiness.reasons().eq([Unready::UpstreamUnreachable]));
        readiness.upstream_reached();
        assert!(readiness.reasons().eq([]));
    }

    #[test]
    fn a_trail_that_cannot_be_written_matters_as_much_as_the_configuration_says() {
        let readiness = Readiness::default();
        readiness.upstream_reached();
        readiness.trail_broken(Required::No);
        assert!(readiness.reasons().eq([]));
        assert_eq!(readiness.degraded(), Some(Degraded::TrailUnwritable));
        readiness.trail_broken(Required::Yes);
        assert!(readiness.reasons().eq([Unready::TrailUnwritable]));
        readiness.trail_mended();
        assert!(readiness.reasons().eq([]) && readiness.degraded().is_none());
    }

    #[test]
    fn every_reason_is_named() {
        let readiness = Readiness::default();
        readiness.draining();
        assert!(readiness.reasons().eq([Unready::Draining, Unready::UpstreamUntried]));
    }
}
