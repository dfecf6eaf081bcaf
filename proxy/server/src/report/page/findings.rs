//! The findings, each to unfold, with filters.

use super::words::{number, severity, severity_word, spoken, standing, time};
use maud::{Markup, html};
use pgwarden_shadow::Severity;
use pgwarden_shadow::verdict::{Disposition, Issue, Report, Standing, Tally};
use std::collections::BTreeSet;

/// Findings that are shown; the JSON form has all of them.
const MOST: usize = 1_000;
/// Names that are shown of a kind.
const MOST_NAMES: usize = 8;

pub(super) fn section(report: &Report) -> Markup {
    let shown = report.findings.get(..MOST).unwrap_or(&report.findings);
    html! {
        section id="findings" aria-labelledby="findings-title" {
            h2 id="findings-title" { "Findings" }
            p.note { "What would be different with the policies in force. Each stands for all statements of the same text, table, command, kind and policy." }
            @if shown.is_empty() {
                p.empty { "Nothing was found." }
            } @else {
                (filters(shown))
                ol.findings { @for issue in shown { (item(issue)) } }
                p.empty id="filter-nothing" hidden { "No finding is like that." }
                @if report.findings.len() > shown.len() {
                    p.note { (report.findings.len() - shown.len()) " more findings are in the JSON form." }
                }
            }
        }
    }
}

fn filters(findings: &[Issue]) -> Markup {
    let tables: BTreeSet<&str> = findings.iter().map(table_of).collect();
    let kinds: BTreeSet<&str> = findings.iter().map(|issue| issue.key.kind.label()).collect();
    let severities: BTreeSet<&str> = findings.iter().map(|issue| severity_word(issue.severity)).collect();
    let standings: BTreeSet<&str> = findings.iter().map(|issue| issue.standing.label()).collect();
    html! {
        form.filters id="filter" role="search" aria-label="Filter the findings" hidden {
            (choice("table", "Table", tables))
            (choice("kind", "Kind", kinds))
            (choice("severity", "Weight", severities))
            (choice("standing", "Standing", standings))
            label.wide { "Words in statement, application, origin or tenant"
                input id="filter-words" type="search" name="words" autocomplete="off";
            }
            button type="reset" { "Show all" }
            output for="filter-words" aria-live="polite" {}
        }
    }
}

pub(super) fn choice(name: &str, label: &str, values: BTreeSet<&str>) -> Markup {
    html! {
        label { (label)
            select id={ "filter-" (name) } name=(name) {
                option value="" { "all" }
                @for value in values { option value=(value.to_lowercase()) { (value) } }
            }
        }
    }
}

fn table_of(issue: &Issue) -> &str {
    issue.key.table.as_deref().unwrap_or("no table")
}

fn item(issue: &Issue) -> Markup {
    let closed = if issue.standing.is_open() { "" } else { " closed" };
    html! {
        li id={ "finding-" (issue.id) } class={ (severity_word(issue.severity)) (closed) } data-of="filter"
            data-table=(table_of(issue).to_lowercase()) data-kind=(issue.key.kind.label())
            data-severity=(severity_word(issue.severity)) data-standing=(issue.standing.label())
            data-text=(searched(issue)) {
            details {
                summary {
                    (severity(issue.severity))
                    h3 { (spoken(issue.key.kind)) " · " (table_of(issue))
                        @if let Some(command) = issue.key.command { " · " (spoken(command)) }
                    }
                    @if !matches!(issue.standing, Standing::Open) { (standing(&issue.standing)) }
                    span.count { (number(issue.count)) " ×, last " (time(issue.last)) }
                }
                div.body { (body(issue)) }
            }
        }
    }
}

fn body(issue: &Issue) -> Markup {
    html! {
        p { (meaning(issue)) }
        (said(&issue.standing))
        @if let Some(text) = &issue.text { pre { code { (text) } } }
        dl.facts {
            dt { "Finding" } dd { code { (issue.id) } " in " (issue.key.database)
                @if let Some(fingerprint) = &issue.key.fingerprint { ", statement " code { (fingerprint) } }
            }
            dt { "Met" } dd { (number(issue.count)) " times, from " (time(issue.first)) " to " (time(issue.last)) (shares(issue)) }
            @if let Some(policy) = &issue.key.policy { dt { "Policy" } dd { code { (policy) } } }
            (names("Applications", &issue.applications))
            (names("Origin in the application", &issue.origins))
            (names("Users", &issue.users))
            (names("Services", &issue.services))
            (names("Acting for tenants", &issue.tenants))
            @if issue.without_context > 0 { dt { "Without a context" } dd { (number(issue.without_context)) " times" } }
            @if !issue.foreign_tenants.is_empty() {
                dt { "Rows of tenants" } dd { (issue.foreign_tenants.iter().map(String::as_str).collect::<Vec<_>>().join(", ")) }
            }
            @if issue.foreign_rows > 0 { dt { "Foreign rows" } dd { (number(issue.foreign_rows)) } }
            @if !issue.traces.is_empty() { dt { "Last traces" } dd { @for trace in &issue.traces { code { (trace) } " " } } }
            dt { "Found by" } dd { (issue.detectors.iter().map(spoken).collect::<Vec<_>>().join(", ")) }
            (names("Evidence", &issue.evidence))
            @if issue.standing.is_open() && issue.severity != Severity::Info {
                dt { "When it is mended" } dd { code { "pgwarden resolve " (issue.id) " --reason … --owner …" } }
                dt { "To leave it as it is" } dd { code { "pgwarden ignore " (issue.id) " --reason … --owner … --until 30d" } }
            }
        }
    }
}

