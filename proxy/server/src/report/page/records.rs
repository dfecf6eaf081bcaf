//! Services, steps and the trail itself.

use super::words::{number, pill, time};
use maud::{Markup, html};
use pgwarden_shadow::verdict::{Chain, Milestone, Report, ServiceAccount};
use std::collections::BTreeSet;

/// Lines that are shown of each.
const MOST: usize = 200;

pub(super) fn services(report: &Report) -> Markup {
    html! {
        section id="services" aria-labelledby="services-title" {
            h2 id="services-title" { "Services" }
            p.note { "Sessions that work past all policies, and what they did." }
            @if report.services.is_empty() {
                p.empty { "No service was used." }
            } @else {
                div.scroll tabindex="0" role="region" aria-labelledby="services-title" {
                    table {
                        caption { "Sessions, the latest first" }
                        thead { tr {
                            th scope="col" { "Service" } th scope="col" { "Who" } th scope="col" { "When" }
                            th.number scope="col" { "Transactions" } th.number scope="col" { "Statements" } th scope="col" { "Tables" }
                        } }
                        tbody { @for one in report.services.iter().take(MOST) { (service(one)) } }
                    }
                }
            }
        }
    }
}

fn service(one: &ServiceAccount) -> Markup {
    let listed = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    html! {
        tr {
            th scope="row" { (one.service) br; span.soft { (one.reason) } }
            td { (one.user) " from " (one.client) br; span.soft { (one.role) " in " (one.database) } }
            td { (time(one.began)) @match one.ended { Some(ended) => { " to " (time(ended)) }, None => { ", goes on" } } }
            td.number { (number(one.transactions)) }
            td.number { (number(one.statements)) @if one.errors > 0 { ", " (number(one.errors)) " failed" } }
            td {
                @if !one.read.is_empty() { "read " (listed(&one.read)) br; }
                @if !one.written.is_empty() { "wrote " (listed(&one.written)) }
                @if one.unread > 0 { br; span.soft { (number(one.unread)) " texts whose tables are not known" } }
            }
        }
    }
}

pub(super) fn milestones(report: &Report) -> Markup {
    html! {
        section id="steps" aria-labelledby="steps-title" {
            h2 id="steps-title" { "Steps" }
            p.note { "Who has staged, promoted, demoted, ignored or resolved what. The journal of the database says so, and the trail keeps it." }
            @if report.milestones.is_empty() {
                p.empty { "No step was taken." }
            } @else {
                div.scroll tabindex="0" role="region" aria-labelledby="steps-title" {
                    table {
                        caption { "The latest first" }
                        thead { tr {
                            th scope="col" { "When" } th scope="col" { "Step" } th scope="col" { "What" } th scope="col" { "Who" } th scope="col" { "Why" }
                        } }
                        tbody { @for one in report.milestones.iter().take(MOST) { (milestone(one)) } }
                    }
                }
            }
        }
    }
}

fn milestone(one: &Milestone) -> Markup {
    html! {
        tr {
            td { (time(one.at)) }
            td { (pill("info", one.step.label())) }
            td {
                @match one.disposition() {
                    Some((finding, said)) => {
                        a href={ "#finding-" (finding) } { (finding) }
                        @if let Some(until) = said.until { ", until " (time(until)) }
                    },
                    None => { (one.tables.join(", ")) },
                }
                br; span.soft { (one.database) }
            }
            td { (one.by) @if let Some((_, said)) = one.disposition() { br; span.soft { (said.owner) " answers for it" } } }
            td { (one.reason.as_deref().unwrap_or("–")) }
        }
    }
}

pub(super) fn trail(report: &Report) -> Markup {
    html! {
        section id="trail" aria-labelledby="trail-title" {
            h2 id="trail-title" { "Trail" }
            p.note { "Where all this comes from, and whether it is whole: each record holds the hash of the one before it." }
            @if report.trails.is_empty() {
                p.empty { "No trail was read." }
            } @else {
                div.scroll tabindex="0" role="region" aria-labelledby="trail-title" {
                    table {
                        caption { "Trails that were read" }
                        thead { tr {
                            th scope="col" { "Directory" } th scope="col" { "Chain" } th.number scope="col" { "Records" }
                            th.number scope="col" { "Files" } th scope="col" { "From" } th scope="col" { "To" }
                        } }
                        tbody { @for one in &report.trails {
                            tr {
                                th scope="row" { code { (one.directory) } }
                                td { @match &one.chain {
                                    Chain::Intact { detail } => { (pill("good", "intact")) " " span.soft { (detail) } },
                                    Chain::Broken { why } => { (pill("bad", "broken")) " " (why) },
                                } }
                                td.number { (number(one.records)) }
                                td.number { (number(one.segments)) }
                                td { @if let Some(at) = one.first { (time(at)) } }
                                td { @if let Some(at) = one.last { (time(at)) } }
                            }
                        } }
                    }
                }
            }
            (events(report))
        }
    }
}

fn events(report: &Report) -> Markup {
    html! {
        @if !report.events.is_empty() {
            details.data {
                summary { "What happened to pgwarden and to the policies (" (report.events.len()) ")" }
                div.scroll {
                    table {
                        caption { "The latest first" }
                        thead { tr { th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "Detail" } } }
                        tbody { @for event in report.events.iter().rev().take(MOST) {
                            tr { td { (time(event.at)) } td { (event.what.label()) } td { code { (event.detail) } } }
                        } }
                    }
                }
            }
        }
    }
}
