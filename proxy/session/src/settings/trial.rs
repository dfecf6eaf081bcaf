//! Trying the settings that a client starts with, all at once and in their order, on a backend that others used.
//!
//! What a value means can depend on what was there before (`DateStyle = ISO` keeps the order of day and month), so the
//! backend first goes back to what a fresh one has.

use crate::backend::Backend;
use crate::settings::sql::{Lists, push_set};
use crate::settings::{Profile, Settings, bring_along};
use std::sync::Arc;

impl Backend {
    /// The first setting that cannot be sent: a malformed list.
    #[must_use]
    pub fn unreadable<'a>(&self, settings: &'a [(String, String)]) -> Option<&'a (String, String)> {
        let lists = Lists::on(self.capabilities.vehicle);
        settings.iter().find(|(name, value)| !lists.take(name, value))
    }

    /// The SQL, to be sent as one simple query, that gives the backend what a session has that starts with these.
    pub fn try_settings(&mut self, fresh: &Arc<Profile>, settings: &[(String, String)]) -> String {
        let mut sql = bring_along(&self.profile, fresh);
        for (name, value) in settings {
            push_set(&mut sql, name, value, Lists::on(self.capabilities.vehicle));
        }
        // A simple query drops the unnamed statement (`exec_simple_query` in `postgres.c`).
        self.unnamed_lost();
        sql
    }

    /// What such a session has, now that the server has reported what changed.
    #[must_use]
    pub fn tried(
        &self,
        fresh: &Profile,
        settings: &[(String, String)],
        reports: &[(String, String)],
    ) -> Profile {
        let mut profile = Profile::clone(fresh);
        profile.lists = Lists::on(self.capabilities.vehicle);
        let reports = reports.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in self.profile.reported.iter().chain(reports) {
            if Settings::is_changeable(name) {
                profile.reported.set(name, value);
            }
        }
        for (name, value) in settings {
            if !profile.reported.iter().any(|(reported, _)| reported.eq_ignore_ascii_case(name)) {
                profile.carried.set(&name.to_ascii_lowercase(), value);
            }
        }
        profile
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Capabilities, Route};
    use crate::carrier::{SimpleForm, Vehicle};

    fn pairs(settings: &[(&str, &str)]) -> Vec<(String, String)> {
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn reporting(settings: &[(&str, &str)]) -> Profile {
        let mut reported = Settings::default();
        for (name, value) in settings {
            reported.set(name, value);
        }
        Profile::fresh(reported)
    }

    fn backend(vehicle: Vehicle, profile: Profile) -> Backend {
        Backend::new(
            Capabilities { vehicle, form: SimpleForm::Text, route: Route::Direct },
            Arc::new(profile),
            1,
        )
    }

    #[test]
    fn a_trial_starts_from_what_a_fresh_backend_has_and_keeps_the_order() {
        let fresh = Arc::new(reporting(&[("DateStyle", "ISO, MDY")]));
        let mut used = reporting(&[("DateStyle", "German, DMY")]);
        used.carried.set("geqo", "off");
        let sql = backend(Vehicle::Prepared, used)
            .try_settings(&fresh, &pairs(&[("datestyle", "SQL"), ("DateStyle", "DMY")]));
        assert_eq!(
            sql,
            "RESET \"geqo\";SET \"DateStyle\" = E'ISO, MDY';SET \"datestyle\" = E'SQL';SET \"DateStyle\" = E'DMY';"
        );
    }

    #[test]
    fn what_is_not_reported_is_carried_under_one_name_with_the_last_value() {
        let fresh = reporting(&[("TimeZone", "UTC"), ("server_version", "15")]);
        let backend = backend(Vehicle::Prepared, reporting(&[("TimeZone", "UTC"), ("server_version", "14")]));
        let settings = pairs(&[("WORK_MEM", "1MB"), ("timezone", "europe/rome"), ("work_mem", "2MB")]);
        let found = backend.tried(&fresh, &settings, &pairs(&[("TimeZone", "Europe/Rome")]));
        assert_eq!(
            found.reported,
            reporting(&[("TimeZone", "Europe/Rome"), ("server_version", "15")]).reported
        );
        assert_eq!(found.carried.iter().collect::<Vec<_>>(), [("work_mem", "2MB")]);
    }

    #[test]
    fn a_malformed_list_is_found_where_the_server_would_not_see_it() {
        let settings = pairs(&[("geqo", "a,,b"), ("Search_Path", "a,,b")]);
        let found = |vehicle| backend(vehicle, Profile::default()).unreadable(&settings).cloned();
        assert_eq!(found(Vehicle::Commands).as_ref(), settings.last());
        assert_eq!(found(Vehicle::Prepared), None, "the server reads it itself");
    }
}
