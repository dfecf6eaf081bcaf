//! `pgwarden audit export`: records for other programs.

mod csv;
mod ocsf;

use super::entry::{Entry, instant};
use super::follow::{segment_name, segments};
use crate::cli::{Export, ExportFormat};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why there is no export.
#[derive(Debug, Error)]
pub(crate) enum ExportError {
    /// Usage: nothing is there.
    #[error("there is no audit trail in {}", .0.display())]
    NoTrail(PathBuf),
    /// System: something cannot be read or written.
    #[error("{}", .path.display())]
    File {
        /// What.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What has been written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exported {
    /// Records.
    pub(crate) records: u64,
    /// Records that have no form in this format.
    pub(crate) left_out: u64,
    /// Lines that are no records.
    pub(crate) unreadable: u64,
}

impl ExportError {
    fn of(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), source }
    }
}

/// Writes the records that are asked for.
///
/// # Errors
/// [`ExportError`] when the trail cannot be read, or the export not be written.
pub(crate) fn export(flags: &Export) -> Result<Exported, ExportError> {
    let directory = &flags.directory;
    let files = segments(directory).map_err(ExportError::of(directory))?;
    if files.is_empty() {
        return Err(ExportError::NoTrail(directory.clone()));
    }
    let (place, out): (&Path, Box<dyn Write>) = match &flags.out {
        Some(path) => (path, Box::new(File::create(path).map_err(ExportError::of(path))?)),
        None => (Path::new("standard output"), Box::new(io::stdout().lock())),
    };
    let mut out = BufWriter::new(out);
    let mut exported = Exported::default();
    let written = begin(&mut out, flags.format);
    let written = written.and_then(|()| {
        for first in files {
            let path = directory.join(segment_name(first));
            match File::open(&path) {
                Ok(file) => write_file(file, flags, &mut out, &mut exported)?,
                // Removed by now, because it is old.
                Err(error) if error.kind() == ErrorKind::NotFound => (),
                Err(error) => return Err(error),
            }
        }
        out.flush()
    });
    match written {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(exported),
        written => written.map(|()| exported).map_err(ExportError::of(place)),
    }
}

fn begin(out: &mut impl Write, format: ExportFormat) -> io::Result<()> {
    match format {
        ExportFormat::Csv => out.write_all(csv::header().as_bytes()),
        ExportFormat::Jsonl | ExportFormat::Ocsf => Ok(()),
    }
}

fn write_file(file: File, flags: &Export, out: &mut impl Write, exported: &mut Exported) -> io::Result<()> {
    let mut file = BufReader::new(file);
    let mut line = Vec::new();
    // What does not end with a line is not written yet.
    while file.read_until(b'\n', &mut line)? > 0 && line.last() == Some(&b'\n') {
        match Entry::read(line.trim_ascii_end()) {
            Some(entry) if is_asked_for(&entry, flags) => match shown(&entry, flags.format) {
                Some(text) => {
                    out.write_all(text.as_bytes())?;
                    exported.records += 1;
                }
                None => exported.left_out += 1,
            },
            Some(_) => (),
            None => exported.unreadable += 1,
        }
        line.clear();
    }
    Ok(())
}

fn shown(entry: &Entry, format: ExportFormat) -> Option<String> {
    match format {
        ExportFormat::Jsonl => Some(format!("{}\n", entry.text)),
        ExportFormat::Csv => Some(csv::row(entry)),
        ExportFormat::Ocsf => ocsf::finding(entry).map(|finding| format!("{finding}\n")),
    }
}

fn is_asked_for(entry: &Entry, flags: &Export) -> bool {
    let time = || entry.micros().unwrap_or_default();
    let table = entry.table();
    let name = entry.text_at("/target/table");
    flags.since.is_none_or(|since| time() >= since)
        && flags.until.is_none_or(|until| time() < until)
        && (flags.kind.is_empty() || flags.kind.iter().any(|kind| kind.label() == entry.text_at("/kind")))
        && (flags.table.is_empty() || flags.table.iter().any(|one| *one == table || one == name))
}

/// A point in time on the command line: `2026-11-21T22:15:41Z`, or a day, which begins at midnight UTC.
///
/// # Errors
/// What was expected.
pub(crate) fn moment(text: &str) -> Result<u64, String> {
    let at_midnight = || instant(&format!("{text}T00:00:00Z"));
    let read = instant(text).or_else(at_midnight);
    read.ok_or_else(|| "expected a day or a time in UTC, like 2026-11-21 or 2026-11-21T22:15:41Z".to_owned())
}
