//! What was found out, remembered for a while: by fingerprint, bounded, and forgotten when it changes.
//!
//! Reading takes no lock that anybody holds for long. Everything else goes through the [`Register`], behind one lock:
//! who is about whom, in which order things were remembered, and what is being searched for. A grant that is not
//! remembered any more is withdrawn, because a change could not be told to those who hold it.

use crate::identity::change::Change;
use crate::identity::fingerprint::{Fingerprints, Key};
use crate::identity::register::Register;
use crate::identity::search::{Landing, Search, Searching};
use dashmap::DashMap;
use pgwarden_tenant::{Denial, Evidence, Grant, Known, Standing};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much is remembered, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Grants, and denials, at most.
    pub(super) entries: usize,
    /// Seconds for which a grant holds.
    pub(super) ttl: u64,
    /// Seconds for which a denial holds.
    pub(super) denied_ttl: u64,
    /// Seconds for which anything holds while no change is heard of.
    pub(super) unnotified_ttl: u64,
}

/// What was found out.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) prints: Fingerprints,
    pub(super) bounds: Bounds,
    pub(super) entries: DashMap<Key, Found>,
    register: Mutex<Register>,
}

/// What is remembered of evidence: a grant, or why there is none.
#[derive(Debug)]
pub(super) enum Found {
    /// It stands for this.
    Granted(Arc<Grant>),
    /// It stands for nothing, from the first time to the second, in seconds since 1970.
    Denied(Denial, u64, u64),
}

/// What there is to do about evidence.
#[derive(Debug)]
pub(super) enum Turn {
    /// Nothing: this is known.
    Known(Known),
    /// Somebody searches already.
    Wait(Landing),
    /// To search.
    Ask(Search, Landing),
}

impl Found {
    /// Those who hold it have to ask again.
    pub(super) fn withdraw(&self) {
        match self {
            Self::Granted(grant) => grant.withdraw(),
            Self::Denied(..) => (),
        }
    }
}

impl Memory {
    /// An empty one, that hears of changes or does not.
    pub(super) fn new(bounds: Bounds, hearing: Hearing) -> Self {
        Self {
            prints: Fingerprints::new(),
            bounds,
            entries: DashMap::new(),
            register: Mutex::new(Register::new(hearing)),
        }
    }

    /// By what the evidence is remembered.
    pub(super) fn key(&self, evidence: &Evidence) -> Key {
        self.prints.of_evidence(evidence)
    }

    /// What is known at the time `now`, in seconds since 1970.
    pub(super) fn known(&self, key: &Key, now: u64) -> Known {
        let Some(found) = self.entries.get(key) else { return Known::Unknown };
        match found.value() {
            Found::Granted(grant) if grant.standing(now) != Standing::Stale => {
                Known::Granted(Arc::clone(grant))
            }
            Found::Denied(denial, since, until) if (*since..*until).contains(&now) => {
                Known::Denied(denial.clone())
            }
            Found::Granted(_) | Found::Denied(..) => Known::Unknown,
        }
    }

    /// Finds out whether to search; one does, and the others wait for what it finds.
    pub(super) fn turn(self: &Arc<Self>, key: Key, now: u64) -> Turn {
        let mut register = self.register();
        match self.known(&key, now) {
            Known::Unknown => (),
            known => return Turn::Known(known),
        }
        if let Some(searching) = register.searches.get(&key) {
            return Turn::Wait(searching.landing());
        }
        let (searching, landing) = Searching::begin();
        register.searches.insert(key, searching);
        Turn::Ask(Search::new(Arc::clone(self), key), landing)
    }

    /// Forgets what a change is about. What is being searched for at the moment may be from before it.
    pub(super) fn forget(&self, change: Change<'_>) {
        let tag = self.prints.of_change(change);
        let mut register = self.register();
        match tag {
            Some(tag) => register.forget(&self.entries, &tag),
            None => register.forget_everything(&self.entries),
        }
    }

    /// Changes are heard of from now on; what was before was not, and is forgotten.
    pub(super) fn hears(&self) {
        let mut register = self.register();
        register.hearing = Hearing::Hears;
        register.forget_everything(&self.entries);
    }

    /// Changes are not heard of any more: whatever is remembered holds for a shorter time.
    pub(super) fn is_deaf(&self, now: u64) {
        let mut register = self.register();
        register.hearing = Hearing::Deaf;
        let limit = now.saturating_add(self.bounds.unnotified_ttl);
        for mut found in self.entries.iter_mut() {
            match found.value_mut() {
                Found::Granted(grant) => grant.limit(limit),
                Found::Denied(_, _, until) => *until = limit.min(*until),
            }
        }
    }

    pub(super) fn register(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether changes are heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hearing {
    /// They are, or there are none.
    Hears,
    /// They are not.
    Deaf,
}

#[cfg(test)]
mod tests;
