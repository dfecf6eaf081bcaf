//! One record of the trail, as its line has it.

use super::cursor::Cursor;
use serde_json::Value;
use std::borrow::Cow;

/// A whole line of the trail. What it says is asked by name, so that records of a later version pass as well.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// Its number in the chain.
    pub(crate) seq: u64,
    /// What proves it.
    pub(crate) hash: String,
    /// The line, without its end.
    pub(crate) text: String,
    /// What it says.
    value: Value,
}

impl Entry {
    /// Reads a line; `None` where it is no record.
    pub(crate) fn read(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?.to_owned();
        let value: Value = serde_json::from_str(&text).ok()?;
        let seq = value.get("seq")?.as_u64()?;
        let hash = value.get("hash").and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Self { seq, hash, text, value })
    }

    /// How a follower remembers it.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor { seq: self.seq, hash: self.hash.clone() }
    }

    /// What stands at a place, like `/tenant/id` (RFC 6901).
    pub(crate) fn at(&self, pointer: &str) -> Option<&Value> {
        self.value.pointer(pointer).filter(|value| !value.is_null())
    }

    /// The text at a place; empty where there is none.
    pub(crate) fn text_at(&self, pointer: &str) -> &str {
        self.at(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number, or a text, at a place, as text.
    pub(crate) fn shown_at(&self, pointer: &str) -> Cow<'_, str> {
        match self.at(pointer) {
            Some(Value::String(text)) => Cow::Borrowed(text),
            Some(other) => Cow::Owned(other.to_string()),
            None => Cow::Borrowed(""),
        }
    }

    /// `schema.table`, as far as it is known.
    pub(crate) fn table(&self) -> String {
        let (schema, table) = (self.text_at("/target/schema"), self.text_at("/target/table"));
        if schema.is_empty() || table.is_empty() { table.to_owned() } else { format!("{schema}.{table}") }
    }

    /// When it was written: microseconds since 1970.
    pub(crate) fn micros(&self) -> Option<u64> {
        instant(self.text_at("/time"))
    }
}

/// `2026-11-21T22:15:41.123456Z`, as microseconds since 1970.
pub(crate) fn instant(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let valid = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let digits = fraction.get(..fraction.len().min(6))?;
    let fraction = format!("{digits:0<6}").parse::<u64>().ok()?;
    (valid && hour < 24 && minute < 60 && second < 61)
        .then(|| ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
        .map(|seconds| seconds * 1_000_000 + fraction)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar from then on. Years begin in March here, so that the day that
/// is there every four years is the last one.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month > 2 { year } else { year - 1 };
    let (era, in_era) = (year / 400, year % 400);
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_counted_in_microseconds() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:01.5Z", 1_500_000),
            ("2000-02-29T12:30:15.000001Z", 951_827_415_000_001),
            ("2100-03-01T00:00:00.123456789Z", 4_107_542_400_123_456),
        ] {
            assert_eq!(instant(text), Some(micros), "{text}");
        }
        for text in
            ["", "now", "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01T00:00:00.éZ"]
        {
            assert_eq!(instant(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_record_is_none() {
        for line in [&b"{}"[..], b"", b"{\"seq\":-1}", b"{\"seq\":1", b"\xff", b"[1]"] {
            assert_eq!(Entry::read(line), None, "{line:?}");
        }
        let entry =
            Entry::read(br#"{"seq":7,"count":3,"target":{"schema":"a","table":"b"},"hash":"h"}"#).unwrap();
        assert_eq!((entry.seq, entry.hash.as_str(), entry.table().as_str()), (7, "h", "a.b"));
        assert_eq!((entry.shown_at("/count").as_ref(), entry.text_at("/tenant/id")), ("3", ""));
    }
}
