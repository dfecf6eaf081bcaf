//! The files of a trail: `trail-<number of the first record, 20 digits>.jsonl`, so that their names have their order.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

const BEGIN: &str = "trail-";
const END: &str = ".jsonl";

/// A file of a trail.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TrailFile {
    /// The number of its first record.
    pub(crate) first: u64,
    /// Where it is.
    pub(crate) path: PathBuf,
}

impl TrailFile {
    /// The file in this directory whose first record has this number.
    pub(crate) fn of(directory: &Path, first: u64) -> Self {
        Self { first, path: directory.join(format!("{BEGIN}{first:020}{END}")) }
    }

    /// Its name.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Its lines.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn lines(&self) -> io::Result<Lines> {
        Ok(Lines { file: BufReader::with_capacity(1 << 16, File::open(&self.path)?) })
    }
}

/// The files of the trail in a directory, in their order.
///
/// # Errors
/// When the directory cannot be read.
pub(crate) fn files(directory: &Path) -> io::Result<Vec<TrailFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let number = name.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
        let first = number.filter(|number| number.len() == 20).and_then(|number| number.parse().ok());
        files.extend(first.map(|first| TrailFile { first, path }));
    }
    files.sort_unstable();
    Ok(files)
}

/// The lines of a file.
#[derive(Debug)]
pub(crate) struct Lines {
    file: BufReader<File>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// With its end, which is left out here.
    Whole(Vec<u8>),
    /// The rest of the file, which ends without one.
    Torn(Vec<u8>),
}

impl Line {
    /// The line, if it is whole.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        match self {
            Self::Whole(line) => Some(line),
            Self::Torn(_) => None,
        }
    }
}

impl Lines {
    /// The next line; nothing at the end of the file.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        self.file.read_until(b'\n', &mut line)?;
        Ok(match line.pop() {
            None => None,
            Some(b'\n') => Some(Line::Whole(line)),
            Some(byte) => {
                line.push(byte);
                Some(Line::Torn(line))
            }
        })
    }
}
