//! Whether a trail is intact, and if not, where and how it breaks.

mod broken;

pub use broken::{Break, Broken};

use crate::chain::hashes;
use crate::checkpoint::{Checkpoint, PublicKey};
use crate::detail::Detail;
use crate::hash::hex;
use crate::record::Record;
use crate::timestamp::Timestamp;
use std::collections::BTreeMap;

/// Breaks that are described; more are counted.
const MOST: usize = 100;

/// Takes the lines of a trail, file after file, and says whether they are one chain.
#[derive(Debug, Default)]
pub struct Verifier {
    keys: Vec<PublicKey>,
    /// What is made of signatures of other keys.
    others: Others,
    /// Records with signatures of other keys, behind the last one of these.
    foreign: Vec<u64>,
    /// Checkpoints that were kept elsewhere.
    kept: BTreeMap<u64, Checkpoint>,
    /// The number and the hash of the record in front of the first one that is here.
    before: Option<(u64, String)>,
    /// Where the chain goes on; nothing at the begin, and behind a line that is no record.
    end: Option<End>,
    /// What retention has removed: numbers of last records, and their hashes.
    cuts: BTreeMap<u64, String>,
    file: String,
    line: u64,
    examined: Examined,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examined {
    /// How many files there are.
    pub files: u64,
    /// How many records.
    pub records: u64,
    /// The number of the first record.
    pub first: Option<u64>,
    /// The number of the last one.
    pub last: Option<u64>,
    /// Up to which record signatures were verified; nothing without a key.
    pub signed: Option<u64>,
    /// How many checkpoints that were kept elsewhere are as the trail says.
    pub kept: u64,
    /// Where it breaks; none: it is intact.
    pub breaks: Vec<Broken>,
    /// How many breaks there are besides these.
    pub further: u64,
}

/// What is made of a signature that no key verifies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Others {
    /// The trail is broken there.
    #[default]
    Breaks,
    /// It is covered by a later one that is verified: that one is about all records before it.
    Covered,
}

#[derive(Debug, Clone)]
struct End {
    seq: u64,
    hash: String,
    time: Timestamp,
}

