//! `pgwarden-bench`: the same load, side by side, over every way an application can reach its database.
//!
//! One run starts everything it needs (a throw-away PostgreSQL, a bare TCP relay, PgBouncer and pgwarden twice),
//! drives each *lane* with the same transactions in alternating rounds, and prints medians and ratios. Every reply is
//! checked (rows, command tag, transaction status), so a lane that answers fast but wrongly fails the run.
//!
//! Exit codes: 0 all measured, 1 a transaction failed or a service did not start, 130 interrupted.

mod connection;
mod encryption;
mod frames;
mod goals;
mod load;
mod matrix;
mod network;
mod options;
mod postgres;
mod process;
mod relay;
mod report;
mod results;
mod rounds;
mod schema;
mod script;
mod shadow;
mod targets;
mod tokens;
mod trail;
mod usage;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::options::{Cli, Hidden, Plan};
use crate::targets::TestBed;

/// A result whose error is only ever shown to the person who runs the benchmark.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Load average above which the machine is not to be called quiet.
const BUSY: f64 = 0.5;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let outcome = match cli.command {
        Some(Hidden::Relay(arguments)) => runtime.block_on(relay::run(arguments)).map(|()| ExitCode::SUCCESS),
        None => runtime.block_on(until_interrupted(Plan::from_options(cli.options))),
    };
    outcome.unwrap_or_else(|error| failed(error.as_ref()))
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("pgwarden-bench: {error}");
    ExitCode::FAILURE
}

/// Runs the benchmark; on SIGINT or SIGTERM it is dropped where it stands, which stops every service it started.
async fn until_interrupted(plan: Plan) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = benchmark(plan) => outcome,
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(130)),
    }
}

/// Starts the services, measures, reports.
async fn benchmark(plan: Plan) -> Result<ExitCode> {
    if let Some(load) = usage::load_average().filter(|&load| load > BUSY) {
        eprintln!("note: the load average is {load}; whatever else runs here disturbs the figures");
    }
    let mut bed = TestBed::start(&plan).await?;
    for note in bed.notes() {
        eprintln!("note: {note}");
    }
    let results = rounds::measure(&plan, &bed).await?;
    let trails = trail::read(&mut bed);
    print!("{}", report::goals(&goals::all(&results, &trails)));
    report::write_files(&plan, &results)?;
    let errors: u64 = results.iter().map(results::CellResult::errors).sum();
    if errors > 0 {
        eprintln!("pgwarden-bench: {errors} errors, the figures are not valid");
        return Ok(ExitCode::FAILURE);
    }
    if let Some((found, run)) = goals::lost(&results, &trails) {
        eprintln!("pgwarden-bench: {run} statements ran that the trail has to have, and it has {found}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
