//! How often findings were met, over time.

use super::moment::Moment;
use crate::kind::Severity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Lengths of a span, in seconds: each is made of whole ones of the length before.
const SPANS: [u64; 6] = [60, 600, 3_600, 21_600, 86_400, 604_800];
/// Spans that are kept; where there are more, they become longer.
const MOST: usize = 3_000;

/// How often findings of each weight were met in each span of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// How long a span is.
    pub span_seconds: u64,
    /// By the begin of the span.
    pub spans: BTreeMap<Moment, Weights>,
}

/// How often, by weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    /// Those that would break something.
    pub blockers: u64,
    /// Those that somebody should look at.
    pub warnings: u64,
    /// For the record.
    pub infos: u64,
}

impl Default for Timeline {
    fn default() -> Self {
        let [shortest, ..] = SPANS;
        Self { span_seconds: shortest, spans: BTreeMap::new() }
    }
}

impl Timeline {
    /// A finding was met so often.
    pub fn add(&mut self, at: Moment, severity: Severity, count: u64) {
        let mut weights = Weights::default();
        match severity {
            Severity::Blocker => weights.blockers = count,
            Severity::Warning => weights.warnings = count,
            Severity::Info => weights.infos = count,
        }
        self.put(at, weights);
        while self.spans.len() > MOST {
            let Some(longer) = SPANS.into_iter().find(|span| *span > self.span_seconds) else { return };
            *self = self.in_spans_of(longer);
        }
    }

    /// The same in spans so long that there are not more than `most` between two moments, as far as there are such.
    #[must_use]
    pub fn between(&self, begin: Moment, end: Moment, most: u64) -> Self {
        let length = end.since(begin).as_secs();
        let fits = |span: &u64| *span >= self.span_seconds && length.checked_div(*span).unwrap_or(0) < most;
        let [.., longest] = SPANS;
        self.in_spans_of(SPANS.into_iter().find(fits).unwrap_or(longest))
    }

    fn in_spans_of(&self, seconds: u64) -> Self {
        let mut other = Self { span_seconds: seconds, spans: BTreeMap::new() };
        for (at, weights) in &self.spans {
            other.put(*at, *weights);
        }
        other
    }

    fn put(&mut self, at: Moment, weights: Weights) {
        let sum = self.spans.entry(at.floor(Duration::from_secs(self.span_seconds))).or_default();
        sum.blockers = sum.blockers.saturating_add(weights.blockers);
        sum.warnings = sum.warnings.saturating_add(weights.warnings);
        sum.infos = sum.infos.saturating_add(weights.infos);
    }
}

impl Weights {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.blockers.saturating_add(self.warnings).saturating_add(self.infos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_become_longer_instead_of_more_and_nothing_is_lost() {
        let mut timeline = Timeline::default();
        for minute in 0..10_000 {
            timeline.add(Moment::of_seconds(minute * 60), Severity::Blocker, 2);
        }
        timeline.add(Moment::of_seconds(0), Severity::Info, 1);
        assert_eq!((timeline.span_seconds, timeline.spans.len()), (600, 1_000));
        let all = |timeline: &Timeline| timeline.spans.values().map(Weights::all).sum::<u64>();
        assert_eq!(all(&timeline), 20_001);
        let drawn = timeline.between(Moment::of_seconds(0), Moment::of_seconds(600_000), 100);
        assert_eq!((drawn.span_seconds, drawn.spans.len(), all(&drawn)), (21_600, 28, 20_001));
    }
}