/// What would have become of the statements.
fn meaning(issue: &Issue) -> Markup {
    let hidden =
        (issue.would_hide > 0).then(|| format!("{} rows would have been hidden", number(issue.would_hide)));
    let refused = (issue.would_refuse > 0)
        .then(|| format!("{} statements would have been refused", number(issue.would_refuse)));
    let parts: Vec<String> = [hidden, refused].into_iter().flatten().collect();
    html! {
        (explained(issue)) " "
        @if !parts.is_empty() { "With the policies in force, " (parts.join(", and ")) "." }
    }
}

fn explained(issue: &Issue) -> &'static str {
    use pgwarden_shadow::Kind;
    match issue.key.kind {
        Kind::ContextMissing => "The client had no context: it would see nothing, and could write nothing.",
        Kind::ContextDisagrees => "The application named another tenant or user than its token.",
        Kind::ContextInvalid => "What the client showed of its tenant stands for nothing, or has expired.",
        Kind::SettingTouched => "The statement touches a setting that decides about the tenant.",
        Kind::RoleTouched => "The statement changes the role, or row security.",
        Kind::RowsForeign => "Rows of another tenant were on their way to the client.",
        Kind::ResultDiffers => "Run again with the policies, the query returned something else.",
        Kind::ResultUnstable => "The result depends on the plan, and may be another one with the policies.",
        Kind::Slower => "With the policies, the query was much slower.",
        Kind::WriteRefused => "The policies would refuse the write.",
        Kind::WriteHidden => {
            "The policies would hide the rows from the write: it would change nothing there."
        }
        Kind::WriteCascade => "A foreign key reaches rows of another tenant; policies never stop that.",
        Kind::Truncate => "TRUNCATE asks no policy.",
        Kind::CopyFrom => "COPY FROM fails with row level security, except for the table's owner.",
        Kind::Denied => "A policy that is in force has refused the statement.",
        Kind::PolicyError => "A policy could not be evaluated.",
        Kind::ReplayError => "The query could not be run again.",
        Kind::ServiceUsed => "A service has worked past all policies.",
    }
}

fn shares(issue: &Issue) -> Markup {
    html! {
        @for (count, what) in [
            (issue.rolled_back, "in transactions that were rolled back"),
            (issue.refused, "refused"),
            (issue.secondary, "following from another finding"),
        ] {
            @if count > 0 { "; " (number(count)) " " (what) }
        }
    }
}

/// What somebody has said about it.
fn said(standing: &Standing) -> Markup {
    let by = |said: &Disposition| html! { (said.owner) " answers for it (" (said.by) ", " (time(said.at)) "): " (said.reason) };
    html! {
        @match standing {
            Standing::Open => {},
            Standing::Reopened(said) => { p.bad-ink { "Met again after it was resolved. " (by(said)) } },
            Standing::Resolved(said) => { p { "Resolved, and not met since. " (by(said)) } },
            Standing::Ignored(said) => { p { "Ignored"
                @if let Some(until) = said.until { " until " (time(until)) }
                ". " (by(said)) } },
            Standing::Outdated { since } => { p { "Not met since the policies were staged as they are, " (time(*since)) "." } },
            Standing::Secondary => { p { "Follows from another finding of the same statements." } },
        }
    }
}

fn names(label: &str, tally: &Tally) -> Markup {
    let ranked = tally.ranked();
    let more = ranked.len().saturating_sub(MOST_NAMES);
    html! {
        @if !tally.is_empty() {
            dt { (label) }
            dd { ul.plain {
                @for (name, count) in ranked.iter().take(MOST_NAMES) { li { (name) " " span.soft { (number(*count)) " ×" } } }
                @if more > 0 || tally.others > 0 { li.soft { "and others" } }
            } }
        }
    }
}

/// All that words are looked for in.
fn searched(issue: &Issue) -> String {
    let tallies =
        [&issue.applications, &issue.origins, &issue.users, &issue.services, &issue.tenants, &issue.evidence];
    let names = tallies.into_iter().flat_map(|tally| tally.counts.keys().map(String::as_str));
    let own =
        [issue.id.as_str(), issue.text.as_deref().unwrap_or(""), issue.key.kind.label(), table_of(issue)];
    let foreign = issue.foreign_tenants.iter().map(String::as_str);
    own.into_iter().chain(names).chain(foreign).collect::<Vec<_>>().join("\n").to_lowercase()
}
