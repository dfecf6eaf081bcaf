//! Log lines, to stderr.
//!
//! Logging can fail without harm: a line is put into a queue and written by a thread of its own, so that neither a
//! closed stderr nor one that nobody reads stops a client. What does not fit into the queue is dropped and counted,
//! and the count is logged once there is room again.
//!
//! An event is one line, whatever its fields hold: JSON escapes control characters by itself, and for people
//! [`escaped`] does.

mod escaped;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use pgwarden_config::{Log, LogFormat};
use thiserror::Error;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use self::escaped::EscapedFields;

/// How many bytes may wait to be written; about ten thousand lines.
const QUEUE_BYTES: usize = 2 * 1024 * 1024;

/// How long the end of the process waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Why there is no log.
#[derive(Debug, Error)]
pub(crate) enum LogError {
    /// The configuration: not a level, nor directives.
    #[error("invalid log level")]
    Level(#[from] ParseError),
    /// The system: no thread to write.
    #[error("could not start the log writer")]
    Thread(#[from] io::Error),
    /// Ours: started twice.
    #[error("the log is already set up")]
    Taken(#[from] TryInitError),
}

/// The running log; dropping it waits a moment for the lines that are still to be written.
#[must_use = "lines are lost at exit unless this is kept"]
pub(crate) struct Logging(Arc<Queue>);

impl Drop for Logging {
    fn drop(&mut self) {
        self.0.flush(FLUSH_TIMEOUT);
    }
}

/// Starts the log of the process, as configured, to stderr.
///
/// # Errors
///
/// [`LogError`]; once the log runs, it does not fail.
pub(crate) fn start(log: &Log) -> Result<Logging, LogError> {
    let targets: Targets = log.level.parse()?;
    let queue = Arc::new(Queue::default());
    let colours = io::stderr().is_terminal();
    let lines = Lines(Arc::clone(&queue));
    tracing_subscriber::registry()
        .with(layer(log.format, Colours(colours), lines).with_filter(targets))
        .try_init()?;
    let written = Arc::clone(&queue);
    thread::Builder::new().name("log".to_owned()).spawn(move || written.write_to(io::stderr()))?;
    Ok(Logging(queue))
}

/// Whether lines carry escape sequences.
#[derive(Clone, Copy)]
struct Colours(bool);

fn layer(format: LogFormat, colours: Colours, lines: Lines) -> Box<dyn Layer<Registry> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer().with_writer(lines).log_internal_errors(false);
    match format {
        LogFormat::Pretty => layer.with_ansi(colours.0).fmt_fields(EscapedFields).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

/// Lines on their way to stderr.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    lost: u64,
    /// Taken by the thread, and not written yet.
    writing: bool,
}

impl Queue {
    /// Puts a line in, or counts it as lost.
    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.bytes.len() + line.len() > QUEUE_BYTES {
            state.lost += 1;
            return;
        }
        state.bytes.extend_from_slice(line);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for lines, and takes them all with the number of those lost before.
    fn take(&self) -> (Vec<u8>, u64) {
        let mut state = self.lock();
        state.writing = false;
        self.changed.notify_all();
        let waited = self.changed.wait_while(state, |state| state.bytes.is_empty() && state.lost == 0);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.writing = true;
        (std::mem::take(&mut state.bytes), std::mem::take(&mut state.lost))
    }

    /// Writes lines for as long as the process runs; errors are nobody's concern.
    fn write_to(&self, mut sink: impl Write) {
        loop {
            let (bytes, lost) = self.take();
            let _ = sink.write_all(&bytes).and_then(|()| sink.flush());
            if lost > 0 {
                tracing::warn!(lines = lost, "log lines were lost because nobody read them in time");
            }
        }
    }

    /// Waits until everything is written, at most for `timeout`.
    fn flush(&self, timeout: Duration) {
        let waits = |state: &mut State| state.writing || !state.bytes.is_empty();
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, waits);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one event's line after the other.
#[derive(Clone)]
struct Lines(Arc<Queue>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
