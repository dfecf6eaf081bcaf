//! The settings of a session that a shared backend has to be brought to before it serves the session.

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
        true
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
    /// What it does not report; by value, as the client gave it.
    pub carried: Settings,
}

/// The SQL that brings a backend from one profile to another; empty when nothing differs.
#[must_use]
pub fn bring_along(from: &Arc<Profile>, to: &Arc<Profile>) -> String {
    let mut sql = String::new();
    if Arc::ptr_eq(from, to) {
        return sql;
    }
    for (name, value) in to.reported.iter().filter(|(name, _)| Settings::is_changeable(name)) {
        if from.reported.value(name) != Some(value) {
            push_set(&mut sql, name, value);
        }
    }
    for (name, value) in to.carried.iter() {
        if from.carried.value(name) != Some(value) {
            push_set(&mut sql, name, value);
        }
    }
    for (name, _) in from.carried.iter().filter(|(name, _)| to.carried.value(name).is_none()) {
        sql.push_str("RESET ");
        push_name(&mut sql, name);
        sql.push(';');
    }
    sql
}

/// `SELECT set_config` would need a privilege that a hardened server revokes; SET takes lists only unquoted.
fn push_set(sql: &mut String, name: &str, value: &str) {
    sql.push_str("SET ");
    push_name(sql, name);
    sql.push_str(" = ");
    if name == "search_path" || name == "DateStyle" {
        push_list(sql, value);
    } else {
        push_literal(sql, value);
    }
    sql.push(';');
}

/// A list setting: every element a literal of its own (`SET search_path = 'a', 'b'`).
fn push_list(sql: &mut String, value: &str) {
    for (index, element) in value.split(',').enumerate() {
        if index > 0 {
            sql.push_str(", ");
        }
        let element = element.trim();
        let bare = element.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        push_literal(sql, &bare.map_or_else(|| element.to_owned(), |quoted| quoted.replace("\"\"", "\"")));
    }
}

/// A setting's name, every part a quoted identifier.
fn push_name(sql: &mut String, name: &str) {
    for (index, part) in name.split('.').enumerate() {
        if index > 0 {
            sql.push('.');
        }
        sql.push('"');
        sql.push_str(&part.replace('"', "\"\""));
        sql.push('"');
    }
}

/// A literal that reads the same whatever `standard_conforming_strings` says.
fn push_literal(sql: &mut String, value: &str) {
    sql.push_str("E'");
    for character in value.chars() {
        match character {
            '\'' => sql.push_str("''"),
            '\\' => sql.push_str("\\\\"),
            _ => sql.push(character),
        }
    }
    sql.push('\'');
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
            "SET \"extra_float_digits\" = E'3';SET \"search_path\" = E'$user', E'pub''lic';RESET \"lock_timeout\";"
        );
    }
}
