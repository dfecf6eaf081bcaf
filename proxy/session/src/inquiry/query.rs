//! The question as SQL, with nothing in it that a search_path or an operator of the application's could change.

use crate::inquiry::{Course, Inquiry};
use crate::pins::Pin;
use crate::settings::push_literal;

/// Whether the cause of a pin is there, as an expression; `None` where the server cannot tell.
pub(super) fn cause(pin: Pin) -> Option<&'static str> {
    Some(match pin {
        Pin::Listen => "EXISTS (SELECT FROM pg_catalog.pg_listening_channels())",
        // Everything in a schema depends on it: tables, and also types, functions, views, sequences.
        Pin::TemporaryTable => {
            "EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) \
             'pg_catalog.pg_namespace'::pg_catalog.regclass AND refobjid OPERATOR(pg_catalog.=) \
             pg_catalog.pg_my_temp_schema())"
        }
        Pin::AdvisoryLock => {
            "EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
             AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())"
        }
        Pin::HoldCursor => "EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)",
        Pin::Prepare => "EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql)",
        // The activity of a backend is that of the role that logged in, whatever its authorization is now.
        Pin::Role => {
            "pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) 'none' OR NOT EXISTS (SELECT FROM \
             pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a, pg_catalog.pg_roles r \
             WHERE r.oid OPERATOR(pg_catalog.=) a.usesysid AND r.rolname OPERATOR(pg_catalog.=) session_user)"
        }
        Pin::Setting | Pin::Load | Pin::Seed => return None,
    })
}

impl Inquiry {
    /// One row: a boolean per pin, a text per setting.
    pub(super) fn query(&self) -> String {
        let mut sql = String::from("SELECT ");
        for (index, pin) in self.pins.iter().enumerate() {
            sql.push_str(if index > 0 { ", " } else { "" });
            sql.push_str(cause(*pin).unwrap_or("true"));
        }
        for (index, (name, _)) in self.settings.iter().enumerate() {
            sql.push_str(if index + self.pins.len() > 0 { ", " } else { "" });
            match self.course {
                Course::Smooth => push_value(&mut sql, name),
                Course::Errors => push_value_if_set(&mut sql, name),
            }
        }
        sql
    }
}

/// The value of a setting; NULL where there is none.
fn push_value(sql: &mut String, name: &str) {
    sql.push_str("pg_catalog.current_setting(");
    push_literal(sql, name);
    sql.push_str(", true)");
}

/// The same, but NULL also where nobody has set it in this session. pg_settings does not have names with a dot that no
/// library has defined, which everybody may set, nor settings that only others may read.
fn push_value_if_set(sql: &mut String, name: &str) {
    let (unless, operator) = if name.contains('.') { ("NOT ", "<>") } else { ("", "=") };
    sql.push_str("CASE WHEN ");
    sql.push_str(unless);
    sql.push_str(
        "EXISTS (SELECT FROM pg_catalog.pg_settings s WHERE \
         pg_catalog.lower(s.name COLLATE pg_catalog.\"C\") OPERATOR(pg_catalog.=) ",
    );
    push_literal(sql, name);
    sql.push_str(" AND s.source OPERATOR(pg_catalog.");
    sql.push_str(operator);
    sql.push_str(") 'session') THEN ");
    push_value(sql, name);
    sql.push_str(" END");
}
