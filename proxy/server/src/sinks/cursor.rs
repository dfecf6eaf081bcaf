//! How far a sink has come, in a file beside the trail.

use super::state::SinkKind;
use pgwarden_config::Sinks;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The last record that was delivered. Its hash tells it from another of the same number: after a loss of power the
/// trail may go on from an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// Its number in the chain.
    pub(crate) seq: u64,
    /// What proves it.
    pub(crate) hash: String,
}

/// Where a cursor is kept.
#[derive(Debug)]
pub(super) struct CursorFile(PathBuf);

impl CursorFile {
    /// The file of a sink in the trail's directory.
    pub(super) fn of(directory: &Path, sink: &str) -> Self {
        Self(directory.join(format!("sink-{sink}.cursor")))
    }

    /// The cursor; `None` where there is none, or none that can be read: then everything is delivered once more, and
    /// the receiver tells by the records' ids what it has.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(super) fn read(&self) -> io::Result<Option<Cursor>> {
        match fs::read(&self.0) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces it, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written: then more is delivered twice after the next start.
    pub(super) fn write(&self, cursor: &Cursor) -> io::Result<()> {
        let beside = self.0.with_extension("cursor.new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec(cursor)?)?;
        file.sync_data()?;
        fs::rename(&beside, &self.0)?;
        if let Some(directory) = self.0.parent() {
            // That the new name is there after a loss of power as well is not worth a failure.
            let _unsynced = File::open(directory).and_then(|directory| directory.sync_data());
        }
        Ok(())
    }
}

/// The first record that one of these sinks has yet to read, as their cursors say; `None` where there is no sink.
pub(crate) fn first_needed(directory: &Path, sinks: &Sinks) -> Option<u64> {
    let needed = SinkKind::configured(sinks).map(|kind| {
        let cursor = CursorFile::of(directory, kind.label()).read();
        cursor.ok().flatten().map_or(0, |cursor| cursor.seq) + 1
    });
    needed.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_a_broken_one_is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = CursorFile::of(directory.path(), "otlp");
        assert_eq!(file.read().expect("none yet"), None);
        let cursor = Cursor { seq: 7, hash: "ab".to_owned() };
        file.write(&cursor).expect("written");
        assert_eq!(file.read().expect("readable"), Some(cursor));
        fs::write(directory.path().join("sink-otlp.cursor"), "{\"seq\":").expect("broken");
        assert_eq!(file.read().expect("readable"), None);
    }
}
