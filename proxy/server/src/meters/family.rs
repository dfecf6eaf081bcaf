//! Counters and gauges with one handle for each label value, registered in advance.

use metrics::{Counter, Gauge, Key, Label as MetricLabel, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::labels::Label;

const METADATA: Metadata<'static> = Metadata::new(module_path!(), metrics::Level::INFO, None);

/// A handle for each value of a label.
pub(crate) struct Family<L, H>(Box<[(L, H)]>);

impl<L: Copy + Eq, H> Family<L, H> {
    /// The handle of `value`; there are a handful, so they are looked through.
    pub(crate) fn of(&self, value: L) -> Option<&H> {
        self.0.iter().find(|(label, _)| *label == value).map(|(_, handle)| handle)
    }
}

impl<L: Copy + Eq> Family<L, Counter> {
    /// Counts one of `value`.
    pub(crate) fn count(&self, value: L) {
        if let Some(counter) = self.of(value) {
            counter.increment(1);
        }
    }
}

/// Hands out handles of a recorder that is pgwarden's own, not the process's.
pub(crate) struct Registry(PrometheusRecorder);

impl Registry {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(PrometheusBuilder::new().build_recorder())
    }

    /// What renders everything that was registered.
    pub(crate) fn handle(&self) -> PrometheusHandle {
        self.0.handle()
    }

    /// A counter without labels.
    pub(crate) fn counter(&self, name: &'static str, unit: Option<Unit>, about: &'static str) -> Counter {
        self.0.describe_counter(name.into(), unit, about.into());
        self.0.register_counter(&Key::from_static_name(name), &METADATA)
    }

    /// A gauge without labels.
    pub(crate) fn gauge(&self, name: &'static str, about: &'static str) -> Gauge {
        self.0.describe_gauge(name.into(), None, about.into());
        self.0.register_gauge(&Key::from_static_name(name), &METADATA)
    }

    /// A gauge that says something by its label alone: its value is 1.
    pub(crate) fn info(&self, name: &'static str, label: (&'static str, &'static str), about: &'static str) {
        self.0.describe_gauge(name.into(), None, about.into());
        let key = Key::from_parts(name, vec![MetricLabel::new(label.0, label.1)]);
        self.0.register_gauge(&key, &METADATA).set(1.0);
    }

    /// A counter for each value of the label `label`.
    pub(crate) fn counters<L: Label>(
        &self,
        name: &'static str,
        label: &'static str,
        about: &'static str,
    ) -> Family<L, Counter> {
        self.0.describe_counter(name.into(), None, about.into());
        let register = |value: &L| {
            let key = Key::from_parts(name, vec![MetricLabel::new(label, value.label())]);
            (*value, self.0.register_counter(&key, &METADATA))
        };
        Family(L::ALL.iter().map(register).collect())
    }

    /// A counter for each pair of values of two labels.
    pub(crate) fn counter_pairs<A: Label, B: Label>(
        &self,
        name: &'static str,
        labels: (&'static str, &'static str),
        about: &'static str,
    ) -> Family<(A, B), Counter> {
        self.0.describe_counter(name.into(), None, about.into());
        let pairs = A::ALL.iter().flat_map(|a| B::ALL.iter().map(move |b| (*a, *b)));
        let register = |(a, b): (A, B)| {
            let both = vec![MetricLabel::new(labels.0, a.label()), MetricLabel::new(labels.1, b.label())];
            ((a, b), self.0.register_counter(&Key::from_parts(name, both), &METADATA))
        };
        Family(pairs.map(register).collect())
    }

    /// A gauge for each value of the label `label`.
    pub(crate) fn gauges<L: Label>(
        &self,
        name: &'static str,
        label: &'static str,
        about: &'static str,
    ) -> Family<L, Gauge> {
        self.0.describe_gauge(name.into(), None, about.into());
        let register = |value: &L| {
            let key = Key::from_parts(name, vec![MetricLabel::new(label, value.label())]);
            (*value, self.0.register_gauge(&key, &METADATA))
        };
        Family(L::ALL.iter().map(register).collect())
    }
}
