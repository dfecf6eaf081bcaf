//! What was found, as a table, JSON or SQL.

use serde::Serialize;
use std::fmt::Write as _;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// A client can read what is another tenant's, or nearly.
    Serious,
    /// It helps somebody who tries.
    Warning,
    /// It is seen to already.
    Note,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Serious => "serious",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something that was found.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// What kind of object it is about.
    pub(super) kind: &'static str,
    /// The object's name in SQL.
    pub(super) object: String,
    /// What is wrong with it.
    pub(super) message: String,
    /// What mends it, without a semicolon.
    pub(super) sql: Option<String>,
}

/// A line a finding, the gravest first.
pub(super) fn table(findings: &[Finding]) -> String {
    let widest = |text: fn(&Finding) -> usize| findings.iter().map(text).max().unwrap_or(0);
    let kind = widest(|finding| finding.kind.len());
    let object = widest(|finding| finding.object.chars().count());
    let mut page = String::new();
    for Finding { severity, kind: what, object: name, message, .. } in findings {
        let _ = writeln!(page, "{:<7}  {what:<kind$}  {name:<object$}  {message}", severity.word());
    }
    let serious = findings.iter().filter(|finding| finding.severity == Severity::Serious).count();
    let _ = writeln!(page, "{} found, {serious} serious; --sql prints what mends it", findings.len());
    page
}

/// An array of objects.
pub(super) fn json(findings: &[Finding]) -> String {
    let page = serde_json::to_string_pretty(findings).unwrap_or_default();
    format!("{page}\n")
}

/// The SQL that mends what SQL can mend.
pub(super) fn hardening(findings: &[Finding]) -> String {
    let mut page = String::from(
        "-- Run this as the owner of each object, or as a superuser, as far as your applications allow it.\n",
    );
    let mut before: Vec<&str> = Vec::new();
    for finding in findings {
        let Some(sql) = finding.sql.as_deref().filter(|sql| !before.contains(sql)) else { continue };
        before.push(sql);
        let _ = writeln!(page, "-- {}: {}\n{sql};", finding.object, finding.message);
    }
    page
}
