//! Points in time with microseconds, as records hold them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Microseconds since 1970 in UTC. Written, and read, as RFC 3339.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

impl Moment {
    /// So many seconds after the begin of 1970.
    #[must_use]
    pub fn of_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(SECOND))
    }

    /// So many microseconds after the begin of 1970.
    #[must_use]
    pub fn of_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Reads RFC 3339, `2026-11-21T18:40:41.123456Z`, with any offset; also a date alone, which means its begin. As
    /// PostgreSQL writes it, with a blank in the middle and `+00` behind, it is understood too.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some((date, time)) = text.split_once(['T', 't', ' ']) else { return Some(Self(day(text)?)) };
        let offset_at = time.find(['Z', 'z', '+', '-'])?;
        let (clock, offset) = time.split_at_checked(offset_at)?;
        Some(Self(day(date)?.checked_add(micros(clock)?)?.checked_sub(offset_micros(offset)?)?))
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(SECOND)
    }

    /// The begin of the span of this length, counted from 1970, in which it lies.
    #[must_use]
    pub fn floor(self, span: Duration) -> Self {
        let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX).max(1);
        Self(self.0.div_euclid(span).saturating_mul(span))
    }

    /// So much earlier.
    #[must_use]
    pub fn before(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX)))
    }

    /// So much later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// What has passed since an earlier moment; nothing since a later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.0.div_euclid(DAY));
        let rest = self.0.rem_euclid(DAY);
        let (second, fraction) = (rest / SECOND, rest % SECOND);
        let (hour, minute) = (second / 3_600, second / 60 % 60);
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{fraction:06}Z", second % 60)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no time in RFC 3339")))
    }
}

/// Microseconds from 1970 to the begin of a date.
fn day(text: &str) -> Option<i64> {
    let [year, month, day] = numbers(text, '-')?;
    let known = (1..=12).contains(&month) && (1..=31).contains(&day) && (0..=9999).contains(&year);
    let number = known.then(|| days(year, month, day))?;
    // The 31st of a short month is no date.
    (date(number) == (year, month, day)).then_some(number * DAY)
}

fn micros(clock: &str) -> Option<i64> {
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = numbers(whole, ':')?;
    let is_number = (1..=9).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let fraction: i64 = is_number.then(|| format!("{fraction:0<6.6}").parse().ok())??;
    let known = hour < 24 && minute < 60 && second <= 60;
    known.then_some(((hour * 60 + minute) * 60 + second) * SECOND + fraction)
}

/// `Z`, `+02:00`, `+0200` or `+02`.
fn offset_micros(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, digits) = text.split_at_checked(1)?;
    let digits = digits.replace(':', "");
    let is_number = matches!(digits.len(), 2 | 4) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: i64 = is_number.then(|| format!("{digits:0<4}").parse().ok())??;
    let minutes = number / 100 * 60 + number % 100;
    Some(minutes * 60 * SECOND * if sign == "-" { -1 } else { 1 })
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.splitn(3, separator).map(|part| {
        let is_number = (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { part.parse().ok() } else { None }
    });
    let mut next = || parts.next().flatten();
    Some([next()?, next()?, next()?])
}

/// Days since 1970-01-01 in the Gregorian calendar, by counting years from March on: the leap day comes last then.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 719_469
}

/// The date that so many days after 1970-01-01 is: the reverse of [`days`], by eras of 400 years.
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let (month, year) = if from_march < 10 { (from_march + 3, 0) } else { (from_march - 9, 1) };
    (year_of_era + era * 400 + year, month, of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read_in_every_form_that_records_and_servers_write() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
            ("2000-02-29T12:34:56.789Z", "2000-02-29T12:34:56.789000Z"),
            ("2026-11-21T18:40:41.123456Z", "2026-11-21T18:40:41.123456Z"),
            ("2026-11-21t20:40:41.123456789+02:00", "2026-11-21T18:40:41.123456Z"),
            ("2026-11-21 18:40:41.5+00", "2026-11-21T18:40:41.500000Z"),
            ("2026-11-21", "2026-11-21T00:00:00.000000Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
        ] {
            let read = Moment::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(read.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_time() {
        for text in [
            "",
            "soon",
            "2026-11-21T18:40:41",
            "2026-02-29",
            "2026-13-01",
            "2026-11-21T24:00:00Z",
            "2026-11-21T18:40:41.Z",
            "2026-11-21T18:40:41+2",
            "20261121",
            "-1-1-1",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(micros in -62_000_000_000_000_000_i64..250_000_000_000_000_000) {
            let moment = Moment(micros);
            prop_assert_eq!(Moment::parse(&moment.to_string()), Some(moment));
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC{0,40}") {
            let _read = Moment::parse(&text);
        }
    }
}
