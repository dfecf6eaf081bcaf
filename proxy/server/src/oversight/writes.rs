//! The thread that weighs what triggers have told: it reads the statements' texts, which needs a deep stack.

use crate::meters::Meters;
use pgwarden_shadow::Reporter;
use pgwarden_shadow::writes::{Judge, Told};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

/// Bytes of stack for deeply nested statements.
const STACK: usize = 64 * 1024 * 1024;
/// Notices that may wait.
const BACKLOG: usize = 10_000;

/// Weighs notices, and tells what is found.
#[derive(Debug)]
pub(super) struct Writes {
    told: SyncSender<Word>,
    meters: Arc<Meters>,
}

/// What the thread is sent.
enum Word {
    Told(Box<Told>),
    /// Everything in front of it is done with.
    Done(SyncSender<()>),
}

impl Word {
    fn heed(self, reporter: &dyn Reporter) {
        match self {
            Self::Told(told) => told.findings().into_iter().for_each(|finding| reporter.found(finding)),
            Self::Done(done) => {
                let _gone = done.send(());
            }
        }
    }
}

impl Writes {
    /// Starts the thread.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(reporter: Arc<dyn Reporter>, meters: Arc<Meters>) -> io::Result<Self> {
        let (told, words) = sync_channel::<Word>(BACKLOG);
        let thread = std::thread::Builder::new().name("pgwarden-writes".into()).stack_size(STACK);
        thread.spawn(move || words.into_iter().for_each(|word| word.heed(&*reporter)))?;
        Ok(Self { told, meters })
    }

    /// Waits until everything that was told is weighed, at most for `patience`.
    pub(super) fn close(&self, patience: Duration) {
        let (done, closed) = sync_channel(1);
        if self.told.try_send(Word::Done(done)).is_ok() {
            let _late = closed.recv_timeout(patience);
        }
    }
}

impl Judge for Writes {
    fn told(&self, told: Told) {
        if self.told.try_send(Word::Told(Box::new(told))).is_err() {
            self.dropped(1);
        }
    }

    fn dropped(&self, count: u64) {
        self.meters.shadow.notices_dropped(count);
        tracing::warn!(count, "what triggers have told of writes finds no place, or cannot be read");
    }
}
