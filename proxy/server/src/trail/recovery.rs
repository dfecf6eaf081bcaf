//! What a pgwarden finds that starts: the end of the trail, and whatever stands behind it.

use super::files::{Line, TrailFile, files};
use super::store::write_aside;
use pgwarden_audit::{Carried, Chain, Life, Record, RecordKind, Start, Tail, Timestamp};
use std::fs;
use std::io;
use std::path::Path;

/// The end of a trail.
#[derive(Debug)]
pub(super) struct Found {
    /// Where the next record goes.
    pub(super) chain: Chain,
    /// What is known there.
    pub(super) carried: Carried,
    /// How many records there are since the last checkpoint.
    pub(super) unsigned: u64,
    /// Whether the one before has stopped.
    pub(super) start: Start,
    /// What stands behind the last record, and does not belong there.
    pub(super) tail: Option<Tail>,
    /// The file with the last record, how much of it is good, and when it began.
    pub(super) file: Option<(TrailFile, u64, Timestamp)>,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            chain: Chain::default(),
            carried: Carried::default(),
            unsigned: 0,
            start: Start::New,
            tail: None,
            file: None,
        }
    }
}

/// Finds the end. A last line that is not whole is left to be cut off; whole lines that are no records, or do not continue
/// the chain, are first copied to a file beside the trail.
pub(super) fn recover(directory: &Path) -> io::Result<Found> {
    let mut tail: Option<Tail> = None;
    for file in files(directory)?.into_iter().rev() {
        let mut found = read(&file)?;
        let good = found.file.as_ref().map_or(0, |(_, bytes, _)| *bytes);
        set_aside(directory, &file, good, found.tail.as_ref())?;
        found.tail = match (tail.take(), found.tail.take()) {
            (Some(later), Some(earlier)) => {
                let (bytes, lines) = (later.bytes + earlier.bytes, later.lines + earlier.lines);
                Some(Tail { file: earlier.file, bytes, lines })
            }
            (later, earlier) => later.or(earlier),
        };
        if found.file.is_some() {
            return Ok(found);
        }
        // No record in it: it was begun, and no more.
        fs::remove_file(&file.path)?;
        tail = found.tail;
    }
    let start = if tail.is_some() { Start::AfterCrash } else { Start::New };
    Ok(Found { tail, start, ..Found::default() })
}

/// Reads a file up to where the chain ends.
fn read(file: &TrailFile) -> io::Result<Found> {
    let mut found = Found::default();
    let mut rest = Tail { file: file.name(), bytes: 0, lines: 0 };
    let mut good = 0;
    let mut lines = file.lines()?;
    while let Some(line) = lines.next()? {
        let (Line::Whole(bytes) | Line::Torn(bytes)) = &line;
        let length = u64::try_from(bytes.len()).unwrap_or_default();
        let Line::Whole(bytes) = &line else {
            rest.bytes += length;
            continue;
        };
        let record = Record::read(bytes).filter(|_| rest.bytes == 0).filter(|record| {
            good == 0 || (record.seq == found.chain.seq() + 1 && record.prev == found.chain.hash())
        });
        match record.and_then(|record| Some((Chain::after(&record)?, record))) {
            Some((chain, record)) => {
                good += length + 1;
                found.note(chain, &record, file, good);
            }
            None => {
                rest.bytes += length + 1;
                rest.lines += 1;
            }
        }
    }
    if rest.bytes > 0 {
        found.start = Start::AfterCrash;
        found.tail = Some(rest);
    }
    Ok(found)
}

impl Found {
    fn note(&mut self, chain: Chain, record: &Record, file: &TrailFile, good: u64) {
        self.chain = chain;
        self.carried.note(record);
        let began = self.file.as_ref().map_or(record.time, |(_, _, began)| *began);
        self.file = Some((file.clone(), good, began));
        match record.kind {
            RecordKind::Life(Life::Checkpoint) => self.unsigned = 0,
            RecordKind::Life(Life::Stopped) => {
                self.start = Start::AfterStop;
                self.unsigned += 1;
            }
            _ => {
                self.start = Start::AfterCrash;
                self.unsigned += 1;
            }
        }
    }
}

/// Keeps whole lines that do not belong to the chain; somebody will want to look at them.
fn set_aside(directory: &Path, file: &TrailFile, good: u64, tail: Option<&Tail>) -> io::Result<()> {
    if tail.is_none_or(|tail| tail.lines == 0) {
        return Ok(());
    }
    let bytes = fs::read(&file.path)?;
    let rest = usize::try_from(good).ok().and_then(|good| bytes.get(good..)).unwrap_or_default();
    for number in 1_u32.. {
        let path = directory.join(format!("set-aside-{:020}-{number}", file.first));
        match write_aside(&path, rest) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
            written => return written,
        }
    }
    Ok(())
}
