//! One measurement: a number of clients that run transactions against one lane for a while.

use std::cell::{Cell as Shared, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::timeout;

use crate::Result;
use crate::connection::{Connection, Login};
use crate::matrix::{Cell, Workload};
use crate::network::Network;
use crate::options::Plan;
use crate::script::{Keys, Script};
use crate::targets::Target;
use crate::usage;

/// How long clients may take to connect, or to finish their last transaction, before they count as stalled.
const STALL: Duration = Duration::from_secs(20);
/// Highest latency the histogram keeps, in nanoseconds.
const SLOWEST: u64 = 60_000_000_000;

/// What one measurement yields.
#[derive(Debug)]
pub struct Sample {
    /// Transactions that ended within the measured time.
    pub transactions: u64,
    /// All transactions, those that were not measured as well.
    pub completed: u64,
    /// The measured time.
    pub elapsed: Duration,
    /// Their latencies in nanoseconds.
    pub latency: Histogram<u64>,
    /// CPU time of the proxy.
    pub proxy_cpu: Option<Duration>,
    /// CPU time of the load generator.
    pub own_cpu: Option<Duration>,
    /// Resident memory of the proxy at the end, in bytes.
    pub resident: Option<u64>,
    /// What went wrong. Not empty means the sample is worth nothing.
    pub errors: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measure,
    Stop,
}

/// What the clients of one measurement share; all run on one thread.
#[derive(Debug)]
struct Run {
    login: Login,
    workload: Workload,
    script: Script,
    network: Network,
    phase: Shared<Phase>,
    latency: RefCell<Histogram<u64>>,
    errors: RefCell<Vec<String>>,
    /// Transactions that are done, measured or not.
    completed: Shared<u64>,
    clients: usize,
    /// Clients that have not connected yet.
    missing: Shared<usize>,
    all_connected: Notify,
}

/// Runs the cell against the target: connect, warm up, measure, disconnect.
pub async fn measure(plan: &Plan, target: &Target, cell: Cell) -> Result<Sample> {
    let run = Rc::new(Run {
        login: target.login.clone(),
        workload: cell.workload,
        script: Script::new(cell.workload, cell.protocol, target.lane)?,
        network: Network::new(plan.rtt),
        phase: Shared::new(Phase::WarmUp),
        latency: RefCell::new(Histogram::new_with_max(SLOWEST, 3)?),
        errors: RefCell::default(),
        completed: Shared::new(0),
        clients: cell.clients,
        missing: Shared::new(cell.clients),
        all_connected: Notify::new(),
    });
    LocalSet::new().run_until(drive(plan, target, cell, &run)).await
}

async fn drive(plan: &Plan, target: &Target, cell: Cell, run: &Rc<Run>) -> Result<Sample> {
    let clients: Vec<_> =
        (0..cell.clients).map(|number| tokio::task::spawn_local(Rc::clone(run).client(number))).collect();
    if timeout(STALL, run.all_connected.notified()).await.is_err() {
        run.errors.borrow_mut().push(format!("{} clients could not connect in time", run.missing.get()));
    }
    tokio::time::sleep(plan.warm_up).await;
    let before = (target.proxy.and_then(usage::cpu), usage::cpu(std::process::id()));
    let start = Instant::now();
    run.phase.set(Phase::Measure);
    tokio::time::sleep(plan.duration).await;
    run.phase.set(Phase::Stop);
    let elapsed = start.elapsed();
    let after = (target.proxy.and_then(usage::cpu), usage::cpu(std::process::id()));
    let resident = target.proxy.and_then(usage::resident_bytes);
    finish(clients, run).await;
    Ok(Sample {
        transactions: run.latency.borrow().len(),
        completed: run.completed.get(),
        elapsed,
        latency: run.latency.borrow().clone(),
        proxy_cpu: difference(before.0, after.0),
        own_cpu: difference(before.1, after.1),
        resident,
        errors: run.errors.take(),
    })
}

/// Waits for the clients to end; those that do not are ended, and counted.
async fn finish(clients: Vec<JoinHandle<()>>, run: &Run) {
    let deadline = tokio::time::Instant::now() + STALL;
    for mut client in clients {
        if tokio::time::timeout_at(deadline, &mut client).await.is_err() {
            client.abort();
            run.errors.borrow_mut().push("a client got no reply".to_owned());
        }
    }
}

fn difference(before: Option<Duration>, after: Option<Duration>) -> Option<Duration> {
    Some(after?.saturating_sub(before?))
}

impl Run {
    /// One client, from its connection to its end; an error ends it.
    async fn client(self: Rc<Self>, number: usize) {
        let keys = Keys::new(number, self.clients);
        let result = if self.workload == Workload::Connect {
            self.connected();
            self.churn(keys).await
        } else {
            self.keep_one(keys).await
        };
        if let Err(error) = result {
            self.errors.borrow_mut().push(error.to_string());
        }
    }

    /// Transactions over one connection.
    async fn keep_one(&self, mut keys: Keys) -> Result<()> {
        let connection = self.prepared_connection().await;
        self.connected();
        let mut connection = connection?;
        let mut request = Vec::new();
        while self.phase.get() != Phase::Stop {
            self.timed(self.transaction(&mut connection, &mut keys, &mut request)).await?;
        }
        connection.close().await
    }

    /// A new connection for every transaction.
    async fn churn(&self, mut keys: Keys) -> Result<()> {
        let mut request = Vec::new();
        while self.phase.get() != Phase::Stop {
            let life = async {
                self.network.cross().await?;
                let mut connection = Connection::open(&self.login).await?;
                self.transaction(&mut connection, &mut keys, &mut request).await?;
                connection.close().await
            };
            self.timed(life).await?;
        }
        Ok(())
    }

    async fn prepared_connection(&self) -> Result<Connection> {
        let mut connection = Connection::open(&self.login).await?;
        let preparation = self.script.preparation();
        if !preparation.is_empty() {
            connection.round_trip(&preparation).await?;
        }
        Ok(connection)
    }

    async fn transaction(
        &self,
        connection: &mut Connection,
        keys: &mut Keys,
        request: &mut Vec<u8>,
    ) -> Result<()> {
        let draw = keys.draw();
        for step in self.script.steps() {
            step.encode(draw, request);
            self.network.cross().await?;
            step.check(connection.round_trip(request).await?)?;
        }
        Ok(())
    }

    /// Runs `work` and keeps its latency when it ends within the measured time.
    async fn timed(&self, work: impl Future<Output = Result<()>>) -> Result<()> {
        let start = Instant::now();
        work.await?;
        self.completed.set(self.completed.get() + 1);
        if self.phase.get() == Phase::Measure {
            let nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(SLOWEST);
            self.latency.borrow_mut().saturating_record(nanoseconds);
        }
        Ok(())
    }

    fn connected(&self) {
        self.missing.set(self.missing.get() - 1);
        if self.missing.get() == 0 {
            self.all_connected.notify_one();
        }
    }
}
