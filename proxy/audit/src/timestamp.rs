//! Points in time, to the microsecond, as records write them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Microseconds since the beginning of 1970, UTC; written like `2030-01-31T23:59:59.000001Z`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// The text is no point in time as records write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a time has the form 2030-01-31T23:59:59.000001Z")]
pub struct NotATimestamp;

impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (day, rest) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        let (year, month, day) = civil(day);
        let (seconds, micros) = (rest / SECOND, rest % SECOND);
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        let shape = b"0000-00-00T00:00:00.000000Z";
        let fits =
            |(byte, form): (u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == *form };
        if text.len() != shape.len() || !text.bytes().zip(shape).all(fits) {
            return Err(NotATimestamp);
        }
        let part = |from: usize, to: usize| text.get(from..to).and_then(|part| part.parse::<i64>().ok());
        let read = || {
            let day = days(part(0, 4)?, part(5, 7)?, part(8, 10)?);
            let seconds = part(11, 13)? * 3_600 + part(14, 16)? * 60 + part(17, 19)?;
            Some(Self(day * DAY + seconds * SECOND + part(20, 26)?))
        };
        // There is one way to write each.
        read().filter(|read| read.to_string() == text).ok_or(NotATimestamp)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years begin in March here, so that the day that is there
/// every four years is the last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let (era, in_era) = (year.div_euclid(400), year.rem_euclid(400));
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468
}

/// The year, the month and the day of a day since 1970-01-01.
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, in_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let in_month = in_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, in_month)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_is_written_as_rfc_3339_says() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(Timestamp(951_782_400_000_001).to_string(), "2000-02-29T00:00:00.000001Z");
        assert_eq!(Timestamp(1_735_689_599_999_999).to_string(), "2024-12-31T23:59:59.999999Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "2030-01-31T23:59:59Z", "2030-02-30T00:00:00.000000Z", "2030-01-31T24:00:00.000000Z"]
        {
            assert_eq!(text.parse::<Timestamp>(), Err(NotATimestamp), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_time_reads_back_as_it_was(micros in 0_i64..253_402_300_800_000_000) {
            prop_assert_eq!(Timestamp(micros).to_string().parse(), Ok(Timestamp(micros)));
        }
    }
}
