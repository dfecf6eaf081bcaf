//! Settings that clients start with: what the server makes of them, learned once per value.

use dashmap::DashMap;
use pgwarden_session::{Profile, Settings};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Values remembered at most.
const CAPACITY: usize = 10_000;

/// What became of a setting that a client started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Learned {
    /// The server reports it, under this name and with this value.
    Reported(String, String),
    /// The server does not report it: it is carried along by value.
    Carried,
}

/// What is known of the settings of one pool.
#[derive(Debug, Default)]
pub(crate) struct Profiles {
    fresh: Mutex<Option<Arc<Profile>>>,
    shared: Mutex<Vec<Weak<Profile>>>,
    learned: DashMap<(String, String), Learned>,
}

impl Profiles {
    /// What a fresh backend reported last; `None` before the first one.
    pub(crate) fn fresh(&self) -> Option<Arc<Profile>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A fresh backend reported this.
    pub(crate) fn opened(&self, reported: Settings) -> Arc<Profile> {
        let profile = self.share(Profile { reported, carried: Settings::default() });
        *self.fresh.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&profile));
        profile
    }

    /// One profile for all that are equal, so that they can be told equal at a glance.
    pub(crate) fn share(&self, profile: Profile) -> Arc<Profile> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|weak| weak.strong_count() > 0);
        if let Some(found) = shared.iter().filter_map(Weak::upgrade).find(|found| **found == profile) {
            return found;
        }
        let profile = Arc::new(profile);
        shared.push(Arc::downgrade(&profile));
        profile
    }

    /// What the server made of a setting before.
    pub(crate) fn learned(&self, name: &str, value: &str) -> Option<Learned> {
        self.learned.get(&(name.to_owned(), value.to_owned())).map(|entry| entry.clone())
    }

    /// Remembers what the server makes of a setting.
    pub(crate) fn remember(&self, name: &str, value: &str, learned: Learned) {
        if self.learned.len() >= CAPACITY {
            self.learned.clear();
        }
        self.learned.insert((name.to_owned(), value.to_owned()), learned);
    }
}
