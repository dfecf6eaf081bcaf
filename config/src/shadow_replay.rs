//! How many queries are run again beside their application, and how long that may take.

use std::time::Duration;

use crate::effective::Page;
use crate::mistake::Fault;
use crate::reader::Reader;
use crate::units;
use crate::word::words;

const FIRST: u32 = 20;
const MILLION: u32 = 1_000_000;
const RATE: u32 = MILLION / 100;
const CONCURRENCY: usize = 2;
const QUEUE: usize = 100;
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_BYTES: usize = 64 * 1024;
const SLOWER: u32 = 200;
const SLOWER_BY: Duration = Duration::from_millis(50);

/// Whether queries are run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplayMode {
    /// Where policies are staged.
    On,
    /// Never.
    Off,
}

words!(ReplayMode { On = "on", Off = "off" });

/// How many queries are run again, and how long that may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowReplay {
    /// Whether any are.
    pub mode: ReplayMode,
    /// So many of each query and tenant, to begin with.
    pub first: u32,
    /// Then so many of a million.
    pub rate: u32,
    /// So many at a time, each on a connection of its own.
    pub concurrency: usize,
    /// So many may wait.
    pub queue: usize,
    /// How long each run may take.
    pub statement_timeout: Duration,
    /// The longest text and values that are kept for a replay, in bytes.
    pub max_bytes: usize,
    /// How many times as long makes a query slower, in hundredths.
    pub slower: u32,
    /// By how much, at least.
    pub slower_by: Duration,
}

impl ShadowReplay {
    /// As the file would say it.
    pub(crate) fn show(&self, page: &mut Page) {
        page.section("shadow.replay");
        page.text("mode", self.mode.as_str());
        page.bare("first", self.first);
        page.text("rate", &decimal(self.rate, MILLION));
        page.bare("concurrency", self.concurrency);
        page.bare("queue", self.queue);
        page.text("statement_timeout", &units::show(self.statement_timeout));
        page.bare("max_bytes", self.max_bytes);
        page.text("slower", &decimal(self.slower, 100));
        page.text("slower_by", &units::show(self.slower_by));
    }
}

/// Reads `[shadow.replay]`.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> ShadowReplay {
    let (least, most) = (Duration::from_millis(1), Duration::from_secs(3_600));
    ShadowReplay {
        mode: reader.word("shadow.replay.mode").unwrap_or(ReplayMode::On),
        first: reader.number("shadow.replay.first", 0..=1_000_000).unwrap_or(FIRST),
        rate: reader.parse("shadow.replay.rate", |text| parts(text, MILLION, 1)).unwrap_or(RATE),
        concurrency: reader.number("shadow.replay.concurrency", 1..=100).unwrap_or(CONCURRENCY),
        queue: reader.number("shadow.replay.queue", 1..=100_000).unwrap_or(QUEUE),
        statement_timeout: reader
            .duration("shadow.replay.statement_timeout", least, most)
            .unwrap_or(STATEMENT_TIMEOUT),
        max_bytes: reader.size("shadow.replay.max_bytes", 1..=(64 << 20)).unwrap_or(MAX_BYTES),
        slower: reader.parse("shadow.replay.slower", |text| parts(text, 100, 1_000)).unwrap_or(SLOWER),
        slower_by: reader.duration("shadow.replay.slower_by", least, most).unwrap_or(SLOWER_BY),
    }
}

/// A decimal number from 0 to `most`, in parts of `whole` (a power of ten).
fn parts(text: &str, whole: u32, most: u32) -> Result<u32, Fault> {
    let wrong =
        || Fault::new(format!("{text:?} is not known"), format!("a number from 0 to {most}, like 0.5"));
    let (integer, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = usize::try_from(whole.ilog10()).map_err(|_| wrong())?;
    let is_number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    if !is_number(integer) || !is_number(fraction) || fraction.len() > digits {
        return Err(wrong());
    }
    let integer: u32 = integer.parse().map_err(|_| wrong())?;
    let fraction: u32 = format!("{fraction:0<digits$}").parse().map_err(|_| wrong())?;
    let value = integer.checked_mul(whole).and_then(|value| value.checked_add(fraction)).ok_or_else(wrong)?;
    if u64::from(value) > u64::from(most) * u64::from(whole) { Err(wrong()) } else { Ok(value) }
}

/// In the form that [`parts`] reads back.
fn decimal(value: u32, whole: u32) -> String {
    let digits = usize::try_from(whole.ilog10()).unwrap_or_default();
    let text = format!("{}.{:0digits$}", value / whole, value % whole);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_shown() {
        for (text, value, shown) in
            [("0.01", 10_000, "0.01"), ("1", MILLION, "1"), ("0", 0, "0"), ("0.50", 500_000, "0.5")]
        {
            assert_eq!(parts(text, MILLION, 1).ok(), Some(value), "{text}");
            assert_eq!(decimal(value, MILLION), shown);
        }
        for text in ["1.1", "-1", "", ".5", "1.", "0.0000001", "x", "5000000000"] {
            assert!(parts(text, MILLION, 1).is_err(), "{text}");
        }
    }
}
