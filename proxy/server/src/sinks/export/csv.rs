//! Records as CSV (RFC 4180).
//!
//! What a client says (its name, its statements) may be meant for the program that opens the file: a field that a
//! spreadsheet would take for a formula has an apostrophe in front.

use crate::sinks::entry::Entry;

/// The columns, and where they stand in a record.
const COLUMNS: [(&str, &str); 37] = [
    ("time", "/time"),
    ("seq", "/seq"),
    ("id", "/id"),
    ("kind", "/kind"),
    ("severity", "/severity"),
    ("mode", "/mode"),
    ("decision", "/decision"),
    ("would_have", "/would_have"),
    ("rule", "/rule"),
    ("outcome", "/outcome"),
    ("finding", "/finding"),
    ("count", "/count"),
    ("first_seen", "/seen/first"),
    ("last_seen", "/seen/last"),
    ("tenant", "/tenant/id"),
    ("tenant_source", "/tenant/source"),
    ("user", "/actor/user"),
    ("service", "/actor/service"),
    ("application_name", "/actor/application_name"),
    ("client_addr", "/actor/client_addr"),
    ("trace_id", "/actor/trace_id"),
    ("database", "/backend/database"),
    ("role", "/backend/role"),
    ("schema", "/target/schema"),
    ("table", "/target/table"),
    ("column", "/target/column"),
    ("policy", "/target/policy"),
    ("command", "/command"),
    ("rows_returned", "/rows/returned"),
    ("rows_foreign", "/rows/foreign"),
    ("foreign_tenants", "/foreign_tenants"),
    ("fingerprint", "/query/fingerprint"),
    ("query", "/query/text"),
    ("route", "/origin/route"),
    ("file", "/origin/file"),
    ("instance", "/proxy/instance"),
    ("hash", "/hash"),
];

/// The names of the columns, as a line.
pub(super) fn header() -> String {
    format!("{}\r\n", COLUMNS.map(|(name, _)| name).join(","))
}

/// A record as a line.
pub(super) fn row(entry: &Entry) -> String {
    let fields = COLUMNS.map(|(_, place)| field(&entry.shown_at(place)));
    format!("{}\r\n", fields.join(","))
}

fn field(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let needs_quotes = is_formula || text.contains(['"', ',', '\r', '\n']);
    if !needs_quotes {
        return text.to_owned();
    }
    format!("\"{}{}\"", if is_formula { "'" } else { "" }, text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_quoted_where_it_must_be_and_is_never_a_formula() {
        for (text, expected) in [
            ("", ""),
            ("plain text", "plain text"),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("@SUM(1)", "\"'@SUM(1)\""),
            ("-1+1", "\"'-1+1\""),
            ("+1", "\"'+1\""),
            ("\t=1", "\"'\t=1\""),
        ] {
            assert_eq!(field(text), expected);
        }
    }

    #[test]
    fn a_row_has_a_field_for_each_column() {
        let entry =
            Entry::read(br#"{"seq":7,"would_have":{"filtered":3},"foreign_tenants":["a"]}"#).expect("one");
        assert_eq!(row(&entry).matches(',').count(), COLUMNS.len() - 1);
        assert!(row(&entry).contains("\"{\"\"filtered\"\":3}\"") && row(&entry).starts_with(",7,"));
        assert_eq!(header().matches(',').count(), COLUMNS.len() - 1);
    }
}
