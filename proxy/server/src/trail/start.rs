//! How the writer begins: the directory becomes this process's own, and the end of the trail is found.

use super::Before;
use super::desk::{Call, Desk};
use super::health::{Health, Watch};
use super::recovery::{self, Found};
use super::scribe::Scribe;
use super::store::{Store, StoreError};
use super::writer::Writer;
use pgwarden_audit::{Detail, Life, Record, Start};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How often it is looked whether the process before has left.
const LOOK: Duration = Duration::from_millis(50);

/// Starts the thread that writes.
///
/// # Errors
/// [`StoreError`] when the directory cannot be used.
pub(super) fn start(
    (desk, health): (Arc<Desk>, Arc<Health>),
    calls: Receiver<Call>,
    before: Before,
) -> Result<(), StoreError> {
    let Some(directory) = desk.terms.load().audit.directory.clone() else { return Ok(()) };
    let thread = thread::Builder::new().name("pgwarden-trail".into());
    let failed = |source| StoreError::Thread(source);
    let watch = Watch { health: Arc::clone(&health), required: desk.terms.load().audit.required };
    match before {
        Before::Nobody => {
            let writer = open(&directory, desk, health)?;
            let writing = move || {
                let _watch = watch;
                writer.run(&calls);
            };
            thread.spawn(writing).map_err(failed)?;
        }
        Before::Predecessor => {
            let waiting = move || {
                let _watch = watch;
                if let Some(writer) = wait(&directory, &(desk, health), &calls) {
                    writer.run(&calls);
                }
            };
            thread.spawn(waiting).map_err(failed)?;
        }
    }
    Ok(())
}

/// Waits until the process before has left the directory; nothing if this one has to end before.
fn wait(directory: &Path, parts: &(Arc<Desk>, Arc<Health>), calls: &Receiver<Call>) -> Option<Writer> {
    loop {
        let (desk, health) = parts;
        match open(directory, Arc::clone(desk), Arc::clone(health)) {
            Ok(writer) => return Some(writer),
            Err(StoreError::Taken(_)) => (),
            Err(error) => health.broken(&error.into_io(), desk.terms.load().audit.required),
        }
        match calls.recv_timeout(LOOK) {
            Ok(Call::Close(_)) | Err(RecvTimeoutError::Disconnected) => {
                tracing::error!(
                    "this process ends, and its audit trail was never its own: nothing of it is recorded"
                );
                return None;
            }
            // What was handed in stays where it is.
            Ok(Call::Look) | Err(RecvTimeoutError::Timeout) => (),
        }
    }
}

/// Makes the directory one's own, and goes on where the trail ends.
fn open(directory: &Path, desk: Arc<Desk>, health: Arc<Health>) -> Result<Writer, StoreError> {
    let mut store = Store::own(directory)?;
    let wrong = |source| StoreError::Directory { directory: directory.to_owned(), source };
    let Found { chain, carried, unsigned, start, tail, file } =
        recovery::recover(directory).map_err(wrong)?;
    if let Some((file, bytes, began)) = file {
        store.resume(file, bytes, began).map_err(wrong)?;
    }
    match start {
        Start::New => tracing::info!(directory = %directory.display(), "an audit trail begins"),
        Start::AfterStop => tracing::info!(record = chain.seq(), "the audit trail goes on"),
        Start::AfterCrash => tracing::warn!(
            record = chain.seq(),
            "the audit trail goes on; it ends without a stop, and the last window before may be lost"
        ),
    }
    let mut first = VecDeque::from([Record::of(Life::Started).with(Detail::Started(start))]);
    if let Some(tail) = tail {
        tracing::warn!(bytes = tail.bytes, lines = tail.lines, "the end of the audit trail was no record");
        first.push_back(Record::of(Life::TornTail).with(Detail::TornTail(tail)));
    }
    desk.journals_are(&carried.journal);
    let instance = desk.terms.load().audit.instance.clone().unwrap_or_else(host);
    Ok(Writer::new(desk, Scribe::new(store, (chain, carried), unsigned, instance), health, first))
}

/// The name of this machine.
fn host() -> String {
    let path = PathBuf::from("/proc/sys/kernel/hostname");
    let name = std::fs::read_to_string(path).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "pgwarden".to_owned() } else { name.to_owned() }
}
