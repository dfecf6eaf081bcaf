//! The findings as CSV (RFC 4180), for spreadsheets.

use pgwarden_shadow::verdict::{Issue, Report, Tally};

const COLUMNS: [&str; 21] = [
    "finding",
    "standing",
    "severity",
    "kind",
    "database",
    "table",
    "command",
    "policy",
    "count",
    "first",
    "last",
    "rolled_back",
    "refused",
    "would_refuse",
    "would_hide",
    "tenants",
    "foreign_tenants",
    "applications",
    "origins",
    "fingerprint",
    "statement",
];

/// A line a finding, below one with the names of the columns.
pub(super) fn render(report: &Report) -> String {
    let mut page = line(&COLUMNS.map(str::to_owned));
    for issue in &report.findings {
        page.push_str(&line(&cells(issue)));
    }
    page
}

fn cells(issue: &Issue) -> [String; 21] {
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    let names =
        |tally: &Tally| tally.ranked().into_iter().map(|(name, _)| name).collect::<Vec<_>>().join("; ");
    let foreign = issue.foreign_tenants.iter().map(String::as_str).collect::<Vec<_>>().join("; ");
    let word = |value: serde_json::Result<serde_json::Value>| {
        value.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    [
        issue.id.clone(),
        issue.standing.label().to_owned(),
        word(serde_json::to_value(issue.severity)),
        issue.key.kind.label().to_owned(),
        issue.key.database.clone(),
        optional(&issue.key.table),
        word(serde_json::to_value(issue.key.command)),
        optional(&issue.key.policy),
        issue.count.to_string(),
        issue.first.to_string(),
        issue.last.to_string(),
        issue.rolled_back.to_string(),
        issue.refused.to_string(),
        issue.would_refuse.to_string(),
        issue.would_hide.to_string(),
        names(&issue.tenants),
        foreign,
        names(&issue.applications),
        names(&issue.origins),
        optional(&issue.key.fingerprint),
        optional(&issue.text),
    ]
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
    format!("{}\r\n", cells.join(","))
}

/// A cell. What a spreadsheet would take for a formula becomes a text.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let cell = if formula { format!("'{cell}") } else { cell.to_owned() };
    match cell.contains([',', '"', '\r', '\n', ';']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_read_as_it_was_meant_and_never_run() {
        for (cell, expected) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
            ("@SUM(1,2)", "\"'@SUM(1,2)\""),
        ] {
            assert_eq!(quoted(cell), expected, "{cell}");
        }
    }
}
