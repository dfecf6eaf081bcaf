//! What is counted by service. The values of the label are names of the configuration, which holds a handful.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the sessions of one service did since pgwarden was started.
#[derive(Debug, Default)]
pub(crate) struct ServiceCounts {
    /// Sessions there are now.
    pub(crate) open: AtomicUsize,
    /// Sessions that began.
    pub(crate) sessions: AtomicU64,
    /// Transactions that ended.
    pub(crate) transactions: AtomicU64,
    /// Commands that were completed.
    pub(crate) statements: AtomicU64,
    /// Commands that failed.
    pub(crate) errors: AtomicU64,
}

/// The counts of every service that was ever configured; a reload takes none away, because counters never go back.
#[derive(Debug, Default)]
pub(crate) struct ServiceMeters(Mutex<BTreeMap<String, Arc<ServiceCounts>>>);

type Read = fn(&ServiceCounts) -> u64;

/// Name, type, help, and where the value is.
const METRICS: &[(&str, &str, &str, Read)] = &[
    ("pgwarden_service_sessions", "gauge", "Sessions of a service now.", |counts| {
        u64::try_from(counts.open.load(Ordering::Relaxed)).unwrap_or(u64::MAX)
    }),
    ("pgwarden_service_sessions_total", "counter", "Sessions of a service that began.", |counts| {
        counts.sessions.load(Ordering::Relaxed)
    }),
    ("pgwarden_service_transactions_total", "counter", "Transactions of a service that ended.", |counts| {
        counts.transactions.load(Ordering::Relaxed)
    }),
    (
        "pgwarden_service_statements_total",
        "counter",
        "Commands of a service that were completed.",
        |counts| counts.statements.load(Ordering::Relaxed),
    ),
    ("pgwarden_service_errors_total", "counter", "Commands of a service that failed.", |counts| {
        counts.errors.load(Ordering::Relaxed)
    }),
];

impl ServiceMeters {
    /// The counts of a service.
    pub(crate) fn of(&self, service: &str) -> Arc<ServiceCounts> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(service.to_owned()).or_default())
    }

    /// Everything, in Prometheus' text form; nothing where there was never a service.
    pub(crate) fn render(&self, text: &mut String) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, kind, help, read) in METRICS.iter().filter(|_| !known.is_empty()) {
            let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (service, counts) in known.iter() {
                // A service's name has nothing that would have to be escaped.
                let _infallible = writeln!(text, "{name}{{service=\"{service}\"}} {}", read(counts));
            }
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_a_line_of_each_metric() {
        let (meters, mut text) = (ServiceMeters::default(), String::new());
        meters.render(&mut text);
        assert_eq!(text, "");
        meters.of("jobs").statements.fetch_add(2, Ordering::Relaxed);
        meters.of("audit");
        meters.render(&mut text);
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("statements_total{")).collect();
        let name = "pgwarden_service_statements_total";
        assert_eq!(
            lines,
            [format!("{name}{{service=\"audit\"}} 0"), format!("{name}{{service=\"jobs\"}} 2")]
        );
    }
}
