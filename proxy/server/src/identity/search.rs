//! One search for many: who comes while it goes on waits for what it finds.

use crate::identity::Variables;
use crate::identity::context;
use crate::identity::decide::{Denied, Verdict};
use crate::identity::fingerprint::{Key, Tag};
use crate::identity::memory::{Found, Hearing, Memory};
use pgwarden_tenant::{Denial, Grant};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::watch;

/// What became of a search.
#[derive(Debug, Clone)]
pub(super) struct Landed {
    /// What was found.
    pub(super) outcome: Result<Arc<Grant>, Denial>,
    /// Whether somebody who came later may rely on it.
    pub(super) freshness: Freshness,
}

/// Whether something changed while it was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Nothing did.
    Current,
    /// Something did: it was true when the search began.
    Overtaken,
}

/// Where a search will tell what it found.
pub(super) type Landing = watch::Receiver<Option<Landed>>;

/// A search that goes on, as those see it who wait.
#[derive(Debug)]
pub(super) struct Searching {
    sender: watch::Sender<Option<Landed>>,
    missed: Missed,
}

/// What changed while a search went on: whom it is about is known only at its end.
#[derive(Debug)]
enum Missed {
    These(HashSet<Tag>),
    Everything,
}

/// A search that goes on, as it sees itself. Dropped, it is given up.
#[derive(Debug)]
pub(super) struct Search {
    memory: Option<Arc<Memory>>,
    key: Key,
}

impl Searching {
    /// A search that begins, and where it will tell what it found.
    pub(super) fn begin() -> (Self, Landing) {
        let (sender, landing) = watch::channel(None);
        (Self { sender, missed: Missed::These(HashSet::new()) }, landing)
    }

    /// Where it will tell what it found.
    pub(super) fn landing(&self) -> Landing {
        self.sender.subscribe()
    }

    /// Something changes; `None` where it may be about anybody.
    pub(super) fn misses(&mut self, tag: Option<Tag>) {
        match (&mut self.missed, tag) {
            (Missed::These(missed), Some(tag)) => {
                missed.insert(tag);
            }
            (_, None) => self.missed = Missed::Everything,
            (Missed::Everything, Some(_)) => (),
        }
    }

    fn freshness(&self, tags: &[Tag]) -> Freshness {
        let is_overtaken = match &self.missed {
            Missed::These(missed) => tags.iter().any(|tag| missed.contains(tag)),
            Missed::Everything => true,
        };
        if is_overtaken { Freshness::Overtaken } else { Freshness::Current }
    }
}

impl Search {
    /// The search for what this is the key of.
    pub(super) fn new(memory: Arc<Memory>, key: Key) -> Self {
        Self { memory: Some(memory), key }
    }

    /// Remembers what was found by a search that began at `since`, in seconds since 1970, and tells those who wait.
    ///
    /// What was overtaken is not remembered, and who began to search may act for it once.
    pub(super) fn settle(mut self, verdict: Verdict, variables: &Variables, since: u64) {
        let Some(memory) = self.memory.take() else { return };
        let mut register = memory.register();
        let Some(searching) = register.searches.remove(&self.key) else { return };
        let tags = memory.prints.of_subjects(&verdict.subjects);
        let freshness = searching.freshness(&tags);
        let (outcome, found) = memory.found(register.hearing, verdict, variables, since);
        match (freshness, found) {
            (Freshness::Current, Some(found)) => register.remember(&memory, self.key, (tags, found), since),
            (Freshness::Overtaken, Some(found)) => found.withdraw(),
            (_, None) => (),
        }
        searching.sender.send_replace(Some(Landed { outcome, freshness }));
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        if let Some(memory) = &self.memory {
            memory.register().searches.remove(&self.key);
        }
    }
}

impl Memory {
    /// What a verdict is to those who wait, and what is to be remembered of it.
    fn found(
        &self,
        hearing: Hearing,
        verdict: Verdict,
        variables: &Variables,
        since: u64,
    ) -> (Result<Arc<Grant>, Denial>, Option<Found>) {
        let most = match hearing {
            Hearing::Hears => u64::MAX,
            Hearing::Deaf => self.bounds.unnotified_ttl,
        };
        match verdict.outcome {
            Ok(context) => {
                let until = since.saturating_add(self.bounds.ttl.min(most));
                let until = until.min(verdict.ends_at.unwrap_or(u64::MAX));
                let carrier = context::carrier(variables, &context);
                let grant = Arc::new(Grant::until(context, carrier, since, until));
                (Ok(Arc::clone(&grant)), Some(Found::Granted(grant)))
            }
            Err(Denied::Surely(denial)) => {
                let until = since.saturating_add(self.bounds.denied_ttl.min(most));
                (Err(denial.clone()), Some(Found::Denied(denial, since, until)))
            }
            Err(Denied::ForNow(denial, _)) => (Err(denial), None),
        }
    }
}
