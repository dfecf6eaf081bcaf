//! What is counted about the connections themselves: TLS on both sides, and backends from their opening to their end.

use super::family::{Family, Registry};
use super::labels::{CloseReason, ConnectFailure, ConnectOutcome, HandshakeOutcome, Side};
use metrics::{Counter, Gauge};

/// Handles for TLS and backends.
pub(super) struct Connections {
    pub(super) tls_handshakes: Family<(Side, HandshakeOutcome), Counter>,
    pub(super) backends: Gauge,
    pub(super) backend_connects: Family<ConnectOutcome, Counter>,
    pub(super) backend_connect_failures: Family<ConnectFailure, Counter>,
    pub(super) backends_closed: Family<CloseReason, Counter>,
}

impl Connections {
    /// Registers and describes them.
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            tls_handshakes: r.counter_pairs(
                "pgwarden_tls_handshakes_total",
                ("side", "outcome"),
                "TLS handshakes that ended, by the side they were with and how they ended.",
            ),
            backends: r.gauge("pgwarden_backends", "Connections to the server that are open now."),
            backend_connects: r.counters(
                "pgwarden_backend_connects_total",
                "outcome",
                "Attempts to open a connection to the server, by how they ended.",
            ),
            backend_connect_failures: r.counters(
                "pgwarden_backend_connect_failures_total",
                "cause",
                "Attempts to open a connection to the server that failed, by cause.",
            ),
            backends_closed: r.counters(
                "pgwarden_backends_closed_total",
                "reason",
                "Connections to the server that were closed, by reason.",
            ),
        }
    }
}
