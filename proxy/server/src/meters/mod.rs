//! What is counted, and how it is read.
//!
//! Every handle is registered when [`Meters`] is made: counting is an atomic addition, and a metric that never moved
//! is rendered as 0. Gauges go up by taking a guard and down by dropping it, whatever way the task ends. Labels are
//! enums (`labels`); there is nothing about tenants, users or statements.

mod connections;
mod family;
mod histogram;
mod identities;
mod labels;
mod logins;
mod services;
mod shadow;
mod sqlstate;
#[cfg(test)]
mod tests;
mod timings;
mod trail;

use crate::sinks::SinkMeters;
use std::fmt;
use std::sync::Arc;
#[cfg(test)]
use std::time::Duration;

use metrics::{Counter, Gauge, Unit};
use metrics_exporter_prometheus::PrometheusHandle;
use pgwarden_session::{Activity, Pin};
use pgwarden_tenant::{Mode, Offence};

use self::connections::Connections;
use self::family::{Family, Registry};
use self::identities::IdentityMeters;
pub(crate) use self::labels::{
    CancelOutcome, ChangeKind, CloseReason, ConnectFailure, ConnectOutcome, HandshakeOutcome,
    IdentityOutcome, InjectionForm, Label, LoginOutcome, ReloadOutcome, SecretLookup, Side,
};
use self::logins::Logins;
pub(crate) use self::services::{ServiceCounts, ServiceMeters};
use self::shadow::ShadowMeters;
use self::sqlstate::ErrorClass;
use self::timings::Timings;
use self::trail::TrailMeters;

/// One more of what a gauge shows, until it is dropped.
#[derive(Debug)]
#[must_use = "the gauge goes down when this is dropped"]
pub(crate) struct GaugeGuard(Gauge);

