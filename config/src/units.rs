//! Durations and sizes with their units.

use std::time::Duration;

use crate::mistake::Fault;

/// Milliseconds in each unit of time; the bare number means seconds.
const TIME: &[(&str, u64)] = &[
    ("", 1_000),
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Bytes in each unit of size; as in PostgreSQL, `kB` is 1024.
const SIZE: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("kB", 1 << 10),
    ("KiB", 1 << 10),
    ("MB", 1 << 20),
    ("MiB", 1 << 20),
    ("GB", 1 << 30),
    ("GiB", 1 << 30),
];

/// Reads a duration like `30`, `30s`, `500ms`, `5min`, within the bounds.
pub(crate) fn duration(text: &str, least: Duration, most: Duration) -> Result<Duration, Fault> {
    let expected = || format!("a duration from {} to {}, like 30s, 500ms or 5min", show(least), show(most));
    let milliseconds =
        scaled(text, TIME).ok_or_else(|| Fault::new(format!("{text:?} is not a duration"), expected()))?;
    let duration = Duration::from_millis(milliseconds);
    if duration < least || duration > most {
        return Err(Fault::new(format!("{text:?} is out of range"), expected()));
    }
    Ok(duration)
}

/// Reads a size like `8192`, `64KiB`, `16MiB`, within the bounds.
pub(crate) fn size(text: &str, least: u64, most: u64) -> Result<usize, Fault> {
    let expected = || format!("a size from {least} to {most} bytes, like 8192 or 16MiB");
    let bytes =
        scaled(text, SIZE).ok_or_else(|| Fault::new(format!("{text:?} is not a size"), expected()))?;
    let fits = usize::try_from(bytes).ok().filter(|_| bytes >= least && bytes <= most);
    fits.ok_or_else(|| Fault::new(format!("{text:?} is out of range"), expected()))
}

/// A duration in the shortest form that [`duration`] reads back.
pub(crate) fn show(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

/// A whole number times the unit behind it; nothing if it is not that, or overflows.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}
