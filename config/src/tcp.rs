//! How dead peers are noticed on TCP connections.

use std::time::Duration;

use crate::reader::Reader;
use crate::units;

const IDLE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_secs(10);
const COUNT: u32 = 6;
const SECOND: Duration = Duration::from_secs(1);
/// What Linux takes at most (`MAX_TCP_KEEPIDLE`, `MAX_TCP_KEEPINTVL`).
const LONGEST: Duration = Duration::from_secs(32_767);

/// How dead peers are noticed, clients as well as the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp {
    /// Whether silent peers are asked if they are still there (`SO_KEEPALIVE`).
    pub keepalive: Option<Keepalive>,
    /// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`); as the system has it if not said.
    pub user_timeout: Option<Duration>,
}

/// When a silent peer is asked, and when it counts as dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// After so much silence, in whole seconds (`TCP_KEEPIDLE`).
    pub idle: Duration,
    /// So often, in whole seconds (`TCP_KEEPINTVL`).
    pub interval: Duration,
    /// So many times without an answer (`TCP_KEEPCNT`).
    pub count: u32,
}

/// Reads `[tcp]`.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> Tcp {
    let idle = reader.parse("tcp.keepalive_idle", |text| match text {
        "off" => Ok(None),
        _ => units::duration(text, SECOND, LONGEST).map(Some),
    });
    let interval = reader.duration("tcp.keepalive_interval", SECOND, LONGEST).unwrap_or(INTERVAL);
    let count = reader.number("tcp.keepalive_count", 1..=127).unwrap_or(COUNT);
    let user_timeout = reader.parse("tcp.user_timeout", |text| match text {
        "off" => Ok(None),
        _ => units::duration(text, SECOND, LONGEST).map(Some),
    });
    let keepalive = idle.unwrap_or(Some(IDLE)).map(|idle| Keepalive { idle, interval, count });
    Tcp { keepalive, user_timeout: user_timeout.flatten() }
}
