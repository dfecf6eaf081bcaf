//! The directory of a trail: who owns it, the file that is written to, and which are removed.

use super::files::{TrailFile, files};
use crate::sinks::first_needed;
use pgwarden_audit::Timestamp;
use pgwarden_config::Sinks;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use thiserror::Error;

/// The file that is locked as long as somebody writes.
const LOCK: &str = ".lock";
/// Trails name tenants and show statements.
const OWNER_ONLY: u32 = 0o600;

/// Why a trail cannot be kept in a directory.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// Configuration: the directory is none, or cannot be written to.
    #[error(
        "cannot keep the audit trail in {} (audit.directory); give the user of pgwarden the right to write there, or name \
         another directory",
        .directory.display()
    )]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// System: another process writes there.
    #[error(
        "another pgwarden keeps its audit trail in {}; each needs an audit.directory of its own",
        .0.display()
    )]
    Taken(PathBuf),
    /// System: there is no thread for it.
    #[error("the thread that writes the audit trail")]
    Thread(#[source] io::Error),
}

impl StoreError {
    /// What the system says.
    pub(super) fn into_io(self) -> io::Error {
        match self {
            Self::Directory { source, .. } | Self::Thread(source) => source,
            Self::Taken(_) => io::ErrorKind::ResourceBusy.into(),
        }
    }
}

/// Not everything could be written.
#[derive(Debug)]
pub(super) struct Stopped {
    /// So many bytes were, all of them whole lines.
    pub(super) bytes: usize,
    /// What the system says.
    pub(super) error: io::Error,
}

impl From<Stopped> for io::Error {
    fn from(stopped: Stopped) -> Self {
        stopped.error
    }
}

/// A directory that is this process's own.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    _lock: File,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    file: File,
    trail: TrailFile,
    /// When its first record was written.
    began: Timestamp,
    /// How long it is as far as it is good.
    bytes: u64,
    state: State,
}

/// How the file on the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Everything has reached it for certain.
    Synced,
    /// Something may be lost if the power fails.
    Written,
    /// Behind its good end there is a part of something.
    Torn,
}

impl Store {
    /// Makes a directory one's own.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be written to, or is somebody else's.
    pub(super) fn own(directory: &Path) -> Result<Self, StoreError> {
        let wrong = |source| StoreError::Directory { directory: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(wrong)?;
        let lock = OpenOptions::new().create(true).append(true).mode(OWNER_ONLY).open(directory.join(LOCK));
        let lock = lock.map_err(wrong)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { directory: directory.to_owned(), _lock: lock, current: None }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Taken(directory.to_owned())),
            Err(TryLockError::Error(error)) => Err(wrong(error)),
        }
    }

    /// Goes on in a file that was found, behind so many bytes; what is there is removed.
    pub(super) fn resume(&mut self, trail: TrailFile, bytes: u64, began: Timestamp) -> io::Result<()> {
        let file = OpenOptions::new().append(true).open(&trail.path)?;
        let mut current = Current { file, trail, began, bytes, state: State::Torn };
        current.mend()?;
        self.current = Some(current);
        Ok(())
    }

    /// Begins a file, with these bytes.
    pub(super) fn begin(&mut self, first: u64, began: Timestamp, line: &[u8]) -> io::Result<()> {
        let trail = TrailFile::of(&self.directory, first);
        let file = OpenOptions::new().create(true).append(true).mode(OWNER_ONLY).open(&trail.path)?;
        // One that was begun before, when there was no room for more than its name.
        file.set_len(0)?;
        let mut current = Current { file, trail, began, bytes: 0, state: State::Written };
        current.append(line)?;
        File::open(&self.directory)?.sync_all()?;
        self.current = Some(current);
        Ok(())
    }

    /// Appends whole lines, as many as there is room for.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), Stopped> {
        let gone = || Stopped { bytes: 0, error: io::ErrorKind::NotFound.into() };
        self.current.as_mut().ok_or_else(gone)?.append(lines)
    }

    /// Sees to it that what was written is on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        if current.state == State::Written {
            current.file.sync_data()?;
            current.state = State::Synced;
        }
        Ok(())
    }

    /// How long the file is, and when it began; nothing where there is none any more.
    pub(super) fn current(&self) -> Option<(u64, Timestamp)> {
        let current = self.current.as_ref()?;
        // Somebody has removed it: what is written to it is gone.
        let is_there = current.file.metadata().is_ok_and(|metadata| metadata.nlink() > 0);
        is_there.then_some((current.bytes, current.began))
    }

    /// The files that need not be kept any longer, the oldest first; never the one that is written to. What a sink has yet
    /// to read is kept however old it is, but not beyond so many bytes.
    pub(super) fn outdated(
        &self,
        (keep_for, sinks): (Option<Duration>, &Sinks),
        keep_bytes: Option<usize>,
        now: SystemTime,
    ) -> io::Result<Vec<TrailFile>> {
        if keep_for.is_none() && keep_bytes.is_none() {
            return Ok(Vec::new());
        }
        let mut old = files(&self.directory)?;
        old.retain(|file| self.current.as_ref().is_none_or(|current| current.trail.first > file.first));
        let most = keep_bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(u64::MAX);
        let mut total = self.current.as_ref().map_or(0, |current| current.bytes);
        let needed = first_needed(&self.directory, sinks).unwrap_or(u64::MAX);
        let mut behind = self.current.as_ref().map_or(u64::MAX, |current| current.trail.first);
        let mut kept = 0;
        for file in old.iter().rev() {
            let metadata = fs::metadata(&file.path)?;
            total = total.saturating_add(metadata.len());
            let age = now.duration_since(metadata.modified()?).unwrap_or_default();
            if total > most || (behind <= needed && keep_for.is_some_and(|limit| age > limit)) {
                break;
            }
            behind = file.first;
            kept += 1;
        }
        old.truncate(old.len() - kept);
        Ok(old)
    }
}

