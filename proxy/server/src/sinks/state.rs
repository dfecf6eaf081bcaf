//! What a sink has done, and how it stands: for metrics and the status.

use super::failure::Class;
use crate::status::SinkReport;
use pgwarden_config::Sinks;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The kinds of sinks; there is one of each at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SinkKind {
    /// A table.
    Postgres,
    /// OpenTelemetry logs.
    Otlp,
    /// Syslog messages.
    Syslog,
}

impl SinkKind {
    /// Those that settings ask for.
    pub(super) fn configured(sinks: &Sinks) -> impl Iterator<Item = Self> {
        let kinds = [
            (sinks.postgres.is_some(), Self::Postgres),
            (sinks.otlp.is_some(), Self::Otlp),
            (sinks.syslog.is_some(), Self::Syslog),
        ];
        kinds.into_iter().filter(|(is_there, _)| *is_there).map(|(_, kind)| kind)
    }

    /// The kind as it is written in metrics, in the status, and in the name of its cursor.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Otlp => "otlp",
            Self::Syslog => "syslog",
        }
    }
}

/// What one sink has done since pgwarden was started.
#[derive(Debug)]
pub(crate) struct SinkState {
    kind: SinkKind,
    /// Records that were delivered.
    delivered: AtomicU64,
    /// Attempts that failed, by class.
    failures: [AtomicU64; Class::ALL.len()],
    /// Records that the other side will not have.
    rejected: AtomicU64,
    /// Records that were removed before they were delivered.
    skipped: AtomicU64,
    /// The last record that was dealt with.
    reached: AtomicU64,
    /// The last record of the trail, as far as anybody has looked.
    tip: AtomicU64,
    now: Mutex<Now>,
}

/// How it stands.
#[derive(Debug, Default)]
struct Now {
    is_failing: bool,
    last_failure: Option<Class>,
}

impl SinkState {
    /// A sink that has done nothing yet.
    pub(super) fn new(kind: SinkKind) -> Self {
        Self {
            kind,
            delivered: AtomicU64::default(),
            failures: Default::default(),
            rejected: AtomicU64::default(),
            skipped: AtomicU64::default(),
            reached: AtomicU64::default(),
            tip: AtomicU64::default(),
            now: Mutex::default(),
        }
    }

    /// Which sink it is.
    pub(super) fn kind(&self) -> SinkKind {
        self.kind
    }

    /// So many records were delivered.
    pub(super) fn delivered(&self, count: u64) {
        self.delivered.fetch_add(count, Ordering::Relaxed);
        self.now().is_failing = false;
    }

