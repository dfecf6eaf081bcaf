//! Where the audit trail goes besides its files.
//!
//! A sink follows the files of the trail ([`follow`]) and remembers in a file beside them how far it has come
//! ([`cursor`]); so nothing is lost while the other side is down, and nobody who writes the trail ever waits for a sink.
//! What is delivered twice, after a failure of which it is not known what it has left, is told by the records' ids.
//!
//! All sinks share one thread with a runtime of its own. That a sink is down changes nothing for clients, and nothing
//! about `/readyz`: the trail itself is in its files.

mod cursor;
mod entry;
pub(crate) mod export;
mod failure;
mod follow;
mod otlp;
mod postgres;
mod prepare;
mod pump;
mod state;
mod syslog;

pub(crate) use cursor::first_needed;
pub(crate) use postgres::SCRIPT;
pub(crate) use prepare::Prepared;
pub(crate) use state::{SinkKind, SinkMeters};

use crate::meters::Meters;
use crate::start_error::StartError;
use crate::status::SinkReport;
use crate::trail::Trail;
use pump::{Course, Phase, Reach, Sink, pump, watch};
use state::SinkState;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The sinks of the configuration in force.
#[derive(Debug)]
pub(crate) struct Sinks {
    meters: Arc<Meters>,
    reach: Arc<dyn Reach>,
    running: Mutex<Option<Running>>,
}

/// Sinks at work.
#[derive(Debug)]
struct Running {
    prepared: Prepared,
    states: Vec<Arc<SinkState>>,
    orders: watch::Sender<Order>,
    /// Says nothing; it ends with the thread.
    ended: Receiver<()>,
}

/// What the thread is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// To work.
    Work,
    /// To end when everything is delivered.
    Finish,
    /// To end.
    End,
}

impl Sinks {
    /// The sinks of a trail, at work.
    ///
    /// # Errors
    /// [`StartError::System`] when there is no thread for them.
    pub(crate) fn start(
        trail: &Arc<Trail>,
        meters: &Arc<Meters>,
        prepared: Option<Prepared>,
    ) -> Result<Self, StartError> {
        let reach: Arc<dyn Reach> = Arc::<Trail>::clone(trail);
        let sinks = Self { meters: Arc::clone(meters), reach, running: Mutex::default() };
        sinks.exchange(prepared).map_err(StartError::system("the thread of the sinks"))?;
        Ok(sinks)
    }

    /// Puts what a reload has read into force; sinks that are the same go on.
    pub(crate) fn follow(&self, prepared: Option<Prepared>) {
        if let Err(error) = self.exchange(prepared) {
            tracing::warn!(%error, "the audit trail goes to no sink until the next reload");
        }
    }

    fn exchange(&self, prepared: Option<Prepared>) -> io::Result<()> {
        let mut running = self.running();
        match (&*running, &prepared) {
            (Some(before), Some(next)) if before.prepared.is_like(next) => return Ok(()),
            _ => (),
        }
        if let Some(before) = running.take() {
            before.orders.send_replace(Order::End);
        }
        *running = prepared.map(|prepared| start(prepared, &self.reach, &self.meters)).transpose()?;
        Ok(())
    }

    /// Lets the sinks deliver what is there, and ends them; waits so long at most.
    pub(crate) fn finish(&self, patience: Duration) {
        let Some(running) = self.running().take() else { return };
        running.orders.send_replace(Order::Finish);
        let _ended = running.ended.recv_timeout(patience);
        running.orders.send_replace(Order::End);
        for state in running.states.iter().filter(|state| state.behind() > 0) {
            let (sink, records) = (state.kind().label(), state.behind());
            tracing::warn!(
                sink,
                records,
                "not everything was delivered; the rest follows after the next start"
            );
        }
    }

    /// What the status shows of each.
    pub(crate) fn report(&self) -> Vec<SinkReport> {
        let running = self.running();
        running.iter().flat_map(|running| &running.states).map(|state| state.report()).collect()
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread.
fn start(prepared: Prepared, reach: &Arc<dyn Reach>, meters: &Arc<Meters>) -> io::Result<Running> {
    let (orders, heard) = watch::channel(Order::Work);
    let (ending, ended) = channel();
    let kinds = SinkKind::configured(&prepared.settings);
    let states: Vec<_> = kinds.map(|kind| meters.sinks.of(kind)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (work, told, counted) = (prepared.clone(), states.clone(), Arc::clone(meters));
    let reach = Arc::clone(reach);
    std::thread::Builder::new().name("pgwarden-sinks".into()).spawn(move || {
        runtime.block_on(work_until_told(&work, (&told, &reach), &counted, heard));
        // A request that is under way ends by itself.
        runtime.shutdown_background();
        drop(ending);
    })?;
    for state in &states {
        tracing::info!(sink = state.kind().label(), "the audit trail is delivered to a sink");
    }
    Ok(Running { prepared, states, orders, ended })
}

/// Runs the pumps until they have ended, or until it is told to end.
async fn work_until_told(
    prepared: &Prepared,
    (states, reach): (&[Arc<SinkState>], &Arc<dyn Reach>),
    meters: &Arc<Meters>,
    mut heard: watch::Receiver<Order>,
) {
    let (phases, phase) = watch::channel(Phase::Running);
    let mut pumps = JoinSet::new();
    let settings = &prepared.settings;
    let mut begin = Beginning { states, reach, directory: &prepared.directory, phase, pumps: &mut pumps };
    if let (Some(sink), Some(table)) = (&settings.postgres, &prepared.table) {
        let table = postgres::Table::new(sink, table.clone(), &prepared.tcp, Arc::clone(meters));
        begin.one(table, SinkKind::Postgres, sink.batch);
    }
    if let Some(sink) = &settings.otlp {
        begin.one(otlp::Receiver::new(sink, &prepared.authorities), SinkKind::Otlp, sink.batch);
    }
    if let Some(sink) = &settings.syslog {
        let receiver = syslog::Receiver::new(sink, prepared.handshake.clone());
        begin.one(receiver, SinkKind::Syslog, sink.batch);
    }
    let finished = async {
        drop(heard.wait_for(|order| *order != Order::Work).await);
        phases.send_replace(Phase::Finishing);
        // Where nobody holds the orders any more, it ends as well.
        drop(heard.wait_for(|order| *order == Order::End).await);
    };
    tokio::select! {
        () = finished => (),
        () = watch(&**reach, states) => (),
        () = async { while pumps.join_next().await.is_some() {} } => (),
    }
}

/// What pumps begin with.
struct Beginning<'a> {
    states: &'a [Arc<SinkState>],
    reach: &'a Arc<dyn Reach>,
    directory: &'a Path,
    phase: watch::Receiver<Phase>,
    pumps: &'a mut JoinSet<()>,
}

impl Reach for Trail {
    fn written(&self) -> u64 {
        Trail::written(self)
    }
}

impl Beginning<'_> {
    fn one(&mut self, sink: impl Sink + 'static, kind: SinkKind, batch: usize) {
        let Some(state) = self.states.iter().find(|state| state.kind() == kind) else { return };
        let (directory, reach) = (self.directory.to_owned(), Arc::clone(self.reach));
        let course = Course { directory, reach, batch, state: Arc::clone(state), phase: self.phase.clone() };
        self.pumps.spawn(pump(sink, course));
    }
}
