//! The SQL that sets and resets settings, in any encoding and whatever the session's own settings are.

use crate::carrier::Vehicle;
use crate::settings::list;

/// How lists of names are set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Lists {
    /// Name by name with SET, which writes the list anew: `a,B` is shown as `a, b`.
    #[default]
    ByName,
    /// Word for word with set_config.
    Verbatim,
}

impl Lists {
    /// A hardened server revokes set_config.
    pub(super) fn on(vehicle: Vehicle) -> Self {
        match vehicle {
            Vehicle::Prepared | Vehicle::InBatch => Self::Verbatim,
            Vehicle::Commands => Self::ByName,
        }
    }

    /// Whether the value can be set this way.
    pub(super) fn take(self, name: &str, value: &str) -> bool {
        self == Self::Verbatim || !list::is_list(name) || list::names(value).is_some()
    }
}

/// SET, except for lists of names that are to stay as they are written.
pub(super) fn push_set(sql: &mut String, name: &str, value: &str, lists: Lists) {
    if list::is_list(name) && lists == Lists::Verbatim {
        sql.push_str("SELECT pg_catalog.set_config(");
        push_literal(sql, name);
        sql.push_str(", ");
        push_literal(sql, value);
        sql.push_str(", false);");
        return;
    }
    sql.push_str("SET ");
    push_name(sql, name);
    sql.push_str(" = ");
    if list::is_list(name) {
        push_names(sql, &list::names(value).unwrap_or_default());
    } else {
        push_literal(sql, value);
    }
    sql.push(';');
}

/// RESET.
pub(super) fn push_reset(sql: &mut String, name: &str) {
    sql.push_str("RESET ");
    push_name(sql, name);
    sql.push(';');
}

/// Every name a literal of its own (`SET search_path = 'a', 'b'`); an empty list is an empty name.
fn push_names(sql: &mut String, names: &[String]) {
    push_literal(sql, names.first().map_or("", String::as_str));
    for name in names.iter().skip(1) {
        sql.push_str(", ");
        push_literal(sql, name);
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

/// A literal that reads the same whatever `standard_conforming_strings` says, and whatever `client_encoding` an
/// earlier client left: bytes that are not ASCII are escaped, which takes them as they are, like a startup packet.
pub(crate) fn push_literal(sql: &mut String, value: &str) {
    sql.push_str("E'");
    for character in value.chars() {
        match character {
            '\'' => sql.push_str("''"),
            '\\' => sql.push_str("\\\\"),
            _ if character.is_ascii() => sql.push(character),
            _ => push_bytes(sql, character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    sql.push('\'');
}

fn push_bytes(sql: &mut String, bytes: &[u8]) {
    for byte in bytes {
        sql.push_str("\\x");
        sql.extend([byte >> 4, byte & 15].iter().filter_map(|digit| char::from_digit((*digit).into(), 16)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str, lists: Lists) -> String {
        let mut sql = String::new();
        push_set(&mut sql, name, value, lists);
        sql
    }

    #[test]
    fn a_list_is_set_word_for_word_or_name_by_name() {
        assert_eq!(
            set("Search_Path", "Shop,\"a,b\"", Lists::Verbatim),
            "SELECT pg_catalog.set_config(E'Search_Path', E'Shop,\"a,b\"', false);"
        );
        assert_eq!(
            set("Search_Path", "Shop,\"a,b\"", Lists::ByName),
            "SET \"Search_Path\" = E'shop', E'a,b';"
        );
        assert_eq!(set("search_path", "", Lists::ByName), "SET \"search_path\" = E'';");
        assert!(!Lists::ByName.take("search_path", "a,,b"));
    }

    #[test]
    fn other_settings_are_one_literal_of_ascii() {
        assert_eq!(set("DateStyle", "SQL, DMY", Lists::Verbatim), "SET \"DateStyle\" = E'SQL, DMY';");
        assert_eq!(
            set("app.na\"me", "it's \\ €", Lists::ByName),
            "SET \"app\".\"na\"\"me\" = E'it''s \\\\ \\xe2\\x82\\xac';"
        );
    }
}
