//! A histogram of durations with fixed buckets.
//!
//! The exporter's own histograms keep every sample until somebody scrapes or calls its upkeep; with the admin
//! listener off, that would be for ever. This one is a row of counters: recording adds to two of them, relaxed.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// An upper bound in seconds, as it is written, and in nanoseconds, as it is compared.
pub(super) type Bound = (&'static str, u64);

/// From 0.1 ms to 10 s: for what waits for somebody else.
pub(super) const WAITS: &[Bound] = &[
    ("0.0001", 100_000),
    ("0.00025", 250_000),
    ("0.0005", 500_000),
    ("0.001", 1_000_000),
    ("0.0025", 2_500_000),
    ("0.005", 5_000_000),
    ("0.01", 10_000_000),
    ("0.025", 25_000_000),
    ("0.05", 50_000_000),
    ("0.1", 100_000_000),
    ("0.25", 250_000_000),
    ("0.5", 500_000_000),
    ("1", 1_000_000_000),
    ("2.5", 2_500_000_000),
    ("5", 5_000_000_000),
    ("10", 10_000_000_000),
];

/// From 1 µs to 0.1 s: for what pgwarden does itself.
pub(super) const STEPS: &[Bound] = &[
    ("0.000001", 1_000),
    ("0.0000025", 2_500),
    ("0.000005", 5_000),
    ("0.00001", 10_000),
    ("0.000025", 25_000),
    ("0.00005", 50_000),
    ("0.0001", 100_000),
    ("0.00025", 250_000),
    ("0.0005", 500_000),
    ("0.001", 1_000_000),
    ("0.0025", 2_500_000),
    ("0.005", 5_000_000),
    ("0.01", 10_000_000),
    ("0.025", 25_000_000),
    ("0.05", 50_000_000),
    ("0.1", 100_000_000),
];

/// How often something took how long.
#[derive(Debug)]
pub(crate) struct Histogram {
    name: &'static str,
    about: &'static str,
    bounds: &'static [Bound],
    /// One for each bound: what was at most that long, and longer than the bound before.
    buckets: Box<[AtomicU64]>,
    /// What was longer than the last bound.
    beyond: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// An empty one.
    pub(super) fn new(name: &'static str, about: &'static str, bounds: &'static [Bound]) -> Self {
        let buckets = bounds.iter().map(|_| AtomicU64::new(0)).collect();
        Self { name, about, bounds, buckets, beyond: AtomicU64::new(0), nanoseconds: AtomicU64::new(0) }
    }

    /// Counts one that took `duration`.
    pub(crate) fn record(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let position = self.bounds.partition_point(|(_, bound)| *bound < nanoseconds);
        self.buckets.get(position).unwrap_or(&self.beyond).fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Writes it in Prometheus' text form; the count is that of the buckets, so that they always agree.
    pub(super) fn render(&self, out: &mut String) {
        let Self { name, about, .. } = self;
        let mut count = 0_u64;
        let mut lines = format!("# HELP {name} {about}\n# TYPE {name} histogram\n");
        let bounds = self.bounds.iter().map(|(text, _)| *text).chain(["+Inf"]);
        for (bound, bucket) in bounds.zip(self.buckets.iter().chain([&self.beyond])) {
            count = count.wrapping_add(bucket.load(Ordering::Relaxed));
            let _ = writeln!(lines, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        let _ = writeln!(lines, "{name}_sum {sum}\n{name}_count {count}\n");
        out.push_str(&lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Histogram {
        Histogram::new("x_seconds", "How long.", WAITS)
    }

    fn rendered(histogram: &Histogram) -> String {
        let mut text = String::new();
        histogram.render(&mut text);
        text
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = empty();
        histogram.record(Duration::from_micros(100));
        histogram.record(Duration::from_micros(101));
        let text = rendered(&histogram);
        assert!(text.contains("x_seconds_bucket{le=\"0.0001\"} 1\n"), "{text}");
        assert!(text.contains("x_seconds_bucket{le=\"0.00025\"} 2\n"), "{text}");
        assert!(text.contains("x_seconds_bucket{le=\"+Inf\"} 2\n"), "{text}");
        assert!(text.contains("x_seconds_sum 0.000201\n"), "{text}");
        assert!(text.contains("x_seconds_count 2\n"), "{text}");
    }

    #[test]
    fn what_is_beyond_every_bound_counts_as_infinite() {
        let histogram = empty();
        histogram.record(Duration::from_secs(11));
        let text = rendered(&histogram);
        assert!(text.contains("x_seconds_bucket{le=\"10\"} 0\n"), "{text}");
        assert!(text.contains("x_seconds_bucket{le=\"+Inf\"} 1\n"), "{text}");
    }

    #[test]
    fn the_texts_of_the_bounds_say_what_is_compared() {
        for bounds in [WAITS, STEPS] {
            for (text, nanoseconds) in bounds {
                let seconds: f64 = text.parse().unwrap();
                assert_eq!(Duration::from_secs_f64(seconds), Duration::from_nanos(*nanoseconds));
            }
            assert!(bounds.is_sorted_by_key(|(_, bound)| *bound));
        }
    }
}
