//! The settings of a session that a shared backend has to be brought to before it serves the session.

mod list;
mod sql;
mod trial;

use crate::carrier::Vehicle;
use crate::reading::Reading;
use sql::Lists;
pub(crate) use sql::push_literal;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Settings that PostgreSQL reports but that no client can change, or that describe the server
/// (`guc_tables.c`, GUC_REPORT).
const FIXED: [&str; 6] = [
    "server_version",
    "server_encoding",
    "integer_datetimes",
    "is_superuser",
    "session_authorization",
    "in_hot_standby",
];

/// Values by name: what PostgreSQL reports (ParameterStatus) and what the client started with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<Box<str>, Box<str>>,
    /// What follows from the values for every text that is read.
    reading: Reading,
}

impl Settings {
    /// The value of a setting, by the name PostgreSQL reports it under.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(AsRef::as_ref)
    }

    /// Sets a value; returns whether that changed anything.
    pub fn set(&mut self, name: &str, value: &str) -> bool {
        if self.value(name) == Some(value) {
            return false;
        }
        self.values.insert(name.into(), value.into());
        self.reading = Reading::under(self);
        true
    }

    /// Sets a value, or forgets the setting where there is none.
    pub(crate) fn put(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => _ = self.set(name, value),
            None => {
                self.values.remove(name);
                self.reading = Reading::under(self);
            }
        }
    }

    /// How texts read under these settings.
    pub(crate) fn reading(&self) -> Reading {
        self.reading
    }

    /// All names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// Whether a client can change the setting.
    #[must_use]
    pub fn is_changeable(name: &str) -> bool {
        !FIXED.contains(&name)
    }
}

/// Everything a session brings along: reported settings, and those it named at start-up that are not reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// What PostgreSQL reports.
    pub reported: Settings,
    /// What it does not report: names in lower case, as their case means nothing (`guc_name_compare` in `guc.c`);
    /// values as the client gave them.
    pub carried: Settings,
    lists: Lists,
}

impl Profile {
    /// What a backend has that was just opened.
    #[must_use]
    pub fn fresh(reported: Settings) -> Self {
        Self { reported, ..Self::default() }
    }

    /// Lists of names are set as they can be set on such a server.
    pub(crate) fn reads_lists_on(&mut self, vehicle: Vehicle) {
        self.lists = Lists::on(vehicle);
    }

    /// What a backend can be brought to.
    fn changeable(&self) -> impl Iterator<Item = (&str, &str)> {
        let reported = self.reported.iter().filter(|(name, _)| Settings::is_changeable(name));
        reported.chain(self.carried.iter())
    }

    /// A setting that one version reports is carried on another (`search_path` before PostgreSQL 18).
    fn value(&self, name: &str) -> Option<&str> {
        self.reported.value(name).or_else(|| self.carried.value(name))
    }
}

/// The SQL that brings a backend from one profile to another; empty when nothing differs.
#[must_use]
pub fn bring_along(from: &Arc<Profile>, to: &Arc<Profile>) -> String {
    let mut sql = String::new();
    if Arc::ptr_eq(from, to) {
        return sql;
    }
    for (name, _) in from.changeable().filter(|(name, _)| to.value(name).is_none()) {
        sql::push_reset(&mut sql, name);
    }
    for (name, value) in to.changeable().filter(|(name, value)| from.value(name) != Some(*value)) {
        sql::push_set(&mut sql, name, value, to.lists);
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(reported: &[(&str, &str)], carried: &[(&str, &str)]) -> Arc<Profile> {
        let mut profile = Profile::default();
        for (name, value) in reported {
            profile.reported.set(name, value);
        }
        for (name, value) in carried {
            profile.carried.set(name, value);
        }
        Arc::new(profile)
    }

    #[test]
    fn only_what_differs_and_can_be_changed_is_set() {
        let from = profile(&[("TimeZone", "UTC"), ("server_version", "15"), ("DateStyle", "ISO, MDY")], &[]);
        let to =
            profile(&[("TimeZone", "Europe/Rome"), ("server_version", "16"), ("DateStyle", "ISO, MDY")], &[]);
        assert_eq!(bring_along(&from, &to), "SET \"TimeZone\" = E'Europe/Rome';");
    }

    #[test]
    fn carried_settings_are_set_and_reset_by_value() {
        let from = profile(&[], &[("extra_float_digits", "2"), ("lock_timeout", "5s")]);
        let to = profile(&[], &[("extra_float_digits", "3"), ("search_path", "\"$user\", pub'lic")]);
        assert_eq!(
            bring_along(&from, &to),
            "RESET \"lock_timeout\";SET \"extra_float_digits\" = E'3';SET \"search_path\" = E'$user', E'pub''lic';"
        );
    }

    #[test]
    fn what_one_server_reports_and_another_does_not_is_one_setting() {
        let (old, new) = (profile(&[], &[("search_path", "a")]), profile(&[("search_path", "b")], &[]));
        assert_eq!(bring_along(&old, &new), "SET \"search_path\" = E'b';");
        assert_eq!(bring_along(&new, &old), "SET \"search_path\" = E'a';");
        assert_eq!(bring_along(&new, &profile(&[], &[])), "RESET \"search_path\";");
    }
}