impl Verifier {
    /// One that believes no checkpoint without a signature of one of these keys, if there are any.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self { keys: keys.into_iter().collect(), ..Self::default() }
    }

    /// The same where keys are changed from time to time: what another one has signed counts as verified once a later
    /// signature is, which covers all records before it.
    #[must_use]
    pub fn across_keys(mut self) -> Self {
        self.others = Others::Covered;
        self
    }

    /// Adds a checkpoint that was kept elsewhere. Without it, nobody can tell whether the end of a trail is missing.
    pub fn keep(&mut self, checkpoint: Checkpoint) {
        if !self.keys.is_empty() && !self.is_verified(&checkpoint) {
            self.broken(Some(checkpoint.seq), Break::Signature);
            return;
        }
        self.kept.insert(checkpoint.seq, checkpoint);
    }

    /// A file begins, whose name says the number of its first record.
    pub fn file(&mut self, name: &str) {
        name.clone_into(&mut self.file);
        self.line = 0;
        self.examined.files += 1;
    }

    /// The next line, without its line feed. Returns the record that it is.
    pub fn line(&mut self, line: &[u8]) -> Option<Record> {
        self.line += 1;
        let text = std::str::from_utf8(line).ok();
        let read = text.and_then(|text| Some((text, serde_json::from_str::<Record>(text).ok()?)));
        let Some((text, record)) = read else {
            self.broken(None, Break::NotARecord);
            self.end = None;
            return None;
        };
        self.examined.records += 1;
        self.examined.last = Some(record.seq);
        if self.examined.first.is_none() {
            self.examined.first = Some(record.seq);
            self.before = Some((record.seq.saturating_sub(1), record.prev.clone()));
        }
        let is_whole = hashes(text, &record.prev).is_some_and(|(said, is)| said == is);
        if is_whole {
            self.follows(&record);
            self.look_into(&record);
        } else {
            self.broken(Some(record.seq), Break::Altered);
        }
        // Behind an altered record, what it says of its place is not to be relied on.
        let seq = match (is_whole, &self.end) {
            (false, Some(end)) => end.seq + 1,
            _ => record.seq,
        };
        self.end = Some(End { seq, hash: record.hash.clone(), time: record.time });
        self.compare(seq, &record.hash);
        Some(record)
    }

    /// The last line of the last file has no end: so many bytes.
    pub fn torn(&mut self, bytes: u64) {
        self.line += 1;
        self.broken(None, Break::Torn { bytes });
    }

    /// There are no further lines.
    #[must_use]
    pub fn finish(mut self) -> Examined {
        (self.file, self.line) = (String::new(), 0);
        if let Some((seq, hash)) = self.before.take() {
            let explained = if seq == 0 { is_zero(&hash) } else { self.cuts.get(&seq) == Some(&hash) };
            if !explained {
                self.broken(Some(seq + 1), Break::Beginning);
            }
            self.compare(seq, &hash);
        }
        let last = self.examined.last.unwrap_or_default();
        if let Some(known) = self.kept.keys().next_back().copied().filter(|known| *known > last) {
            self.broken(Some(last), Break::Truncated { known });
        }
        for seq in std::mem::take(&mut self.foreign) {
            self.broken(Some(seq), Break::Signature);
        }
        if !self.keys.is_empty() && self.examined.records > 0 && self.examined.signed.is_none() {
            self.broken(None, Break::NeverSigned);
        }
        self.examined
    }

    /// Whether a record goes where it stands.
    fn follows(&mut self, record: &Record) {
        let Some(end) = self.end.clone() else { return };
        let found = if record.seq > end.seq + 1 {
            Break::Missing { from: end.seq + 1, to: record.seq - 1 }
        } else if record.seq <= end.seq {
            Break::OutOfOrder { expected: end.seq + 1 }
        } else if record.prev != end.hash {
            Break::Spliced
        } else if record.time < end.time {
            Break::TimeWentBack
        } else {
            return;
        };
        self.broken(Some(record.seq), found);
    }

    fn look_into(&mut self, record: &Record) {
        if self.line == 1 && !self.file.contains(&format!("{:020}", record.seq)) {
            self.broken(Some(record.seq), Break::WrongFile);
        }
        match record.detail.as_deref() {
            Some(Detail::Checkpoint(checkpoint)) => self.checkpoint(record, checkpoint),
            Some(Detail::Retention(cut)) => {
                self.cuts.insert(cut.seq, cut.hash.clone());
            }
            Some(Detail::TornTail(tail)) if tail.lines > 0 => {
                self.broken(Some(record.seq), Break::SetAside { lines: tail.lines });
            }
            _ => (),
        }
    }

    fn checkpoint(&mut self, record: &Record, checkpoint: &Checkpoint) {
        if checkpoint.seq + 1 != record.seq || checkpoint.hash != record.prev {
            self.broken(Some(record.seq), Break::Checkpoint);
        } else if self.is_verified(checkpoint) {
            self.examined.signed = Some(checkpoint.seq);
            self.foreign.clear();
        } else if !self.keys.is_empty() {
            match self.others {
                Others::Breaks => self.broken(Some(record.seq), Break::Signature),
                Others::Covered => self.foreign.push(record.seq),
            }
        }
    }

    fn is_verified(&self, checkpoint: &Checkpoint) -> bool {
        self.keys.iter().any(|key| key.verifies(checkpoint))
    }

    /// Compares a record with the checkpoint that was kept elsewhere of it.
    fn compare(&mut self, seq: u64, hash: &str) {
        match self.kept.get(&seq) {
            Some(kept) if kept.hash == hash => self.examined.kept += 1,
            Some(_) => self.broken(Some(seq), Break::Checkpoint),
            None => (),
        }
    }

    fn broken(&mut self, seq: Option<u64>, what: Break) {
        if self.examined.breaks.len() < MOST {
            self.examined.breaks.push(Broken { file: self.file.clone(), line: self.line, seq, what });
        } else {
            self.examined.further += 1;
        }
    }
}

fn is_zero(hash: &str) -> bool {
    hash == hex(&[0; 32])
}

#[cfg(test)]
mod tests;
