//! Who a client acts for: from what it shows to a context that may be acted for.
//!
//! `decide.rs` finds out, with the questions of `directory.rs`; `memory.rs` remembers, and forgets what `changes.rs`
//! hears of.

mod answer;
mod change;
mod changes;
mod context;
mod decide;
mod directory;
mod fingerprint;
mod instant;
mod memory;
mod origin;
mod refusals;
mod register;
mod search;
mod variables;

pub(crate) use context::{Nobody, blank};
pub(crate) use origin::Origin;
pub(crate) use variables::Variables;

use crate::clock;
use crate::login::Tokens;
use crate::meters::{IdentityOutcome, Meters};
use decide::{Denied, Judge, Verdict};
use directory::Directory;
use memory::{Bounds, Hearing, Memory, Turn};
use pgwarden_auth::jwt::Claims;
use pgwarden_config::ContextSettings;
use pgwarden_tenant::{Authority, Denial, Evidence, Grant, Identity, Known};
use search::{Freshness, Landed, Landing, Search};
use std::sync::Arc;
use std::time::Instant;

/// The SQL of the triggers that tell changes.
pub(crate) const INVALIDATION: &str = include_str!("../../../../deploy/sql/invalidation.sql");

/// How much is remembered of tokens where nothing is looked up.
const TOKENS_ALONE: Bounds = Bounds { entries: 100_000, ttl: 30, denied_ttl: 5, unnotified_ttl: 30 };

/// Knows what evidence stands for, or finds out.
#[derive(Debug)]
pub(crate) struct Identities {
    judge: Arc<Judge>,
    memory: Arc<Memory>,
    origin: Option<Arc<Origin>>,
    meters: Arc<Meters>,
}

impl Identities {
    /// For contexts of these variables; `origin` is where look-ups are made, if there are any.
    pub(crate) fn new(
        variables: Variables,
        settings: ContextSettings,
        tokens: Arc<Tokens>,
        origin: Option<Arc<Origin>>,
        meters: &Arc<Meters>,
    ) -> Self {
        let memory = Arc::new(match &settings.lookups.lookup {
            Some(lookup) => Memory::new(bounds(lookup), Hearing::Deaf),
            None => Memory::new(TOKENS_ALONE, Hearing::Hears),
        });
        let directory = origin.as_ref().map(|origin| {
            origin.tell(&memory);
            Directory::new(origin.line(), settings.lookups.clone())
        });
        let judge = Arc::new(Judge { variables, settings, tokens, directory });
        Self { judge, memory, origin, meters: Arc::clone(meters) }
    }

    /// Where look-ups are made, if there are any.
    pub(crate) fn origin(&self) -> Option<&Arc<Origin>> {
        self.origin.as_ref()
    }

    /// Begins to listen for changes, if there may be any. Must be called inside a runtime.
    pub(crate) fn listen(&self) {
        if let Some(origin) = &self.origin {
            origin.listen(&self.meters);
        }
    }

    /// Finds out what the evidence stands for.
    ///
    /// Cancel safe: others may wait for the same search, which goes on.
    ///
    /// # Errors
    /// [`Denial`] when it stands for nothing.
    pub(crate) async fn resolve(&self, evidence: &Evidence) -> Result<Arc<Grant>, Denial> {
        if !self.judge.has_to_ask(evidence) {
            return self.judge.complete(evidence);
        }
        let key = self.memory.key(evidence);
        loop {
            let landing = match self.memory.turn(key, clock::now()) {
                Turn::Known(Known::Granted(grant)) => {
                    self.meters.identities.hit();
                    return Ok(grant);
                }
                Turn::Known(Known::Denied(denial)) => {
                    self.meters.identities.hit();
                    return Err(denial);
                }
                Turn::Known(Known::Unknown) => continue,
                Turn::Wait(landing) => landing,
                Turn::Ask(search, landing) => {
                    self.begin(search, evidence.clone());
                    self.meters.identities.miss();
                    return landed(landing).await.outcome;
                }
            };
            self.meters.identities.miss();
            let landed = landed(landing).await;
            if landed.freshness == Freshness::Current {
                return landed.outcome;
            }
        }
    }

    /// What the claims of a verified token say.
    pub(crate) fn of_claims(&self, claims: Claims) -> Identity {
        context::of_claims(&self.judge.settings, claims)
    }

    /// Searches, whoever gives up waiting.
    fn begin(&self, search: Search, evidence: Evidence) {
        let (judge, meters) = (Arc::clone(&self.judge), Arc::clone(&self.meters));
        tokio::spawn(async move {
            let (since, begun) = (clock::now(), Instant::now());
            let verdict = judge.decide(&evidence, since).await;
            meters.identities.looked_up(outcome(&verdict));
            meters.timings.identity_lookup.record(begun.elapsed());
            search.settle(verdict, &judge.variables, since);
        });
    }
}

impl Authority for Identities {
    fn known(&self, evidence: &Evidence, now: u64) -> Known {
        let known = self.memory.known(&self.memory.key(evidence), now);
        if !matches!(known, Known::Unknown) {
            self.meters.identities.hit();
        }
        known
    }
}

/// What the search tells; one that came to an unexpected end has found nothing.
async fn landed(landing: Landing) -> Landed {
    let mut landing = landing;
    let landed = landing.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone());
    landed.unwrap_or_else(|| Landed { outcome: Err(refusals::abandoned()), freshness: Freshness::Current })
}

fn outcome(verdict: &Verdict) -> IdentityOutcome {
    match &verdict.outcome {
        Ok(_) => IdentityOutcome::Granted,
        Err(Denied::Surely(_)) => IdentityOutcome::Denied,
        Err(Denied::ForNow(_, outcome)) => *outcome,
    }
}

fn bounds(lookup: &pgwarden_config::Lookup) -> Bounds {
    Bounds {
        entries: lookup.entries,
        ttl: lookup.ttl.as_secs(),
        denied_ttl: lookup.denied_ttl.as_secs(),
        unnotified_ttl: lookup.unnotified_ttl.as_secs(),
    }
}
