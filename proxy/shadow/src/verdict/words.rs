//! Counts, shares and lengths of time in words.

use std::time::Duration;

/// So many of something.
pub(super) fn several(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// A part of a whole.
pub(super) fn millionths(part: u64, whole: u64) -> u64 {
    u128::from(part)
        .saturating_mul(1_000_000)
        .checked_div(u128::from(whole))
        .map_or(0, |share| u64::try_from(share).unwrap_or(u64::MAX))
}

/// Millionths as a share of a hundred: `2.1 %`. What is not nothing is never shown as nothing.
#[must_use]
pub fn percent(millionths: u64) -> String {
    match millionths {
        0 => "0 %".to_owned(),
        small @ 1..1_000 => format!("0.{} %", format!("{small:04}").trim_end_matches('0')),
        more => format!("{}.{} %", more / 10_000, more / 1_000 % 10),
    }
}

/// A length of time in its two largest units.
#[must_use]
pub fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let Some(at) = units.iter().position(|(unit, _)| seconds >= *unit) else { return "0 seconds".to_owned() };
    let mut rest = seconds;
    let parts = units.iter().skip(at).take(2).filter_map(|(unit, name)| {
        let count = rest.checked_div(*unit).unwrap_or(0);
        rest -= count * unit;
        (count > 0).then(|| several(count, name))
    });
    parts.collect::<Vec<_>>().join(" ")
}
