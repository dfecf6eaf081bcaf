//! What is granted for the evidence a client shows, and for how long it stands.

use crate::context::Context;
use crate::evidence::Evidence;
use crate::offence::Offence;
use pgwarden_session::{Carrier, Refusal};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A context that may be acted for, shared by everyone who shows the same evidence.
#[derive(Debug)]
pub struct Grant {
    /// The values.
    pub context: Context,
    /// The same, encoded; `None` when no variable is configured.
    pub carrier: Option<Arc<Carrier>>,
    /// When it was granted, in seconds since 1970.
    since: u64,
    /// Up to when it need not be looked up again.
    until: AtomicU64,
    withdrawn: AtomicBool,
}

/// Whether a grant may begin another transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Good,
    /// Somebody has to be asked again first.
    Stale,
    /// The token behind it has expired.
    Expired,
}

/// Why nothing is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// What it is found as.
    pub offence: Offence,
    /// What the client reads.
    pub refusal: Refusal,
}

/// What is known of evidence without asking anybody.
#[derive(Debug)]
pub enum Known {
    /// It stands for this.
    Granted(Arc<Grant>),
    /// It stands for nothing.
    Denied(Denial),
    /// It has to be looked up.
    Unknown,
}

/// Who knows what evidence stands for.
pub trait Authority: Debug + Send + Sync {
    /// What is known at once; `now` is in seconds since 1970.
    fn known(&self, evidence: &Evidence, now: u64) -> Known;
}

impl Grant {
    /// A grant that nothing but the end of its token ends.
    #[must_use]
    pub fn lasting(context: Context, carrier: Option<Arc<Carrier>>) -> Self {
        Self::until(context, carrier, 0, u64::MAX)
    }

    /// A grant of `now` that has to be looked up again from `until` on, both in seconds since 1970.
    #[must_use]
    pub fn until(context: Context, carrier: Option<Arc<Carrier>>, now: u64, until: u64) -> Self {
        Self { context, carrier, since: now, until: until.into(), withdrawn: false.into() }
    }

    /// It has to be looked up again before the next transaction.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }

    /// It has to be looked up again from `until` on, if not earlier anyway.
    pub fn limit(&self, until: u64) {
        self.until.fetch_min(until, Ordering::AcqRel);
    }

    /// Whether it may begin a transaction. A clock that was put back makes it stale.
    #[must_use]
    pub fn standing(&self, now: u64) -> Standing {
        let fresh = self.since <= now && now < self.until.load(Ordering::Acquire);
        match () {
            () if self.context.expires_at.is_some_and(|end| end <= now) => Standing::Expired,
            () if !fresh || self.withdrawn.load(Ordering::Acquire) => Standing::Stale,
            () => Standing::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Presence;

    fn context(expires_at: Option<u64>) -> Context {
        Context { values: Vec::new(), presence: Presence::Present, expires_at, tenants: Vec::new() }
    }

    #[test]
    fn a_grant_stands_from_when_it_was_given_to_its_limit() {
        let grant = Grant::until(context(None), None, 100, 200);
        assert_eq!(
            [99, 100, 199, 200].map(|now| grant.standing(now)),
            [Standing::Stale, Standing::Good, Standing::Good, Standing::Stale]
        );
        grant.limit(150);
        grant.limit(180);
        assert_eq!([149, 150].map(|now| grant.standing(now)), [Standing::Good, Standing::Stale]);
    }

    #[test]
    fn what_is_withdrawn_is_stale_and_what_has_expired_stays_expired() {
        let grant = Grant::lasting(context(Some(500)), None);
        assert_eq!(grant.standing(499), Standing::Good);
        grant.withdraw();
        assert_eq!(grant.standing(499), Standing::Stale);
        assert_eq!(grant.standing(500), Standing::Expired);
    }
}
