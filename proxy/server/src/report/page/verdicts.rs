//! The verdict on each table.

use super::words::{minute, number, size, verdict};
use crate::report::alike::Alike;
use maud::{Markup, html};
use pgwarden_shadow::verdict::{Judgement, Report, percent, span};
use std::time::Duration;

pub(super) fn section(report: &Report) -> Markup {
    let alike = Alike::of(&report.tables);
    html! {
        section id="verdicts" aria-labelledby="verdicts-title" {
            h2 id="verdicts-title" { "Verdicts" }
            p.note { "May the policies of a table be put in force? What was never evaluated is not clean." }
            @if report.tables.is_empty() {
                p.empty { "No table is staged, and no finding names one. Stage policies with pgwarden stage." }
            } @else {
                div.scroll tabindex="0" role="region" aria-labelledby="verdicts-title" {
                    table.verdicts {
                        caption { "One line a table, the worst first" }
                        thead { tr {
                            th scope="col" { "Table" }
                            th scope="col" { "Verdict" }
                            th scope="col" { "Why" }
                            @for name in ["Watched", "Evaluated", "Differ at most"] {
                                th.number scope="col" { (name) }
                            }
                        } }
                        tbody { @for table in &report.tables { (line(table, &alike)) } }
                    }
                }
                @for line in alike.lines() { p.note { (line) } }
                p.note {
                    "“Differ at most” is 3/n: where n executions were compared and none differed, the share that differs is smaller at 95 % confidence."
                }
            }
            @if !report.caveats.is_empty() {
                h3 { "Not asked" }
                ul { @for caveat in &report.caveats { li { (caveat) } } }
            }
        }
    }
}

fn line(table: &Judgement, alike: &Alike<'_>) -> Markup {
    let reasons: Vec<_> = table.reasons.iter().filter(|reason| alike.leaves(reason)).collect();
    html! {
        tr {
            th scope="row" {
                // A long name breaks behind its schema.
                @for (index, part) in table.table.split('.').enumerate() {
                    @if index > 0 { "." wbr; }
                    (part)
                }
                br;
                span.soft { (table.database) ", " (table.stage.label())
                    @if let Some(since) = table.since { " since " (minute(since)) }
                }
            }
            td { (verdict(table.verdict)) }
            td.why {
                @if reasons.is_empty() { "nothing against it" } @else {
                    ul { @for reason in &reasons { li { (reason.text) } } }
                }
                @if !table.findings.is_empty() {
                    span.soft { "Findings: " }
                    @for (index, id) in table.findings.iter().enumerate() {
                        @if index > 0 { ", " }
                        a href={ "#finding-" (id) } { (id.get(..8).unwrap_or(id)) }
                    }
                }
            }
            td.number data-label="Watched" { (span(Duration::from_secs(table.observed_seconds))) }
            td.number data-label="Evaluated" {
                span { (size(table.evaluated)) " of " (size(table.statements)) " statements"
                    br; span.soft { (number(table.compared)) " of " (number(table.executions)) " compared" } }
            }
            td.number data-label="Differ at most" {
                @match table.bound { Some(bound) => { (percent(bound.min(1_000_000))) }, None => { "–" } }
            }
        }
    }
}
