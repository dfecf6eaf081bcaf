//! Whether clients should be sent here.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

const UNTRIED: u8 = 0;
const REACHED: u8 = 1;
const LOST: u8 = 2;

/// Why clients should not be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unready {
    /// pgwarden is about to stop.
    Draining,
    /// No login to the server behind has been tried yet.
    UpstreamUntried,
    /// The last login to the server behind failed.
    UpstreamUnreachable,
}

impl Unready {
    /// The reason as `/readyz` names it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::UpstreamUntried => "upstream_untried",
            Self::UpstreamUnreachable => "upstream_unreachable",
        }
    }
}

/// What readiness is made of; shared by whoever learns something about it.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    draining: AtomicBool,
    /// How the last login ended.
    upstream: AtomicU8,
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

    /// Why clients should not be sent here; none when they should.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = Unready> + use<> {
        let draining = self.draining.load(Ordering::Relaxed).then_some(Unready::Draining);
        let upstream = match self.upstream.load(Ordering::Relaxed) {
            REACHED => None,
            UNTRIED => Some(Unready::UpstreamUntried),
            _ => Some(Unready::UpstreamUnreachable),
        };
        draining.into_iter().chain(upstream)
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
    fn every_reason_is_named() {
        let readiness = Readiness::default();
        readiness.draining();
        assert!(readiness.reasons().eq([Unready::Draining, Unready::UpstreamUntried]));
    }
}
