//! What has to be there before a table is ready for its policies.

use crate::effective::Page;
use crate::mistake::Fault;
use crate::reader::Reader;

const MIN_DAYS: u32 = 7;
const MIN_REPLAYS: u32 = 3;
const MILLION: u32 = 1_000_000;

/// What has to be there before a table is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Days for which its statements were watched.
    pub min_days: u32,
    /// Executions of each statement that were compared; all of them where it ran less often.
    pub min_replays: u32,
    /// The share of executions, in millionths, that may be of statements that were not evaluated.
    pub max_uncovered: u32,
}

impl Report {
    /// As the file would say it.
    pub(crate) fn show(self, page: &mut Page) {
        page.section("report");
        page.bare("min_days", self.min_days);
        page.bare("min_replays", self.min_replays);
        page.text("max_uncovered", &written(self.max_uncovered));
    }
}

/// Reads `[report]`.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> Report {
    Report {
        min_days: reader.number("report.min_days", 0..=3_650).unwrap_or(MIN_DAYS),
        min_replays: reader.number("report.min_replays", 1..=1_000_000).unwrap_or(MIN_REPLAYS),
        max_uncovered: reader.parse("report.max_uncovered", share).unwrap_or(0),
    }
}

/// A share of a hundred, `0.5%`, in millionths.
fn share(text: &str) -> Result<u32, Fault> {
    let wrong = || Fault::new(format!("{text:?} is no share"), "a share from 0% to 100%, like 0.5%");
    let number = text.strip_suffix('%').map(str::trim_end).ok_or_else(wrong)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || whole.len() > 3 || fraction.len() > 4 {
        return Err(wrong());
    }
    let millionths: u32 = format!("{whole}{fraction:0<4}").parse().map_err(|_| wrong())?;
    if millionths > MILLION { Err(wrong()) } else { Ok(millionths) }
}

/// The share as it is written.
fn written(millionths: u32) -> String {
    let fraction = format!("{:04}", millionths % 10_000);
    match fraction.trim_end_matches('0') {
        "" => format!("{}%", millionths / 10_000),
        digits => format!("{}.{digits}%", millionths / 10_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_as_it_is_written() {
        for (text, millionths) in
            [("0%", 0), ("0.5%", 5_000), ("100%", MILLION), ("2.25%", 22_500), ("0.0001%", 1)]
        {
            assert_eq!(share(text).ok(), Some(millionths), "{text}");
            assert_eq!(written(millionths), text);
        }
        for text in ["", "5", "%", "101%", "-1%", "0.00001%", "1e2%", ".5%", "5 %%"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