    /// An attempt failed. Returns whether the one before did not.
    pub(super) fn failed(&self, class: Class) -> bool {
        let counters = Class::ALL.iter().zip(&self.failures);
        counters.filter(|(one, _)| **one == class).for_each(|(_, counter)| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let mut now = self.now();
        now.last_failure = Some(class);
        !std::mem::replace(&mut now.is_failing, true)
    }

    /// Whether the last attempt failed.
    pub(super) fn is_failing(&self) -> bool {
        self.now().is_failing
    }

    /// So many records will never be delivered, because the other side refuses them.
    pub(super) fn rejected(&self, count: u64) {
        self.rejected.fetch_add(count, Ordering::Relaxed);
    }

    /// So many records will never be delivered, because they are gone.
    pub(super) fn skipped(&self, count: u64) {
        self.skipped.fetch_add(count, Ordering::Relaxed);
    }

    /// Everything up to this record has been dealt with.
    pub(super) fn reached(&self, seq: u64) {
        self.reached.store(seq, Ordering::Release);
        self.tip.fetch_max(seq, Ordering::AcqRel);
    }

    /// The trail goes up to this record.
    pub(super) fn tip(&self, seq: u64) {
        self.tip.store(seq, Ordering::Release);
    }

    /// The last record that was dealt with; 0 before the first.
    pub(super) fn last(&self) -> u64 {
        self.reached.load(Ordering::Acquire)
    }

    /// How many records wait.
    pub(super) fn behind(&self) -> u64 {
        self.tip.load(Ordering::Acquire).saturating_sub(self.last())
    }

    /// What the status shows.
    pub(super) fn report(&self) -> SinkReport {
        let now = self.now();
        SinkReport {
            sink: self.kind.label().to_owned(),
            state: if now.is_failing { "failing" } else { "delivering" }.to_owned(),
            behind: self.behind(),
            delivered: self.delivered.load(Ordering::Relaxed),
            retries: self.failures.iter().map(|counter| counter.load(Ordering::Relaxed)).sum(),
            rejected: self.rejected.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
            last_failure: now.last_failure.map(|class| class.label().to_owned()),
        }
    }

    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The states of all sinks that were ever configured; a reload takes none away, because counters never go back.
#[derive(Debug, Default)]
pub(crate) struct SinkMeters(Mutex<Vec<Arc<SinkState>>>);

type Read = fn(&SinkState) -> u64;

/// Name, type, help, and where the value is.
const METRICS: &[(&str, &str, &str, Read)] = &[
    ("pgwarden_sink_behind_records", "gauge", "Records of the audit trail that wait for a sink.", |state| {
        state.behind()
    }),
    ("pgwarden_sink_failing", "gauge", "Whether the last attempt to deliver to a sink failed.", |state| {
        u64::from(state.is_failing())
    }),
    ("pgwarden_sink_records_total", "counter", "Records that were delivered to a sink.", |state| {
        state.delivered.load(Ordering::Relaxed)
    }),
    ("pgwarden_sink_rejected_records_total", "counter", "Records that a sink will not have.", |state| {
        state.rejected.load(Ordering::Relaxed)
    }),
    (
        "pgwarden_sink_skipped_records_total",
        "counter",
        "Records that were removed before they were delivered to a sink.",
        |state| state.skipped.load(Ordering::Relaxed),
    ),
];
const RETRIES: &str = "pgwarden_sink_retries_total";
const ABOUT_RETRIES: &str =
    "Attempts to deliver to a sink that failed and are made again, by class of the failure.";

impl SinkMeters {
    /// The state of a sink.
    pub(crate) fn of(&self, kind: SinkKind) -> Arc<SinkState> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = known.iter().find(|state| state.kind == kind) {
            return Arc::clone(state);
        }
        let state = Arc::new(SinkState::new(kind));
        known.push(Arc::clone(&state));
        known.sort_by_key(|state| state.kind);
        state
    }

    /// Everything, in Prometheus' text form; nothing where there was never a sink.
    pub(crate) fn render(&self, text: &mut String) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, kind, help, read) in METRICS.iter().filter(|_| !known.is_empty()) {
            let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for state in known.iter() {
                let _infallible = writeln!(text, "{name}{{sink=\"{}\"}} {}", state.kind.label(), read(state));
            }
            text.push('\n');
        }
        if known.is_empty() {
            return;
        }
        let _infallible = writeln!(text, "# HELP {RETRIES} {ABOUT_RETRIES}\n# TYPE {RETRIES} counter");
        for state in known.iter() {
            for (class, counter) in Class::ALL.iter().zip(&state.failures) {
                let (sink, class) = (state.kind.label(), class.label());
                let count = counter.load(Ordering::Relaxed);
                let _infallible = writeln!(text, "{RETRIES}{{sink=\"{sink}\",class=\"{class}\"}} {count}");
            }
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_counts_what_waits_what_went_and_what_failed() {
        let (meters, mut text) = (SinkMeters::default(), String::new());
        meters.render(&mut text);
        assert_eq!(text, "");
        let state = meters.of(SinkKind::Otlp);
        state.tip(9);
        assert!(state.failed(Class::Busy) && !state.failed(Class::Busy));
        state.delivered(4);
        state.reached(4);
        meters.of(SinkKind::Otlp).failed(Class::Tls);
        meters.render(&mut text);
        for line in [
            "pgwarden_sink_behind_records{sink=\"otlp\"} 5\n",
            "pgwarden_sink_failing{sink=\"otlp\"} 1\n",
            "pgwarden_sink_records_total{sink=\"otlp\"} 4\n",
            "pgwarden_sink_retries_total{sink=\"otlp\",class=\"busy\"} 2\n",
            "pgwarden_sink_retries_total{sink=\"otlp\",class=\"tls\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        let report = state.report();
        assert_eq!((report.state.as_str(), report.behind, report.retries), ("failing", 5, 3));
        assert_eq!(report.last_failure.as_deref(), Some("tls"));
    }
}
