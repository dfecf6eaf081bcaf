//! The time, asked once per wake-up and handed to everything that is pure.

use pgwarden_audit::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Seconds since 1970, for what has a date: tokens.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// The time to the microsecond, for records.
pub(crate) fn timestamp() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
}

/// Seconds since somebody asked first, for ages: a clock that is put forward or back changes nothing.
pub(crate) fn uptime() -> u64 {
    START.elapsed().as_secs()
}

/// Microseconds since the machine has started, those included in which it was suspended: to follow another machine's
/// clock with.
pub(crate) fn micros() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000)
}
