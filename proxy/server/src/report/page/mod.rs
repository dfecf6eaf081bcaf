//! The report as one page of HTML: nothing is fetched, everything that came from outside is escaped (by `maud`), and the
//! browser is told by a content security policy to run and load nothing but what stands here.

mod findings;
mod records;
mod statements;
mod timeline;
mod verdicts;
mod words;

use aws_lc_rs::digest::{SHA256, digest};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use pgwarden_shadow::verdict::{Chain, Report, Verdict};
use std::sync::LazyLock;
use words::{size, time};

const STYLE: &str = include_str!("page.css");
/// A shield.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath fill='%23234b9b' \
    d='M8 1l6 2v5c0 4-3 6-6 7-3-1-6-3-6-7V3z'/%3E%3C/svg%3E";
const SCRIPT: &str = include_str!("page.js");

/// What a browser may do with the page.
pub(crate) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let (style, script) = (source(STYLE), source(SCRIPT));
    format!(
        "default-src 'none'; style-src '{style}'; script-src '{script}'; img-src data:; base-uri 'none'; form-action 'self'"
    )
});

/// The page.
pub(crate) fn render(report: &Report) -> String {
    let title = "Tenant isolation";
    document(
        title,
        &html! {
            a.skip href="#verdicts" { "Skip to the verdicts" }
            header {
                p.brand { "pgwarden" }
                h1 { (title) ": what the policies would have done" }
                p.lead {
                    "As of " (time(report.generated)) " UTC"
                    @if let Some(since) = report.since { ", findings since " (time(since)) " UTC" }
                    ". pgwarden " (report.version) "."
                }
                nav aria-label="Sections" {
                    ul {
                        @for (id, name) in SECTIONS { li { a href={ "#" (id) } { (name) } } }
                    }
                }
                (figures(report))
            }
            main {
                (verdicts::section(report))
                (timeline::section(report))
                (findings::section(report))
                (statements::section(report))
                (records::services(report))
                (records::milestones(report))
                (records::trail(report))
            }
            footer {
                p {
                    "READY means: watched for at least " (report.rules.min_days) " days, at least "
                    (report.rules.min_replays) " executions of each statement compared (all where there were fewer), at most "
                    (pgwarden_shadow::verdict::percent(u64::from(report.rules.max_uncovered)))
                    " of the executions not evaluated, no finding that counts, no policy that could not be staged, nothing of the server's past pgwarden, and a trail that is whole."
                }
                p { "Statements are shown without literals. Times are in UTC." }
            }
        },
    )
}

/// Whether somebody has tried to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// Not yet.
    First,
    /// With something that is not the token.
    Wrong,
}

/// A form that asks for the token of the admin listener.
pub(crate) fn login(attempt: Attempt) -> String {
    document(
        "Log in",
        &html! {
            main {
                form.form method="post" action="/report/login" {
                    p.brand { "pgwarden" }
                    h1 { "Tenant isolation" }
                    label {
                        "Token of the admin listener"
                        input type="password" name="token" autocomplete="current-password" required autofocus;
                    }
                    button type="submit" { "Show the report" }
                    @if attempt == Attempt::Wrong { p.bad-ink role="alert" { "That is not the token." } }
                }
            }
        },
    )
}

const SECTIONS: [(&str, &str); 7] = [
    ("verdicts", "Verdicts"),
    ("timeline", "Timeline"),
    ("findings", "Findings"),
    ("statements", "Coverage"),
    ("services", "Services"),
    ("steps", "Steps"),
    ("trail", "Trail"),
];

fn document(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(*POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                meta name="robots" content="noindex";
                link rel="icon" href=(ICON);
                title { (title) " · pgwarden" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (body)
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// What one sees first.
fn figures(report: &Report) -> Markup {
    let ready = report.tables.iter().filter(|table| table.verdict == Verdict::Ready).count();
    let refused = report.tables.iter().filter(|table| table.verdict == Verdict::NotReady).count();
    let open: Vec<_> = report.findings.iter().filter(|finding| finding.standing.is_open()).collect();
    let blockers = open.iter().filter(|issue| issue.severity == pgwarden_shadow::Severity::Blocker).count();
    let evaluated = report.statements.iter().filter(|one| one.evaluation.is_enough()).count();
    let broken = report.trails.iter().find_map(|trail| match &trail.chain {
        Chain::Broken { why } => Some(why),
        Chain::Intact { .. } => None,
    });
    let tables = match (ready == report.tables.len(), refused) {
        (true, 0) if ready > 0 => "good",
        (_, 0) => "warn",
        _ => "bad",
    };
    html! {
        dl.figures {
            div class=(tables) {
                dt { "Tables ready" }
                dd { (size(ready)) " of " (size(report.tables.len())) small { (size(refused)) " not ready" } }
            }
            div class=(if blockers > 0 { "bad" } else { "good" }) {
                dt { "Blockers" }
                dd { (size(blockers)) small { (size(open.len() - blockers)) " other open findings" } }
            }
            div {
                dt { "Statements evaluated" }
                dd { (size(evaluated)) " of " (size(report.statements.len()))
                    small { (size(report.unseen.len())) " more known to the server alone" } }
            }
            div class=(if broken.is_some() { "bad" } else { "" }) {
                dt { "Trail" }
                dd {
                    @match (broken, report.trails.is_empty()) {
                        (Some(why), _) => { "broken" small { (why) } },
                        (None, true) => { "none" small { "nothing was read" } },
                        (None, false) => { "intact" small {
                            (words::number(report.trails.iter().map(|trail| trail.records).sum())) " records"
                        } },
                    }
                }
            }
        }
    }
}

/// The hash by which a content security policy lets a piece of the page pass.
fn source(text: &str) -> String {
    format!("sha256-{}", base64(digest(&SHA256, text.as_bytes()).as_ref()))
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = group.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        let number = number << (8 * (3_usize.saturating_sub(group.len())));
        for place in 0..4_usize {
            let six = usize::try_from(number >> (18 - 6 * place) & 63).unwrap_or(0);
            let letter = ALPHABET.get(six).filter(|_| place <= group.len());
            text.push(letter.map_or('=', |letter| char::from(*letter)));
        }
    }
    text
}

#[cfg(test)]
mod tests;
