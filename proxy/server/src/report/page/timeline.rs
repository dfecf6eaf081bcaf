//! How often findings were met, as a drawing, with the steps that were taken.

use super::words::{minute, number, time};
use maud::{Markup, html};
use pgwarden_shadow::verdict::{Milestone, Moment, Report, Step, Timeline, Weights, span};
use std::collections::BTreeSet;
use std::time::Duration;

const WIDTH: u64 = 1_120;
const HEIGHT: u64 = 190;
/// Room around the bars.
const LEFT: u64 = 46;
const TOP: u64 = 26;
const BOTTOM: u64 = 26;
/// Bars at most.
const MOST: u64 = 96;
/// Steps that are marked at most.
const MOST_MARKS: usize = 40;

/// What is drawn: from when to when, and how high.
struct Frame {
    begin: Moment,
    spans: u64,
    timeline: Timeline,
    highest: u64,
}

impl Frame {
    /// The time in which something was known; `None` where nothing is.
    fn of(report: &Report) -> Option<Self> {
        let known = report.timeline.spans.keys().copied();
        let steps = report.milestones.iter().map(|milestone| milestone.at);
        let trails = report.trails.iter().filter_map(|trail| trail.first);
        let first = known.chain(steps).chain(trails).min()?;
        let begin = report.since.map_or(first, |since| since.max(first));
        let end = report.generated.max(begin.after(Duration::from_secs(60)));
        let timeline = report.timeline.between(begin, end, MOST);
        let length = Duration::from_secs(timeline.span_seconds);
        let begin = begin.floor(length);
        let spans = end.since(begin).as_secs().checked_div(timeline.span_seconds).unwrap_or(0) + 1;
        let highest = timeline.spans.values().map(Weights::all).max().unwrap_or(0);
        Some(Self { begin, spans, timeline, highest: round_up(highest.max(1)) })
    }

    fn length(&self) -> Duration {
        Duration::from_secs(self.timeline.span_seconds)
    }

    /// Where a moment is, in hundredths.
    fn x(&self, at: Moment) -> u64 {
        let all = self.spans.saturating_mul(self.timeline.span_seconds).max(1);
        let offset = at.since(self.begin).as_secs().min(all);
        LEFT * 100 + offset.saturating_mul((WIDTH - LEFT) * 100).checked_div(all).unwrap_or(0)
    }

    /// How high so many are, in hundredths.
    fn high(&self, count: u64) -> u64 {
        count.saturating_mul((HEIGHT - TOP - BOTTOM) * 100).checked_div(self.highest).unwrap_or(0)
    }
}

pub(super) fn section(report: &Report) -> Markup {
    html! {
        section id="timeline" aria-labelledby="timeline-title" {
            h2 id="timeline-title" { "Timeline" }
            @match Frame::of(report) {
                Some(frame) => { (drawing(&frame, report)) },
                None => { p.empty { "Nothing has happened yet." } },
            }
        }
    }
}

fn drawing(frame: &Frame, report: &Report) -> Markup {
    let marks = marks(report, frame);
    let said = format!(
        "Bars of {} each, from {} to {} UTC; the highest stands for {}.",
        span(frame.length()),
        minute(frame.begin),
        minute(report.generated),
        number(frame.timeline.spans.values().map(Weights::all).max().unwrap_or(0)),
    );
    html! {
        p.note { "How often findings were met, by weight, and the steps that were taken. " (said) }
        div.chart tabindex="0" role="region" aria-label="Drawing of the findings over time" {
            ul.legend {
                li { span.bad {} "blockers" }
                li { span.warn {} "warnings" }
                li { span.info {} "for the record" }
                li { span.mark {} "steps" }
            }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-labelledby="chart-title chart-description" {
                title id="chart-title" { "Findings over time" }
                desc id="chart-description" { (said) }
                (scale(frame))
                @for (at, weights) in frame.timeline.spans.range(frame.begin..) { (bar(frame, *at, *weights)) }
                @for milestone in &marks { (mark(frame, milestone)) }
                (clock(frame, report.generated))
            }
        }
        (numbers(frame))
    }
}

fn marks<'a>(report: &'a Report, frame: &Frame) -> Vec<&'a Milestone> {
    let about_policies = |milestone: &&Milestone| !matches!(milestone.step, Step::Ignore | Step::Resolve);
    let mut places = BTreeSet::new();
    let shown =
        report.milestones.iter().filter(about_policies).filter(|milestone| milestone.at >= frame.begin);
    // Many tables are staged at once: one mark is enough.
    let shown =
        shown.filter(|milestone| places.insert((milestone.at.floor(frame.length()), milestone.step.label())));
    shown.take(MOST_MARKS).collect()
}

