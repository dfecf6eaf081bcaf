//! The report for a terminal.

use crate::report::alike::{Alike, MOST_ALIKE, is_aside};
use crate::status::command::table::{Side, Table};
use pgwarden_shadow::verdict::{Cause, Chain, Issue, Judgement, Report, percent, span};
use std::fmt::Write as _;
use std::time::Duration;

/// Findings that are listed.
const MOST: usize = 50;
/// Statements without enough coverage that are listed.
const MOST_STATEMENTS: usize = 20;

/// Everything, the verdicts first.
pub(super) fn render(report: &Report) -> String {
    let mut page = format!("Tenant isolation as of {}\n", minute(&report.generated.to_string()));
    tables(report, &mut page);
    findings(report, &mut page);
    statements(report, &mut page);
    trails(report, &mut page);
    for caveat in &report.caveats {
        let _ = writeln!(page, "Not asked: {caveat}");
    }
    page
}

/// The verdicts; what many tables have in common is said once.
fn tables(report: &Report, page: &mut String) {
    let (quiet, others): (Vec<&Judgement>, Vec<&Judgement>) =
        report.tables.iter().partition(|one| is_quiet(one));
    let (quiet, others) = match quiet.len() > MOST_ALIKE {
        true => (quiet, others),
        false => (Vec::new(), report.tables.iter().collect()),
    };
    let notes = Alike::of(&report.tables);
    if !others.is_empty() || quiet.is_empty() {
        listed(&others, &notes, page);
    }
    if !quiet.is_empty() {
        let names: Vec<String> = quiet.iter().map(|one| harmless(&one.table)).collect();
        let _ = writeln!(page, "\nOf {} tables no statement was seen: {}", names.len(), names.join(", "));
    }
    for line in notes.lines() {
        let _ = writeln!(page, "{}", harmless(&line));
    }
}

/// Nothing was seen of a table, and nothing stands against it by itself.
fn is_quiet(one: &Judgement) -> bool {
    let is_of_that =
        |code| matches!(code, Cause::NothingSeen | Cause::TooShort | Cause::Dependency) || is_aside(code);
    let seen_nothing = one.reasons.iter().any(|reason| reason.code == Cause::NothingSeen);
    seen_nothing && one.reasons.iter().all(|reason| is_of_that(reason.code))
}

/// A line a table, and why below.
pub(super) fn verdicts(tables: &[Judgement], page: &mut String) {
    listed(&tables.iter().collect::<Vec<_>>(), &Alike::default(), page);
}

fn listed(tables: &[&Judgement], elsewhere: &Alike<'_>, page: &mut String) {
    if tables.is_empty() {
        page.push_str("\nNo table is staged, and no finding names one.\n");
        return;
    }
    let mut table = Table::new(&[
        ("VERDICT", Side::Left),
        ("TABLE", Side::Left),
        ("DATABASE", Side::Left),
        ("STAGE", Side::Left),
        ("WATCHED", Side::Left),
        ("STATEMENTS", Side::Right),
        ("COMPARED", Side::Right),
        ("DIFFER AT MOST", Side::Right),
    ]);
    for one in tables {
        table.row(cells(one));
    }
    let mut lines = table.lines().into_iter();
    let _ = writeln!(page, "\n{}", lines.next().unwrap_or_default());
    for (line, one) in lines.zip(tables) {
        let _ = writeln!(page, "{line}");
        for reason in one.reasons.iter().filter(|reason| elsewhere.leaves(reason)) {
            let _ = writeln!(page, "    {}", harmless(&reason.text));
        }
    }
}

fn cells(one: &Judgement) -> [String; 8] {
    [
        one.verdict.label().to_owned(),
        one.table.clone(),
        one.database.clone(),
        one.stage.label().to_owned(),
        span(Duration::from_secs(one.observed_seconds)),
        format!("{} of {}", one.evaluated, one.statements),
        format!("{} of {}", one.compared, one.executions),
        one.bound.map_or_else(|| "-".to_owned(), |bound| percent(bound.min(1_000_000))),
    ]
}