impl Current {
    fn append(&mut self, lines: &[u8]) -> Result<(), Stopped> {
        self.mend().map_err(|error| Stopped { bytes: 0, error })?;
        let (written, error) = write(&mut self.file, lines);
        // Who follows the file has seen whole lines already, and they stay.
        let is_end = |byte: &u8| *byte == b'\n';
        let whole =
            lines.get(..written).unwrap_or_default().iter().rposition(is_end).map_or(0, |end| end + 1);
        self.bytes += u64::try_from(whole).unwrap_or_default();
        self.state = State::Written;
        let Some(error) = error else { return Ok(()) };
        // What was written of another goes again, now or in front of the next.
        self.state = State::Torn;
        let _later = self.mend();
        Err(Stopped { bytes: whole, error })
    }

    fn mend(&mut self) -> io::Result<()> {
        if self.state == State::Torn {
            self.file.set_len(self.bytes)?;
            self.state = State::Written;
        }
        Ok(())
    }
}

/// Writes as much as there is room for: how many bytes, and why not all.
fn write(file: &mut File, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

/// Writes a new file for its owner alone.
pub(super) fn write_aside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(OWNER_ONLY).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Whether a process writes to the trail in this directory now.
pub(super) fn is_written_to(directory: &Path) -> bool {
    let lock = File::open(directory.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgwarden_config::{Settings, Source, load};

    struct Nothing;

    impl Source for Nothing {
        fn file(&self, _path: &Path) -> io::Result<Vec<u8>> {
            Err(io::ErrorKind::NotFound.into())
        }

        fn env(&self, _name: &str) -> Option<std::ffi::OsString> {
            None
        }
    }

    fn settings(more: &str) -> Settings {
        let text =
            format!("upstream.url = 'postgres://h'\nauth.method = 'trust'\naudit.directory = '/t'\n{more}");
        load(Some((Path::new("p"), &text)), &[], &[], &Nothing).expect("settings")
    }

    #[test]
    fn what_a_sink_has_yet_to_read_is_kept_however_old_it_is_but_not_however_long() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = Store::own(directory.path()).expect("nobody's");
        for first in [1, 11, 21] {
            store.begin(first, Timestamp(0), b"{}\n").expect("begun");
        }
        let (alone, followed) = (settings(""), settings("audit.syslog.address = 'udp://h:514'\n"));
        let later = SystemTime::now() + Duration::from_secs(3_600);
        let old = |settings: &Settings, bytes| {
            let keep = (Some(Duration::from_secs(1)), &settings.sinks);
            let old = store.outdated(keep, bytes, later).expect("readable");
            old.iter().map(|file| file.first).collect::<Vec<_>>()
        };
        assert_eq!(old(&alone, None), [1, 11]);
        assert_eq!(old(&followed, None), [0; 0], "nothing was delivered yet");
        for (seq, expected) in [(9, &[][..]), (10, &[1]), (19, &[1]), (20, &[1, 11]), (25, &[1, 11])] {
            let cursor = format!("{{\"seq\":{seq},\"hash\":\"\"}}");
            fs::write(directory.path().join("sink-syslog.cursor"), cursor).expect("written");
            assert_eq!(old(&followed, None), expected, "up to {seq}");
            assert_eq!(old(&followed, Some(4)), [1, 11], "there is no room for them");
        }
    }
}
