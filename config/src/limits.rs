//! What is too much, too many or too late.

use std::time::Duration;

use crate::mistake::Fault;
use crate::reader::Reader;

/// The longest message that PostgreSQL takes (`PQ_LARGE_MESSAGE_LIMIT`).
const MESSAGE_BYTES: usize = 0x3fff_ffff;
const QUERY_BYTES: usize = 64 * 1024 * 1024;
/// The longest password message that PostgreSQL takes (`PG_MAX_AUTH_TOKEN_LENGTH`), and with it the longest token.
const TOKEN_BYTES: usize = 65_535;
const MAX_CLIENTS: usize = 10_000;
const PREPARED_STATEMENTS: usize = 10_000;
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const LOGIN_FAILURES: u32 = 10;
const LOGIN_DELAY: Duration = Duration::from_millis(100);
const LOGIN_DELAY_MAX: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// What is too much, too many or too late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest message that passes, in bytes.
    pub message_bytes: usize,
    /// The longest message that has to be held whole (statements), in bytes.
    pub query_bytes: usize,
    /// The longest password or token in clear text, in bytes; at most 65,535, as in PostgreSQL.
    pub token_bytes: usize,
    /// The most clients at once.
    pub max_clients: usize,
    /// The most clients at once that are logged in under one name.
    pub max_clients_per_user: Option<usize>,
    /// The most statements that one client may have prepared by name at once.
    pub prepared_statements: usize,
    /// How long a client may be idle outside of a transaction.
    pub client_idle_timeout: Option<Duration>,
    /// How long a client may be idle inside of a transaction.
    pub idle_in_transaction_timeout: Option<Duration>,
    /// How long a statement may run before it is cancelled.
    pub statement_timeout: Option<Duration>,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// How many failed logins of one address, and of one user, cost nothing.
    pub login_failures: u32,
    /// How long the next attempt behind those waits; twice as long with each further failure. Zero: no delays.
    pub login_delay: Duration,
    /// How long it waits at most.
    pub login_delay_max: Duration,
    /// How long running transactions may take to finish when pgwarden stops.
    pub drain_timeout: Duration,
}

impl Limits {
    /// The longest startup packet, in bytes (`MAX_STARTUP_PACKET_LENGTH` in PostgreSQL).
    pub const STARTUP_BYTES: usize = 10_000;
}

/// Reads `[limits]`.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> Limits {
    let second = Duration::from_secs(1);
    let message_bytes = reader.size("limits.message_bytes", 1_024..=0x3fff_ffff).unwrap_or(MESSAGE_BYTES);
    let login_delay = reader.duration("limits.login_delay", Duration::ZERO, DAY).unwrap_or(LOGIN_DELAY);
    let login_delay_max = reader
        .duration("limits.login_delay_max", Duration::ZERO, DAY)
        .unwrap_or(LOGIN_DELAY_MAX.max(login_delay));
    if login_delay_max < login_delay {
        let fault = Fault::new("is shorter than limits.login_delay", "the longest delay, not the first");
        reader.wrong("limits.login_delay_max", fault);
    }
    Limits {
        message_bytes,
        query_bytes: reader.size("limits.query_bytes", 1_024..=0x3fff_ffff).unwrap_or(QUERY_BYTES),
        token_bytes: reader.size("limits.token_bytes", 64..=65_535).unwrap_or(TOKEN_BYTES),
        max_clients: reader.number("limits.max_clients", 1..=1_000_000).unwrap_or(MAX_CLIENTS),
        max_clients_per_user: reader.number("limits.max_clients_per_user", 1..=1_000_000),
        prepared_statements: reader
            .number("limits.prepared_statements", 1..=1_000_000)
            .unwrap_or(PREPARED_STATEMENTS),
        client_idle_timeout: reader.duration("limits.client_idle_timeout", second, WEEK),
        idle_in_transaction_timeout: reader.duration("limits.idle_in_transaction_timeout", second, WEEK),
        statement_timeout: reader.duration("limits.statement_timeout", second, WEEK),
        login_timeout: reader.duration("limits.login_timeout", second, DAY).unwrap_or(LOGIN_TIMEOUT),
        login_failures: reader.number("limits.login_failures", 0..=1_000_000).unwrap_or(LOGIN_FAILURES),
        login_delay,
        login_delay_max,
        drain_timeout: reader.duration("limits.drain_timeout", Duration::ZERO, DAY).unwrap_or(DRAIN_TIMEOUT),
    }
}
