//! Settings that clients start with: what the server makes of them, learned once per list.

use dashmap::DashMap;
use pgwarden_session::{Profile, Settings};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Lists remembered at most: names that clients give themselves (application_name) can be without end.
const CAPACITY: usize = 1_000;

/// What a session has that starts with a list of settings.
#[derive(Debug)]
struct Learned {
    /// What a fresh backend had when it was learned: where that changes, so may all that depends on it.
    fresh: Arc<Profile>,
    profile: Arc<Profile>,
}

/// What is known of the settings of one pool.
#[derive(Debug, Default)]
pub(crate) struct Profiles {
    fresh: Mutex<Option<Arc<Profile>>>,
    shared: Mutex<Vec<Weak<Profile>>>,
    /// By the whole list in its order: what a value means can depend on those before it (DateStyle).
    learned: DashMap<Box<[(String, String)]>, Learned>,
}

impl Profiles {
    /// What a fresh backend reported last; `None` before the first one.
    pub(crate) fn fresh(&self) -> Option<Arc<Profile>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A fresh backend reported this.
    pub(crate) fn opened(&self, reported: Settings) -> Arc<Profile> {
        let profile = self.share(Profile::fresh(reported));
        *self.fresh.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&profile));
        profile
    }

    /// One profile for all that are equal, so that they can be told equal at a glance.
    fn share(&self, profile: Profile) -> Arc<Profile> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|weak| weak.strong_count() > 0);
        if let Some(found) = shared.iter().filter_map(Weak::upgrade).find(|found| **found == profile) {
            return found;
        }
        let profile = Arc::new(profile);
        shared.push(Arc::downgrade(&profile));
        profile
    }

    /// What a session has that starts with these settings, if that is known.
    pub(crate) fn starting_with(&self, settings: &[(String, String)]) -> Option<Arc<Profile>> {
        let fresh = self.fresh()?;
        if settings.is_empty() {
            return Some(fresh);
        }
        let learned = self.learned.get(settings)?;
        Arc::ptr_eq(&learned.fresh, &fresh).then(|| Arc::clone(&learned.profile))
    }

    /// Remembers what was learned.
    pub(super) fn remember(
        &self,
        fresh: Arc<Profile>,
        settings: &[(String, String)],
        profile: Profile,
    ) -> Arc<Profile> {
        let profile = self.share(profile);
        if self.learned.len() >= CAPACITY {
            self.learned.clear();
        }
        self.learned.insert(settings.into(), Learned { fresh, profile: Arc::clone(&profile) });
        profile
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(name: &str, value: &str) -> Settings {
        let mut settings = Settings::default();
        settings.set(name, value);
        settings
    }

    #[test]
    fn what_was_learned_holds_for_that_list_while_fresh_backends_report_the_same() {
        let profiles = Profiles::default();
        let list = [("datestyle".to_owned(), "ISO".to_owned())];
        assert_eq!(profiles.starting_with(&[]), None);
        let fresh = profiles.opened(reported("DateStyle", "SQL, MDY"));
        assert_eq!(profiles.starting_with(&list), None);
        let learned =
            profiles.remember(Arc::clone(&fresh), &list, Profile::fresh(reported("DateStyle", "ISO, MDY")));
        profiles.opened(reported("DateStyle", "SQL, MDY"));
        assert!(Arc::ptr_eq(&profiles.starting_with(&list).expect("it is known"), &learned));
        assert!(Arc::ptr_eq(&profiles.starting_with(&[]).expect("it is known"), &fresh));
        profiles.opened(reported("DateStyle", "SQL, DMY"));
        assert_eq!(profiles.starting_with(&list), None, "ISO means another order now");
    }
}
