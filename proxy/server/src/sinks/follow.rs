//! Following the files of the trail, from a record on, for ever.
//!
//! The trail is a row of segments, `trail-<first seq, 20 digits>.jsonl`. Only what the writer calls written counts: what is
//! behind that may still be taken back. A follower remembers the last record that it has given; where that is not to be found any
//! more (the trail has lost its end with the power), it begins anew with the segment in which it would be.

use super::cursor::Cursor;
use super::entry::Entry;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes that are read at once; more for a line that is longer.
const CHUNK: usize = 256 * 1024;
/// Bytes of records that are given at once, at most, unless one alone is longer.
const MOST_BYTES: usize = 1024 * 1024;

/// Reads what comes behind a record.
#[derive(Debug)]
pub(crate) struct Follower {
    directory: PathBuf,
    /// The last record that was given.
    last: Option<Cursor>,
    open: Option<Open>,
}

/// Records, and what was not among them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The records, in their order.
    pub(crate) entries: Vec<Entry>,
    /// Records that are gone: nobody will read them any more.
    pub(crate) skipped: u64,
}

/// A segment, read up to a place that is the end of a line.
#[derive(Debug)]
struct Open {
    first: u64,
    file: File,
    place: u64,
}

/// Whether a batch can take more.
#[derive(Debug, PartialEq, Eq)]
enum Room {
    Left,
    None,
}

/// What was found in a segment.
enum Lines {
    /// Lines, each with its end.
    Some(Vec<u8>),
    /// No whole line more.
    None,
    /// It is shorter than it was.
    TakenBack,
}

impl Follower {
    /// Follows from behind a record, or from the oldest one that there is.
    pub(crate) fn new(directory: &Path, last: Option<Cursor>) -> Self {
        Self { directory: directory.to_owned(), last, open: None }
    }

    /// The next records, so many at most, and none behind that with the number `written`.
    ///
    /// # Errors
    /// When the files cannot be read. The next call goes on where this one would have.
    pub(crate) fn next(&mut self, most: usize, written: u64) -> io::Result<Batch> {
        let mut batch = Batch::default();
        let last = self.last.as_ref().map_or(0, |last| last.seq);
        if written == 0 || (self.open.is_some() && written == last) {
            return Ok(batch);
        }
        if self.open.is_none() && !self.locate(&mut batch)? {
            return Ok(batch);
        }
        loop {
            // Looked for first: the writer is done with a segment before there is the next one.
            let newer = match &self.open {
                Some(open) => segments(&self.directory)?.into_iter().find(|first| *first > open.first),
                None => return Ok(batch),
            };
            let lines = self.open.as_mut().map_or(Ok(Lines::None), Open::lines)?;
            match (lines, newer) {
                (Lines::Some(lines), _) => {
                    if self.take(&lines, (most, written), &mut batch) == Room::None
                        || !batch.entries.is_empty()
                    {
                        return Ok(batch);
                    }
                }
                (Lines::TakenBack, _) => {
                    self.open = None;
                    if !self.locate(&mut batch)? {
                        return Ok(batch);
                    }
                }
                (Lines::None, Some(first)) => self.open = Open::at(&self.directory, first, 0)?,
                (Lines::None, None) => return Ok(batch),
            }
        }
    }

    /// Takes as many of the lines as there is room for, and moves behind them.
    fn take(&mut self, lines: &[u8], (most, written): (usize, u64), batch: &mut Batch) -> Room {
        let Some(open) = &mut self.open else { return Room::None };
        let mut bytes = 0;
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            bytes += line.len();
            if batch.entries.len() >= most || (bytes > MOST_BYTES && !batch.entries.is_empty()) {
                return Room::None;
            }
            let read = Entry::read(line.trim_ascii_end());
            if read.as_ref().is_some_and(|entry| entry.seq > written) {
                return Room::None;
            }
            open.place += u64::try_from(line.len()).unwrap_or_default();
            let Some(entry) = read else {
                tracing::warn!(
                    segment = open.first,
                    "a line of the audit trail is no record, it goes to no sink"
                );
                continue;
            };
            if let Some(last) = &self.last {
                batch.skipped += entry.seq.saturating_sub(last.seq + 1);
            }
            self.last = Some(entry.cursor());
            batch.entries.push(entry);
        }
        Room::Left
    }

    /// Opens the segment that goes on behind the last record, at that place; whether there is any.
    fn locate(&mut self, batch: &mut Batch) -> io::Result<bool> {
        let segments = segments(&self.directory)?;
        let Some(oldest) = segments.first().copied() else { return Ok(false) };
        let Some(last) = self.last.clone() else {
            self.open = Open::at(&self.directory, oldest, 0)?;
            return Ok(self.open.is_some());
        };
        let Some(first) = segments.into_iter().rev().find(|first| *first <= last.seq) else {
            batch.skipped += oldest.saturating_sub(last.seq + 1);
            self.last = None;
            self.open = Open::at(&self.directory, oldest, 0)?;
            return Ok(self.open.is_some());
        };
        let Some(mut open) = Open::at(&self.directory, first, 0)? else { return Ok(false) };
        if !open.skip_to(&last)? {
            tracing::warn!(
                seq = last.seq,
                "the audit trail no longer holds the last record that a sink was given, it is given the segment again"
            );
            open.place = 0;
            self.last = None;
        }
        self.open = Some(open);
        Ok(true)
    }
}

impl Open {
    /// Opens a segment; `None` where it is gone by now.
    fn at(directory: &Path, first: u64, place: u64) -> io::Result<Option<Self>> {
        match File::open(directory.join(segment_name(first))) {
            Ok(file) => Ok(Some(Self { first, file, place })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whole lines from the place on, at least one if there is any.
    fn lines(&mut self) -> io::Result<Lines> {
        if self.file.metadata()?.len() < self.place {
            return Ok(Lines::TakenBack);
        }
        let mut bytes = vec![0; CHUNK];
        let mut length = 0;
        loop {
            let Some(room) = bytes.get_mut(length..) else { return Ok(Lines::None) };
            let offset = self.place + u64::try_from(length).unwrap_or_default();
            let read = self.file.read_at(room, offset)?;
            length += read;
            let filled = bytes.get(..length).unwrap_or_default();
            if let Some(end) = filled.iter().rposition(|byte| *byte == b'\n') {
                bytes.truncate(end + 1);
                return Ok(Lines::Some(bytes));
            }
            if read == 0 {
                return Ok(Lines::None);
            }
            if length == bytes.len() {
                bytes.resize(length * 2, 0);
            }
        }
    }

    /// Moves behind a record; whether it is there.
    fn skip_to(&mut self, record: &Cursor) -> io::Result<bool> {
        while let Lines::Some(lines) = self.lines()? {
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                self.place += u64::try_from(line.len()).unwrap_or_default();
                match Entry::read(line.trim_ascii_end()) {
                    Some(entry) if entry.seq == record.seq => return Ok(entry.hash == record.hash),
                    Some(entry) if entry.seq > record.seq => return Ok(false),
                    Some(_) | None => (),
                }
            }
        }
        Ok(false)
    }
}

/// The first numbers of all segments, in order.
///
/// # Errors
/// When the directory cannot be read.
pub(crate) fn segments(directory: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("trail-")?.strip_suffix(".jsonl"));
        found.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// The name of a segment.
pub(crate) fn segment_name(first: u64) -> String {
    format!("trail-{first:020}.jsonl")
}

#[cfg(test)]
mod tests;
