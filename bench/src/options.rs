//! The command line, as written ([`Options`]) and as meant ([`Plan`]).

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum as _};

use crate::matrix::{Cell, Lane, Protocol, Suite, Workload};
use crate::relay::RelayArguments;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "pgwarden-bench", version, about, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// A role of this binary other than the benchmark itself.
    #[command(subcommand)]
    pub command: Option<Hidden>,
    /// What to measure.
    #[command(flatten)]
    pub options: Options,
}

/// Roles that the benchmark starts itself in, as separate processes.
#[derive(Debug, Subcommand)]
pub enum Hidden {
    /// Forward TCP connections, byte for byte.
    #[command(hide = true)]
    Relay(RelayArguments),
}

/// What to measure, as written. Lists are comma-separated.
#[derive(Debug, Args)]
pub struct Options {
    /// Smoke run: one round of half a second with 16 clients, unless said otherwise.
    #[arg(long)]
    quick: bool,
    /// What is measured unless something else is said.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Suite::Paths)]
    suite: Suite,
    /// Rounds per cell; the report shows the median. [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Seconds measured per lane and round, after a warm-up of a fifth of it. [default: 2]
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Only these lanes.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    lanes: Vec<Lane>,
    /// Only these protocols.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    protocols: Vec<Protocol>,
    /// Only these workloads.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    workloads: Vec<Workload>,
    /// Numbers of clients. [default: 1,16,64]
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = clients)]
    clients: Vec<usize>,
    /// What lies between the clients and whatever they connect to.
    #[command(flatten)]
    between: Between,
    /// Backend connections of each pooler.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    pool: u32,
    /// Where the figures go. [default: target/bench/bench.csv]
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Where the plot goes. [default: target/bench/bench.svg]
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What lies between the clients and whatever they connect to, as written.
#[derive(Debug, Args)]
pub struct Between {
    /// Network round trip to add on the client's side, in microseconds, once per message sent.
    #[arg(long, value_name = "US", default_value_t = 0)]
    rtt_us: u64,
    /// TLS; between poolers and PostgreSQL there is none.
    #[arg(long)]
    tls: bool,
}

/// What to measure, as meant.
#[derive(Debug)]
pub struct Plan {
    /// Lanes, in the order of the report.
    pub lanes: Vec<Lane>,
    /// Cells, in the order they are measured.
    pub cells: Vec<Cell>,
    /// Rounds per cell.
    pub rounds: u32,
    /// Time measured per lane and round.
    pub duration: Duration,
    /// Time before it that is not measured.
    pub warm_up: Duration,
    /// Added network round trip.
    pub rtt: Duration,
    /// Whether clients speak TLS to whatever they connect to.
    pub tls: bool,
    /// Backend connections of each pooler.
    pub pool: u32,
    /// Where the figures go.
    pub csv: PathBuf,
    /// Where the plot goes.
    pub svg: PathBuf,
}

impl Plan {
    /// Fills in what was not said.
    pub fn from_options(options: Options) -> Self {
        let quick = options.quick;
        let duration = options.seconds.unwrap_or(Duration::from_millis(if quick { 500 } else { 2000 }));
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
        let (usual_lanes, usual_workloads, usual_protocols) = options.suite.usual();
        let protocols = or_default(options.protocols, usual_protocols);
        let workloads = or_default(options.workloads, usual_workloads);
        let clients = |workload: Workload| match options.suite {
            _ if !options.clients.is_empty() => options.clients.clone(),
            Suite::Shadow => vec![workload.shadow_clients()],
            Suite::Paths if quick => vec![16],
            Suite::Paths => vec![1, 16, 64],
        };
        let cells = cells(&workloads, &protocols, clients);
        let mut lanes = or_default(options.lanes, usual_lanes);
        lanes.sort_unstable();
        lanes.dedup();
        Self {
            lanes,
            cells,
            rounds: options.rounds.unwrap_or(if quick { 1 } else { 5 }),
            duration,
            warm_up: duration / 5,
            rtt: Duration::from_micros(options.between.rtt_us),
            tls: options.between.tls,
            pool: options.pool,
            csv: options.csv.unwrap_or_else(|| directory.join("bench.csv")),
            svg: options.svg.unwrap_or_else(|| directory.join("bench.svg")),
        }
    }

    /// The largest number of clients in any cell.
    pub fn most_clients(&self) -> usize {
        self.cells.iter().map(|cell| cell.clients).max().unwrap_or(1)
    }
}

fn or_default<T: Clone>(given: Vec<T>, default: &[T]) -> Vec<T> {
    if given.is_empty() { default.to_vec() } else { given }
}

impl Suite {
    /// Its lanes, workloads and protocols.
    fn usual(self) -> (&'static [Lane], &'static [Workload], &'static [Protocol]) {
        match self {
            Self::Paths => (&Lane::ALL, &Workload::USUAL, Protocol::value_variants()),
            Self::Shadow => (&Lane::SHADOW, &Workload::SHADOW, &[Protocol::Prepared]),
        }
    }
}

fn cells(
    workloads: &[Workload],
    protocols: &[Protocol],
    clients: impl Fn(Workload) -> Vec<usize>,
) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &workload in workloads {
        for clients in clients(workload) {
            let combined = protocols.iter().map(|&protocol| Cell { workload, protocol, clients });
            cells.extend(combined.filter(|cell| cell.is_meaningful()));
        }
    }
    cells
}

fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.05..=3600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("must be between 0.05 and 3600".to_owned())
    }
}

fn clients(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=10_000) => Ok(count),
        _ => Err("must be a number between 1 and 10000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &[&str]) -> Plan {
        let line = std::iter::once(&"pgwarden-bench").chain(arguments);
        Plan::from_options(Cli::try_parse_from(line).unwrap().options)
    }

    #[test]
    fn the_default_covers_every_lane_and_meaningful_cell() {
        let plan = plan(&[]);
        assert_eq!(plan.lanes, Lane::ALL);
        assert_eq!(plan.cells.len(), 3 * 3 * 3 + 3);
    }

    #[test]
    fn quick_is_only_a_default() {
        let plan = plan(&["--quick", "--rounds", "3", "--clients", "1,2"]);
        assert_eq!((plan.rounds, plan.most_clients()), (3, 2));
        assert_eq!(plan.duration, Duration::from_millis(500));
    }

    #[test]
    fn each_workload_of_the_shadow_suite_has_its_clients_and_two_lanes_at_least() {
        let plan = plan(&["--suite", "shadow"]);
        assert_eq!(plan.cells.len(), Workload::SHADOW.len());
        assert_eq!(plan.most_clients(), 64);
        for &cell in &plan.cells {
            assert!(plan.lanes.iter().filter(|lane| lane.serves(cell)).count() >= 2, "{cell}");
        }
    }

    #[test]
    fn lanes_are_reported_in_one_order() {
        let plan = plan(&["--lanes", "pgbouncer-app,direct,direct"]);
        assert_eq!(plan.lanes, [Lane::Direct, Lane::PgbouncerApp]);
    }
}