impl GaugeGuard {
    fn new(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// A client that is connected.
pub(crate) type ClientGuard = GaugeGuard;

/// A connection to the server that is open.
pub(crate) type BackendGuard = GaugeGuard;

/// A client that waits for a backend.
pub(crate) type WaitGuard = GaugeGuard;

/// A client that keeps its backend.
pub(crate) type PinGuard = GaugeGuard;

/// Every metric of the process; made once and shared.
pub(crate) struct Meters {
    rendered: PrometheusHandle,
    connections: Connections,
    clients: Gauge,
    logins: Logins,
    transactions: Counter,
    frontend_bytes: Counter,
    backend_bytes: Counter,
    injections: Family<InjectionForm, Counter>,
    refusals: Counter,
    findings: Family<(Offence, Mode), Counter>,
    /// What detectors find.
    pub(crate) shadow: ShadowMeters,
    checkouts: Counter,
    waiting_clients: Gauge,
    pinned_clients: Family<Pin, Gauge>,
    pins: Family<Pin, Counter>,
    cancels: Family<CancelOutcome, Counter>,
    desyncs: Counter,
    reloads: Family<ReloadOutcome, Counter>,
    errors: Family<ErrorClass, Counter>,
    /// Contexts that are looked up.
    pub(crate) identities: IdentityMeters,
    /// How long things take.
    pub(crate) timings: Timings,
    /// What is recorded.
    pub(crate) trail: TrailMeters,
    /// What services do.
    pub(crate) services: Arc<ServiceMeters>,
    /// What sinks of the audit trail do.
    pub(crate) sinks: SinkMeters,
}

impl Meters {
    /// Registers and describes every metric.
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        let bytes = Some(Unit::Bytes);
        r.info(
            "pgwarden_build_info",
            ("version", env!("CARGO_PKG_VERSION")),
            "The running version; always 1.",
        );
        Self {
            rendered: r.handle(),
            connections: Connections::new(r),
            clients: r.gauge("pgwarden_clients", "Clients connected now, those logging in included."),
            logins: Logins::new(r),
            transactions: r.counter("pgwarden_transactions_total", None, "Transactions that ended."),
            frontend_bytes: r.counter("pgwarden_frontend_bytes_total", bytes, "Bytes received from clients."),
            backend_bytes: r.counter("pgwarden_backend_bytes_total", bytes, "Bytes received from servers."),
            injections: r.counters("pgwarden_injections_total", "form", "Contexts injected, by how."),
            refusals: r.counter("pgwarden_refusals_total", None, "Statements that pgwarden refused."),
            findings: r.counter_pairs(
                "pgwarden_findings_total",
                ("kind", "mode"),
                "Findings, by kind and mode.",
            ),
            shadow: ShadowMeters::new(r),
            checkouts: r.counter("pgwarden_checkouts_total", None, "Backends lent to clients."),
            waiting_clients: r.gauge("pgwarden_waiting_clients", "Clients that wait for a backend now."),
            pinned_clients: r.gauges(
                "pgwarden_pinned_clients",
                "reason",
                "Clients that keep their backend between transactions now, by reason.",
            ),
            pins: r.counters("pgwarden_pins_total", "reason", "Pins of a client to its backend, by reason."),
            cancels: r.counters(
                "pgwarden_cancels_total",
                "outcome",
                "Cancel requests, by what became of them.",
            ),
            desyncs: r.counter("pgwarden_desyncs_total", None, "Unexpected replies of the server."),
            reloads: r.counters("pgwarden_reloads_total", "outcome", "Reloads of the configuration."),
            errors: r.counters(
                "pgwarden_errors_total",
                "class",
                "Errors that clients were told, the server's and pgwarden's own, by class of SQLSTATE.",
            ),
            identities: IdentityMeters::new(r),
            timings: Timings::default(),
            trail: TrailMeters::new(r),
            services: Arc::default(),
            sinks: SinkMeters::default(),
        }
    }

    /// A client is connected, until the guard is dropped.
    pub(crate) fn client(&self) -> ClientGuard {
        GaugeGuard::new(&self.clients)
    }

    /// A login ended.
    pub(crate) fn login(&self, outcome: LoginOutcome) {
        self.logins.outcomes.count(outcome);
    }

    /// A TLS handshake ended.
    pub(crate) fn tls_handshake(&self, side: Side, outcome: HandshakeOutcome) {
        self.connections.tls_handshakes.count((side, outcome));
    }

    /// A login has to wait, or to come again, because others failed before.
    pub(crate) fn login_delayed(&self) {
        self.logins.delayed.increment(1);
    }

    /// The server was asked for the secret of a user.
    pub(crate) fn secret_looked_up(&self, outcome: SecretLookup) {
        self.logins.lookups.count(outcome);
    }

    /// A transaction ended.
    pub(crate) fn transaction(&self) {
        self.transactions.increment(1);
    }

    /// So many bytes came from a client.
    pub(crate) fn frontend_bytes(&self, count: usize) {
        self.frontend_bytes.increment(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// So many bytes came from the server.
    pub(crate) fn backend_bytes(&self, count: usize) {
        self.backend_bytes.increment(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// A session did this since it last told.
    pub(crate) fn activity(&self, activity: Activity) {
        let forms = [
            (InjectionForm::Front, activity.front),
            (InjectionForm::Text, activity.text),
            (InjectionForm::Session, activity.session),
        ];
        for (form, count) in forms.into_iter().filter(|(_, count)| *count > 0) {
            if let Some(counter) = self.injections.of(form) {
                counter.increment(u64::from(count));
            }
        }
        if activity.refused > 0 {
            self.refusals.increment(u64::from(activity.refused));
        }
    }

    /// A connection to the server is open, until the guard is dropped.
    pub(crate) fn backend(&self) -> BackendGuard {
        GaugeGuard::new(&self.connections.backends)
    }

    /// An attempt to open a connection to the server ended.
    pub(crate) fn backend_connect(&self, outcome: ConnectOutcome) {
        self.connections.backend_connects.count(outcome);
    }

    /// An attempt to open a connection to the server failed.
    pub(crate) fn backend_connect_failed(&self, cause: ConnectFailure) {
        self.connections.backend_connects.count(ConnectOutcome::Failed);
        self.connections.backend_connect_failures.count(cause);
    }

    /// A connection to the server was closed.
    pub(crate) fn backend_closed(&self, reason: CloseReason) {
        self.connections.backends_closed.count(reason);
    }

    /// A client got a backend.
    pub(crate) fn checkout(&self) {
        self.checkouts.increment(1);
    }

    /// A client waits for a backend, until the guard is dropped.
    pub(crate) fn waiting(&self) -> WaitGuard {
        GaugeGuard::new(&self.waiting_clients)
    }

    /// A client keeps its backend, until the guard is dropped.
    pub(crate) fn pin(&self, reason: Pin) -> Option<PinGuard> {
        self.pins.count(reason);
        self.pinned_clients.of(reason).map(GaugeGuard::new)
    }

    /// A CancelRequest was dealt with.
    pub(crate) fn cancel(&self, outcome: CancelOutcome) {
        self.cancels.count(outcome);
    }

    /// The server sent a reply that was not expected.
    pub(crate) fn desync(&self) {
        self.desyncs.increment(1);
    }

    /// The configuration was read again.
    pub(crate) fn reloaded(&self, outcome: ReloadOutcome) {
        self.reloads.count(outcome);
    }

    /// Clients were told errors of these classes of SQLSTATE; mostly there are none.
    pub(crate) fn errors(&self, classes: &[[u8; 2]]) {
        classes.iter().for_each(|class| self.errors.count(ErrorClass::of(*class)));
    }

    /// Everything, in Prometheus' text form (version 0.0.4).
    pub(crate) fn render(&self) -> String {
        let mut text = self.rendered.render();
        self.timings.render(&mut text);
        self.services.render(&mut text);
        self.sinks.render(&mut text);
        text
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Meters").finish_non_exhaustive()
    }
}

impl pgwarden_tenant::Observer for Meters {
    fn found(&self, offence: Offence, mode: Mode) {
        self.findings.count((offence, mode));
    }
}
