//! How long things take: a histogram each.

use super::histogram::{Histogram, STEPS, WAITS};

/// Every histogram of the process.
#[derive(Debug)]
pub(crate) struct Timings {
    /// From a client's connection to the end of its login.
    pub(crate) login: Histogram,
    /// A TLS handshake with a client that succeeded.
    pub(crate) tls_handshake: Histogram,
    /// Opening a connection to the server, login included.
    pub(crate) backend_connect: Histogram,
    /// Waiting for a backend.
    pub(crate) checkout_wait: Histogram,
    /// Finding out whom evidence stands for.
    pub(crate) identity_lookup: Histogram,
    /// From a client's bytes to their being written to the server; one wake-up in some is measured.
    pub(crate) from_client: Histogram,
    /// From the server's bytes to their being written to the client; likewise.
    pub(crate) from_server: Histogram,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            login: Histogram::new(
                "pgwarden_login_duration_seconds",
                "Time from a client's connection to the end of its login, however it ended.",
                WAITS,
            ),
            tls_handshake: Histogram::new(
                "pgwarden_tls_handshake_duration_seconds",
                "Time that TLS handshakes with clients took; those that failed are not in it.",
                WAITS,
            ),
            backend_connect: Histogram::new(
                "pgwarden_backend_connect_duration_seconds",
                "Time to open a connection to the server, its login included, whether it worked or not.",
                WAITS,
            ),
            checkout_wait: Histogram::new(
                "pgwarden_checkout_wait_seconds",
                "Time clients waited for a backend, whether they got one or gave up; those served at once are not in it.",
                WAITS,
            ),
            identity_lookup: Histogram::new(
                "pgwarden_identity_lookup_duration_seconds",
                "Time to find out whom evidence stands for, all queries and signatures included.",
                WAITS,
            ),
            from_client: Histogram::new(
                "pgwarden_frontend_overhead_seconds",
                "Time from having read a client's bytes to having written what goes to the server; a sample.",
                STEPS,
            ),
            from_server: Histogram::new(
                "pgwarden_backend_overhead_seconds",
                "Time from having read the server's bytes to having written what goes to the client; a sample.",
                STEPS,
            ),
        }
    }
}

impl Timings {
    /// All of them, in Prometheus' text form.
    pub(super) fn render(&self, text: &mut String) {
        let Self {
            login,
            tls_handshake,
            backend_connect,
            checkout_wait,
            identity_lookup,
            from_client,
            from_server,
        } = self;
        for histogram in
            [login, tls_handshake, backend_connect, checkout_wait, identity_lookup, from_client, from_server]
        {
            histogram.render(text);
        }
    }
}
