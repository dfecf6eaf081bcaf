//! Points in time: written with a date, meant as seconds since 1970.

use std::fmt;

use toml::value::{Date, Datetime, Offset, Time};

use crate::mistake::Fault;

const DAY: i64 = 86_400;

/// A point in time, in whole seconds since the beginning of 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// Reads a date with a time and an offset, like `2030-01-31T23:59:59Z` or `2030-02-01 00:59:59+01:00`.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        const EXPECTED: &str = "a date with a time and an offset, like 2030-01-31T23:59:59Z";
        let wrong = |problem: &str| Fault::new(format!("{text:?} {problem}"), EXPECTED);
        let read: Datetime = text.parse().map_err(|_| wrong("is no point in time"))?;
        let (Some(date), Some(time)) = (read.date, read.time) else {
            return Err(wrong("is only a part of a point in time"));
        };
        let minutes = match read.offset {
            Some(Offset::Z) => 0,
            Some(Offset::Custom { minutes }) => i64::from(minutes),
            None => return Err(wrong("has no offset")),
        };
        let seconds = days(&date) * DAY + of_day(&time) - minutes * 60;
        u64::try_from(seconds).map(Self).map_err(|_| wrong("is before 1970"))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (day, second) = (self.0 / DAY.unsigned_abs(), self.0 % DAY.unsigned_abs());
        let (year, month, day) = civil(day);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

fn of_day(time: &Time) -> i64 {
    i64::from(time.hour) * 3_600 + i64::from(time.minute) * 60 + i64::from(time.second.unwrap_or_default())
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years begin in March here, so that the day that is there
/// every four years is the last one.
fn days(date: &Date) -> i64 {
    let (year, month, day) = (i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let year = if month > 2 { year } else { year - 1 };
    let (era, in_era) = (year.div_euclid(400), year.rem_euclid(400));
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468
}

/// The year, the month and the day of a day since 1970-01-01.
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, in_era) = (day / 146_097, day % 146_097);
    let year = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let in_month = in_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, in_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_counted_from_1970() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:30:15Z", 951_827_415),
            ("2000-03-01 00:00:00+02:00", 951_861_600),
            ("2026-12-31T23:59:59.5-01:00", 1_798_765_199),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(Moment::parse(text), Ok(Moment(seconds)), "{text}");
        }
    }

    #[test]
    fn every_day_is_shown_as_it_is_read() {
        for day in 0..80_000_u64 {
            let moment = Moment(day * 86_400 + day % 86_400);
            assert_eq!(Moment::parse(&moment.to_string()), Ok(moment), "{moment}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in ["", "tomorrow", "2030-01-31", "12:00:00", "2030-01-31T12:00:00", "2030-13-01T00:00:00Z"]
        {
            assert!(Moment::parse(text).is_err(), "{text}");
        }
        assert!(Moment::parse("1969-12-31T23:59:59Z").is_err());
    }
}
