//! Reading trails: every record once, verified on its way into the ledger.

use super::facts;
use super::problem::ReportError;
use crate::trail::command::public_key;
use pgwarden_audit::{Break, Examined, PublicKey, Record, Signer, Verifier};
use pgwarden_config::Audit;
use pgwarden_shadow::verdict::{Chain, Fact, Ledger, Moment, Trail};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

const BEGIN: &str = "trail-";
const END: &str = ".jsonl";
/// What may stand behind the last record while somebody writes: one line.
const LONGEST_TAIL: usize = 1 << 20;

/// What verifies the signatures of trails.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Nothing does.
    #[default]
    None,
    /// These keys alone, and every signature has to be of one of them.
    Named(Vec<PublicKey>),
    /// The key that signs by now. It may have been another one before, and a trail that has just begun is not signed yet.
    Own(PublicKey, Duration),
}

impl Keys {
    /// That of a configuration.
    pub(crate) fn of(audit: &Audit) -> Self {
        let signer = audit.signing_key.as_ref().and_then(|key| Signer::parse(key.expose()).ok());
        signer.map_or(Self::None, |signer| Self::Own(signer.public_key(), audit.checkpoint_interval * 2))
    }

    /// Those that somebody names: 64 digits each, or `file:PATH`.
    pub(super) fn named(texts: &[String]) -> Result<Self, ReportError> {
        let key = |text: &String| public_key(text).map_err(|error| ReportError::Key(Box::new(error)));
        Ok(Self::Named(texts.iter().map(key).collect::<Result<_, _>>()?))
    }

    fn verifier(&self) -> Verifier {
        match self {
            Self::None => Verifier::new(None),
            Self::Named(keys) => Verifier::new(keys.iter().copied()),
            Self::Own(key, _) => Verifier::new(Some(*key)).across_keys(),
        }
    }

    /// How far signatures were verified, and with what.
    fn said(&self, examined: &Examined) -> String {
        let signed = |by: &str| match (examined.signed, examined.last) {
            (Some(signed), Some(last)) if signed + 1 < last => {
                format!("signed up to record {signed} by {by}, {} behind it are not yet", last - signed)
            }
            (Some(_), _) => format!("signed by {by}"),
            (None, _) => format!("not signed yet by {by}"),
        };
        match self {
            Self::None => "signatures not verified: no key was given".to_owned(),
            Self::Named(keys) => match keys.as_slice() {
                [key] => signed(&format!("the key {}…", short(key))),
                keys => signed(&format!("one of the {} keys", keys.len())),
            },
            Self::Own(key, _) => signed(&format!("the key {}… of the configuration", short(key))),
        }
    }
}

/// The first digits of a key.
fn short(key: &PublicKey) -> String {
    key.to_string().chars().take(8).collect()
}

/// Reads a trail into the ledger, and says whether it is whole.
///
/// # Errors
/// [`ReportError`] when it cannot be read.
pub(super) fn read(directory: &Path, keys: &Keys, ledger: &mut Ledger) -> Result<Trail, ReportError> {
    let failed = |error| ReportError::Trail { directory: directory.to_owned(), error };
    let files = files(directory).map_err(failed)?;
    if files.is_empty() {
        return Err(ReportError::NoTrail { directory: directory.to_owned() });
    }
    let source = directory.display().to_string();
    let mut reading = Reading { source, verifier: keys.verifier(), first: None, last: None };
    let last = files.len().saturating_sub(1);
    for (index, file) in files.iter().enumerate() {
        let end = if index == last { End::Open } else { End::Closed };
        reading.file(file, ledger, end).map_err(failed)?;
    }
    Ok(reading.end(keys))
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

    fn end(self, keys: &Keys) -> Trail {
        let mut examined = self.verifier.finish();
        let length = self.first.zip(self.last).map_or(Duration::ZERO, |(first, last)| last.since(first));
        if matches!(keys, Keys::Own(_, patience) if length < *patience) {
            examined.breaks.retain(|broken| broken.what != Break::NeverSigned);
        }
        Trail {
            directory: self.source,
            records: examined.records,
            segments: examined.files,
            first: self.first,
            last: self.last,
            chain: chain(&examined, keys),
        }
    }
}

fn chain(examined: &Examined, keys: &Keys) -> Chain {
    let count = u64::try_from(examined.breaks.len()).unwrap_or(u64::MAX).saturating_add(examined.further);
    match examined.breaks.first() {
        Some(first) if count > 1 => Chain::Broken { why: format!("{first}, and {} more breaks", count - 1) },
        Some(first) => Chain::Broken { why: first.to_string() },
        None => {
            let number = |seq: Option<u64>| seq.map_or_else(|| "none".to_owned(), |seq| seq.to_string());
            let (from, to) = (number(examined.first), number(examined.last));
            Chain::Intact { detail: format!("records {from} to {to}, {}", keys.said(examined)) }
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