fn scale(frame: &Frame) -> Markup {
    let base = HEIGHT - BOTTOM;
    let middle = (frame.highest > 1).then_some(frame.highest / 2);
    html! {
        @for count in [Some(frame.highest), middle].into_iter().flatten() {
            @let y = hundredths(base * 100 - frame.high(count));
            line.grid x1=(LEFT) x2=(WIDTH) y1=(y) y2=(y) {}
            text x=(LEFT - 8) y=(y) dy="4" text-anchor="end" { (number(count)) }
        }
        line.axis x1=(LEFT) x2=(WIDTH) y1=(base) y2=(base) {}
        text x=(LEFT - 8) y=(base) dy="4" text-anchor="end" { "0" }
    }
}

fn bar(frame: &Frame, at: Moment, weights: Weights) -> Markup {
    let (from, to) = (frame.x(at), frame.x(at.after(frame.length())));
    let wide = to.saturating_sub(from);
    let gap = (wide / 8).min(300);
    let mut base = (HEIGHT - BOTTOM) * 100;
    let parts = [("bad", weights.blockers), ("warn", weights.warnings), ("info", weights.infos)];
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(class, count)| {
            // What is there is seen, however little it is.
            let high = frame.high(count).max(150);
            base = base.saturating_sub(high);
            (class, hundredths(base), hundredths(high))
        })
        .collect();
    html! {
        g {
            title {
                (minute(at)) " UTC: " (number(weights.blockers)) " blockers, " (number(weights.warnings)) " warnings, "
                (number(weights.infos)) " for the record"
            }
            @for (class, y, high) in &parts {
                rect class=(class) x=(hundredths(from + gap / 2)) y=(y) width=(hundredths(wide - gap)) height=(high) rx="1" {}
            }
        }
    }
}

fn mark(frame: &Frame, milestone: &Milestone) -> Markup {
    let x = frame.x(milestone.at);
    let shown = hundredths(x);
    let anchor = if x > (WIDTH - 120) * 100 { ("end", "-5") } else { ("start", "5") };
    html! {
        g {
            title {
                (minute(milestone.at)) " UTC: " (milestone.tables.join(", ")) " " (milestone.step.label()) " by " (milestone.by)
            }
            line.mark x1=(shown) x2=(shown) y1="14" y2=(HEIGHT - BOTTOM) {}
            circle.flag cx=(shown) cy="12" r="3.5" {}
            text x=(shown) dx=(anchor.1) y="14" dy="2" text-anchor=(anchor.0) { (milestone.step.label()) }
        }
    }
}

fn clock(frame: &Frame, end: Moment) -> Markup {
    html! {
        text x=(LEFT) y=(HEIGHT - 6) { (minute(frame.begin)) }
        text x=(WIDTH) y=(HEIGHT - 6) text-anchor="end" { (minute(end)) " UTC" }
    }
}

/// The same for who cannot see it.
fn numbers(frame: &Frame) -> Markup {
    html! {
        details.data {
            summary { "The same in numbers" }
            div.scroll {
                table {
                    caption { "Findings by time, in spans of " (span(frame.length())) ". Spans without findings are left out." }
                    thead { tr {
                        th scope="col" { "From" }
                        @for weight in ["Blockers", "Warnings", "For the record"] { th.number scope="col" { (weight) } }
                    } }
                    tbody {
                        @for (at, weights) in frame.timeline.spans.range(frame.begin..) {
                            tr {
                                th scope="row" { (time(*at)) }
                                td.number { (number(weights.blockers)) }
                                td.number { (number(weights.warnings)) }
                                td.number { (number(weights.infos)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A number of hundredths as SVG writes it.
fn hundredths(number: u64) -> String {
    format!("{}.{:02}", number / 100, number % 100)
}

/// The next number that is easy to read.
fn round_up(number: u64) -> u64 {
    let mut power = 1_u64;
    loop {
        let steps = [1, 2, 4, 5, 8, 10].map(|step| power.saturating_mul(step));
        if let Some(step) = steps.into_iter().find(|step| *step >= number) {
            return step;
        }
        power = power.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_with_a_number_that_is_easy_to_read() {
        let rounded = [1, 3, 7, 11, 45, 900, 12_345].map(round_up);
        assert_eq!(rounded, [1, 4, 8, 20, 50, 1_000, 20_000]);
        assert_eq!(round_up(u64::MAX), u64::MAX);
    }
}
