//! Numbers, times and words as the page shows them.

use maud::{Markup, html};
use pgwarden_shadow::Severity;
use pgwarden_shadow::verdict::{Evaluation, Moment, Standing, Verdict};

/// A number with its thousands apart.
pub(super) fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push('\u{202f}');
        }
        shown.push(digit);
    }
    shown
}

/// A number of usize.
pub(super) fn size(count: usize) -> String {
    number(u64::try_from(count).unwrap_or(u64::MAX))
}

/// A point in time to the minute, and exactly for who asks.
pub(super) fn time(at: Moment) -> Markup {
    let exact = at.to_string();
    html! { time datetime=(exact) title=(exact) { (minute(at)) } }
}

/// The same as text.
pub(super) fn minute(at: Moment) -> String {
    let exact = at.to_string();
    let (date, clock) = exact.split_once('T').unwrap_or((&exact, ""));
    format!("{date} {}", clock.get(..5).unwrap_or(clock))
}

/// A word with the colour and the shape of what it means.
pub(super) fn pill(class: &str, text: &str) -> Markup {
    html! { span class={ "pill " (class) } { (text) } }
}

pub(super) fn verdict(verdict: Verdict) -> Markup {
    let class = match verdict {
        Verdict::Ready => "good",
        Verdict::InsufficientData => "warn",
        Verdict::NotReady => "bad",
    };
    pill(class, verdict.label())
}

pub(super) fn severity(severity: Severity) -> Markup {
    pill(severity_class(severity), severity_word(severity))
}

fn severity_class(severity: Severity) -> &'static str {
    match severity {
        Severity::Blocker => "bad",
        Severity::Warning => "warn",
        Severity::Info => "info",
    }
}

pub(super) fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Blocker => "blocker",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

pub(super) fn standing(standing: &Standing) -> Markup {
    let class = match standing {
        Standing::Reopened(_) => "bad",
        Standing::Open => "warn",
        Standing::Resolved(_) => "good",
        Standing::Ignored(_) | Standing::Outdated { .. } | Standing::Secondary => "info",
    };
    pill(class, standing.label())
}

pub(super) fn evaluation(evaluation: Evaluation) -> Markup {
    let class = match evaluation {
        Evaluation::Exact => "good",
        Evaluation::RowsAlone => "info",
        Evaluation::TooSeldom => "warn",
        Evaluation::Never => "bad",
    };
    pill(class, evaluation.label())
}

/// A word of a record, `in_snake_case`, for people.
pub(super) fn spoken(word: impl serde::Serialize) -> String {
    let written = serde_json::to_value(word).ok();
    written.as_ref().and_then(|word| word.as_str()).unwrap_or_default().replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgwarden_shadow::verdict::Moment;

    #[test]
    fn thousands_are_apart() {
        let shown = [0, 999, 1_000, 1_234_567].map(number);
        assert_eq!(shown, ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
    }

    #[test]
    fn times_are_shown_to_the_minute() {
        let at = Moment::parse("2026-11-21T18:40:41.123456Z").expect("a time");
        assert_eq!(minute(at), "2026-11-21 18:40");
    }
}
