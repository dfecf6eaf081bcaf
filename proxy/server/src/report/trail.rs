//! Reading trails: every record once, verified on its way into the ledger.

use super::facts;
use super::problem::ReportError;
use pgwarden_audit::{Examined, Record, Verifier};
use pgwarden_shadow::verdict::{Chain, Fact, Ledger, Moment, Trail};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

const BEGIN: &str = "trail-";
const END: &str = ".jsonl";
/// What may stand behind the last record while somebody writes: one line.
const LONGEST_TAIL: usize = 1 << 20;

/// Reads a trail into the ledger, and says whether it is whole.
///
/// # Errors
/// [`ReportError`] when it cannot be read.
pub(super) fn read(directory: &Path, ledger: &mut Ledger) -> Result<Trail, ReportError> {
    let failed = |error| ReportError::Trail { directory: directory.to_owned(), error };
    let files = files(directory).map_err(failed)?;
    if files.is_empty() {
        return Err(ReportError::NoTrail { directory: directory.to_owned() });
    }
    let source = directory.display().to_string();
    let mut reading = Reading { source, verifier: Verifier::new(None), first: None, last: None };
    let last = files.len().saturating_sub(1);
    for (index, file) in files.iter().enumerate() {
        let end = if index == last { End::Open } else { End::Closed };
        reading.file(file, ledger, end).map_err(failed)?;
    }
    Ok(reading.end())
}

/// Whether somebody may be writing at the end of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Closed,
}

/// Where in a trail the reader is.
struct Reading {
    source: String,
    verifier: Verifier,
    first: Option<Moment>,
    last: Option<Moment>,
}

impl Reading {
    fn file(&mut self, path: &Path, ledger: &mut Ledger, end: End) -> io::Result<()> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        self.verifier.file(&name);
        let mut lines = BufReader::with_capacity(1 << 16, File::open(path)?);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            match line.strip_suffix(b"\n") {
                Some(whole) => {
                    let record = self.verifier.line(whole);
                    if let Some(record) = record {
                        self.record(record, ledger);
                    }
                }
                // The end of the last file, which somebody may be writing at this moment.
                None if end == End::Open && line.len() <= LONGEST_TAIL => (),
                None => self.verifier.torn(u64::try_from(line.len()).unwrap_or(u64::MAX)),
            }
            line.clear();
        }
        Ok(())
    }

    fn record(&mut self, record: Record, ledger: &mut Ledger) {
        let at = facts::moment(record.time);
        self.first.get_or_insert(at);
        self.last = Some(at);
        for fact in facts::of(record) {
            let at = if let Fact::Found(found) = &fact { found.at } else { at };
            ledger.take(&self.source, at, fact);
        }
    }

    fn end(self) -> Trail {
        let examined = self.verifier.finish();
        Trail {
            directory: self.source,
            records: examined.records,
            segments: examined.files,
            first: self.first,
            last: self.last,
            chain: chain(&examined),
        }
    }
}

fn chain(examined: &Examined) -> Chain {
    let count = u64::try_from(examined.breaks.len()).unwrap_or(u64::MAX).saturating_add(examined.further);
    match examined.breaks.first() {
        Some(first) if count > 1 => Chain::Broken { why: format!("{first}, and {} more breaks", count - 1) },
        Some(first) => Chain::Broken { why: first.to_string() },
        None => {
            let number = |seq: Option<u64>| seq.map_or_else(|| "none".to_owned(), |seq| seq.to_string());
            let (from, to) = (number(examined.first), number(examined.last));
            Chain::Intact { detail: format!("records {from} to {to}") }
        }
    }
}

/// The files in their order, which is that of their names.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let number = name.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
        if number.is_some_and(|number| number.len() == 20 && number.bytes().all(|byte| byte.is_ascii_digit()))
        {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}
