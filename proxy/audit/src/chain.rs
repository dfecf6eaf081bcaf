//! The chain: each record takes its number, its time and the hash of the one before.

use crate::hash::{Hash, hex, sha256, unhex};
use crate::nul::without_nul;
use crate::record::Record;
use crate::timestamp::Timestamp;
use std::fmt::Write as _;

/// The end of a chain, where the next record goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    seq: u64,
    hash: Hash,
    time: Timestamp,
}

/// When a record is written, and what makes its id one of its own.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The clock.
    pub now: Timestamp,
    /// Random bytes.
    pub random: [u8; 10],
}

impl Default for Chain {
    fn default() -> Self {
        Self { seq: 0, hash: [0; 32], time: Timestamp(i64::MIN) }
    }
}

impl Chain {
    /// The end of a chain whose last record is this one; nothing if its hash is none.
    #[must_use]
    pub fn after(last: &Record) -> Option<Self> {
        Some(Self { seq: last.seq, hash: unhex(&last.hash)?, time: last.time })
    }

    /// The number of the last record; 0 in front of the first.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The hash of the last record; zeros in front of the first.
    #[must_use]
    pub fn hash(&self) -> String {
        hex(&self.hash)
    }

    /// When the last record was written.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Gives a record its place, and writes it with a line feed behind. Where the clock was put back, the record has the
    /// time of the one before. No line has a NUL in it: what PostgreSQL cannot hold would not verify from there.
    pub fn link(&mut self, record: &mut Record, moment: Moment, line: &mut Vec<u8>) {
        self.time = self.time.max(moment.now);
        self.seq += 1;
        record.seq = self.seq;
        record.time = self.time;
        record.id = uuid(moment);
        record.prev = hex(&self.hash);
        record.hash.clear();
        let text = canonical(record);
        let text = without_nul(&text);
        self.hash = sha256(&[&self.hash, text.as_bytes()]);
        record.hash = hex(&self.hash);
        line.extend_from_slice(text.strip_suffix('}').unwrap_or(&text).as_bytes());
        line.extend_from_slice(HASH.as_bytes());
        line.extend_from_slice(record.hash.as_bytes());
        line.extend_from_slice(b"\"}\n");
    }
}

/// What stands between a record and its hash.
const HASH: &str = ",\"hash\":\"";

/// The hash that a line says it has, and the one that it has: of the hash before, which the line names, and of the line
/// without its own. Nothing if the line does not end with a hash.
pub(crate) fn hashes(line: &str, prev: &str) -> Option<(Hash, Hash)> {
    let (text, end) = line.rsplit_once(HASH)?;
    let said = unhex(end.strip_suffix("\"}")?)?;
    Some((said, sha256(&[&unhex::<32>(prev)?, text.as_bytes(), b"}"])))
}

/// The record without its hash. Writing into memory does not fail, and what a record consists of can always be written.
fn canonical(record: &Record) -> String {
    serde_json::to_string(record).unwrap_or_default()
}

/// A UUID of version 7 (RFC 9562): milliseconds, and the rest random.
fn uuid(moment: Moment) -> String {
    let millis = u64::try_from(moment.now.0 / 1_000).unwrap_or_default();
    let mut text = String::with_capacity(36);
    let time = millis.to_be_bytes();
    let [a, b, rest @ ..] = moment.random;
    let fixed = [0x70 | (a & 0x0f), b];
    let bytes = time.iter().skip(2).chain(&fixed).copied().chain(rest);
    for (index, byte) in bytes.enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // The variant of RFC 9562 in the two highest bits.
        let byte = if index == 8 { 0x80 | (byte & 0x3f) } else { byte };
        let _fits = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Life;

    const MOMENT: Moment = Moment { now: Timestamp(1_700_000_000_123_456), random: [0xff; 10] };

    #[test]
    fn a_line_reads_back_as_the_record_and_has_its_hash() {
        let (mut chain, mut line) = (Chain::default(), Vec::new());
        let mut record = Record::of(Life::Stopped);
        chain.link(&mut record, MOMENT, &mut line);
        let text = std::str::from_utf8(&line).unwrap().strip_suffix('\n').unwrap();
        let read: Record = serde_json::from_str(text).unwrap();
        assert_eq!(read, record);
        let (said, is) = hashes(text, &read.prev).unwrap();
        assert_eq!(said, is);
        assert_eq!(Chain::after(&read), Some(chain));
    }

    #[test]
    fn no_line_has_a_nul() {
        let (mut chain, mut line) = (Chain::default(), Vec::new());
        let mut record = Record::service(serde_json::json!({ "reason": "a\0\\u0000" }));
        chain.link(&mut record, MOMENT, &mut line);
        let text = std::str::from_utf8(&line).unwrap().strip_suffix('\n').unwrap();
        let read = Record::read(text.as_bytes()).unwrap();
        assert_eq!(read.service.unwrap()["reason"], "a\u{fffd}\\u0000");
        assert_eq!(without_nul(text), text);
    }

    #[test]
    fn an_id_is_a_uuid_of_version_7() {
        assert_eq!(uuid(MOMENT), "018bcfe5-687b-7fff-bfff-ffffffffffff");
    }

    #[test]
    fn time_does_not_go_back_in_a_chain() {
        let (mut chain, mut line) = (Chain::default(), Vec::new());
        let mut record = Record::of(Life::Reloaded);
        chain.link(&mut record, MOMENT, &mut line);
        let earlier = Moment { now: Timestamp(MOMENT.now.0 - 1), ..MOMENT };
        chain.link(&mut record, earlier, &mut line);
        assert_eq!((record.seq, record.time), (2, MOMENT.now));
    }
}