fn findings(report: &Report, page: &mut String) {
    if report.findings.is_empty() {
        page.push_str("\nNothing was found.\n");
        return;
    }
    let mut table = Table::new(&[
        ("FINDING", Side::Left),
        ("STANDING", Side::Left),
        ("KIND", Side::Left),
        ("TABLE", Side::Left),
        ("COMMAND", Side::Left),
        ("COUNT", Side::Right),
        ("LAST", Side::Left),
    ]);
    let shown = report.findings.get(..MOST).unwrap_or(&report.findings);
    for issue in shown {
        table.row([
            issue.id.clone(),
            issue.standing.label().to_owned(),
            issue.key.kind.label().to_owned(),
            issue.key.table.clone().unwrap_or_else(|| "-".to_owned()),
            issue.key.command.map_or_else(|| "-".to_owned(), word),
            issue.count.to_string(),
            minute(&issue.last.to_string()),
        ]);
    }
    let mut lines = table.lines().into_iter();
    let _ = writeln!(page, "\n{}", lines.next().unwrap_or_default());
    for (line, issue) in lines.zip(shown) {
        let _ = writeln!(page, "{line}");
        below(issue, page);
    }
    if report.findings.len() > shown.len() {
        let _ = writeln!(page, "… and {} more", report.findings.len() - shown.len());
    }
}

/// The statement, and where it comes from.
fn below(issue: &Issue, page: &mut String) {
    if let Some(text) = &issue.text {
        let _ = writeln!(page, "    {}", harmless(text));
    }
    let places = issue.origins.ranked().into_iter().take(2);
    let applications = issue.applications.ranked().into_iter().take(2);
    let from: Vec<&str> = places.chain(applications).map(|(name, _)| name).collect();
    if !from.is_empty() {
        let _ = writeln!(page, "    from {}", harmless(&from.join(", ")));
    }
}

fn statements(report: &Report, page: &mut String) {
    let enough = report.statements.iter().filter(|one| one.evaluation.is_enough()).count();
    let _ = writeln!(page, "\nCoverage: {enough} of {} statements are evaluated", report.statements.len());
    let lacking =
        report.statements.iter().filter(|one| !one.evaluation.is_enough() && one.accepted.is_none());
    for one in lacking.take(MOST_STATEMENTS) {
        let examined = &one.examined;
        let text = examined.text.as_deref().unwrap_or("(could not be read)");
        let why: Vec<String> = examined.reasons().iter().take(3).map(|(_, why, _)| word(why)).collect();
        let why = if why.is_empty() { "nobody looked".to_owned() } else { why.join(", ") };
        let _ = writeln!(
            page,
            "    {}  {}, {} executions: {}\n        {}",
            examined.fingerprint,
            one.evaluation.label(),
            one.executions,
            why,
            harmless(text)
        );
    }
    for one in report.unseen.iter().filter(|one| one.accepted.is_none()).take(MOST_STATEMENTS) {
        let _ = writeln!(
            page,
            "    {}  past pgwarden, {} calls by {}\n        {}",
            one.fingerprint,
            one.calls,
            harmless(&one.role),
            harmless(&one.text)
        );
    }
}

fn trails(report: &Report, page: &mut String) {
    for trail in &report.trails {
        let chain = match &trail.chain {
            Chain::Intact { detail } => format!("intact, {detail}"),
            Chain::Broken { why } => format!("BROKEN: {why}"),
        };
        let _ = writeln!(page, "Trail {}: {}", harmless(&trail.directory), harmless(&chain));
    }
}

fn minute(time: &str) -> String {
    let (date, clock) = time.split_once('T').unwrap_or((time, ""));
    format!("{date} {} UTC", clock.get(..5).unwrap_or(clock))
}

fn word(word: impl serde::Serialize) -> String {
    let written = serde_json::to_value(word).ok();
    written.as_ref().and_then(|word| word.as_str()).unwrap_or("-").to_owned()
}

/// Nothing that a client has written moves the cursor.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
