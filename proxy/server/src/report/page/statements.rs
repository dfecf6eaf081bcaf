//! How far each statement was looked at, and what went past.

use super::words::{evaluation, number, spoken, time};
use maud::{Markup, html};
use pgwarden_shadow::Detector;
use pgwarden_shadow::verdict::{Report, Statement, Unseen};
use std::collections::BTreeSet;

/// Statements that are shown; the JSON form has all of them.
const MOST: usize = 500;

pub(super) fn section(report: &Report) -> Markup {
    let shown = report.statements.get(..MOST).unwrap_or(&report.statements);
    html! {
        section id="statements" aria-labelledby="statements-title" {
            h2 id="statements-title" { "Coverage" }
            p.note { "Every statement that was seen, and how many of its executions were compared with what the policies leave of them." }
            @if shown.is_empty() {
                p.empty { "No statement was seen." }
            } @else {
                (filters(report))
                div.scroll tabindex="0" role="region" aria-labelledby="statements-title" {
                    table {
                        caption { "Statements, those that were not evaluated first" }
                        thead { tr {
                            th scope="col" { "Statement" }
                            th scope="col" { "Evaluation" }
                            th.number scope="col" { "Executions" }
                            th.number scope="col" { "Replayed" }
                            th.number scope="col" { "Writes" }
                            th.number scope="col" { "Rows" }
                            th scope="col" { "Not looked at" }
                        } }
                        tbody { @for one in shown { (line(one)) } }
                    }
                }
                @if report.statements.len() > shown.len() {
                    p.note { (report.statements.len() - shown.len()) " more statements are in the JSON form." }
                }
            }
            (unseen(&report.unseen))
        }
    }
}

fn filters(report: &Report) -> Markup {
    let evaluations: BTreeSet<&str> = report.statements.iter().map(|one| one.evaluation.label()).collect();
    html! {
        form.filters id="coverage" role="search" aria-label="Filter the statements" hidden {
            (super::findings::choice("evaluation", "Evaluation", evaluations))
            label.wide { "Words in statement or table"
                input id="coverage-words" type="search" name="words" autocomplete="off";
            }
            button type="reset" { "Show all" }
            output for="coverage-words" aria-live="polite" {}
        }
    }
}

fn line(one: &Statement) -> Markup {
    let examined = &one.examined;
    let tables = examined.tables.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let text = examined.text.as_deref().unwrap_or("(could not be read)");
    let searched = [text, &tables, &examined.fingerprint].join("\n").to_lowercase();
    let covered = |detector| examined.detectors.get(&detector).map_or(0, |looks| looks.covered);
    html! {
        tr data-of="coverage" data-evaluation=(one.evaluation.label()) data-text=(searched) {
            td {
                code.statement { (text) }
                span.soft { (tables) @if !tables.is_empty() { " · " } code { (examined.fingerprint) } }
            }
            td { (evaluation(one.evaluation))
                @if let Some(said) = &one.accepted {
                    br; span.soft { "accepted by " (said.owner) @if let Some(until) = said.until { " until " (time(until)) } ": " (said.reason) }
                }
            }
            td.number { (number(one.executions)) }
            @for detector in [Detector::Replay, Detector::Writes, Detector::Rows] { td.number { (number(covered(detector))) } }
            td { ul.plain {
                @for (detector, why, count) in examined.reasons() { li { (spoken(detector)) ": " (spoken(why)) " " span.soft { (number(count)) " ×" } } }
            } }
        }
    }
}

fn unseen(unseen: &[Unseen]) -> Markup {
    html! {
        @if !unseen.is_empty() {
            h3 { "Past pgwarden" }
            p.note { "What pg_stat_statements knows of roles that policies bind, and never came through pgwarden." }
            div.scroll tabindex="0" role="region" aria-label="Statements past pgwarden" {
                table {
                    caption { "Those that ran most often first" }
                    thead { tr {
                        th scope="col" { "Statement" } th scope="col" { "Role" } th.number scope="col" { "Calls" }
                    } }
                    tbody { @for one in unseen.iter().take(MOST) {
                        tr {
                            td { code.statement { (one.text) } span.soft { (one.tables.join(", ")) " · " code { (one.fingerprint) } }
                                @if let Some(said) = &one.accepted { br; span.soft { "accepted by " (said.owner) ": " (said.reason) } }
                            }
                            td { (one.role) }
                            td.number { (number(one.calls)) }
                        }
                    } }
                }
            }
        }
    }
}
