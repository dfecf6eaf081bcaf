//! Mixed load over a long time: tenants interleaved on few backends, with churn, errors, cancels and pins. Every row is
//! looked at, and at the end nothing is left: no memory, no descriptor, no place in the pool.
//!
//! As a test, some thousand transactions; `./run soak SECONDS` goes on for as long as one likes, up to a million and more.

#[path = "soak/client.rs"]
mod client;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::Client;
use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants};
use pgwarden_tests::{Pgwarden, Server, until, versions};

/// Clients at a time; they share a few backends.
const CLIENTS: u64 = 8;
const BACKENDS: &str = "3";

/// How much more memory pgwarden may have at the end than after its first quarter, in kB.
const ALLOWED: u64 = 16 * 1024;

/// How long, and how many transactions at least.
struct Length {
    time: Duration,
    transactions: u64,
}

impl Length {
    /// The test counts and has no clock; `PGWARDEN_SOAK_SECONDS` is for long runs.
    fn wished() -> Length {
        let seconds = std::env::var("PGWARDEN_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
        match seconds {
            Some(seconds) => Length { time: Duration::from_secs(seconds), transactions: 0 },
            None => Length { time: Duration::ZERO, transactions: 2_000 },
        }
    }
}

/// What pgwarden has by now.
#[derive(Debug)]
struct Possessions {
    memory: u64,
    descriptors: usize,
}

fn possessions(pgwarden: &Pgwarden) -> Possessions {
    let process = pgwarden.process_id();
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let memory = line.trim().trim_end_matches(" kB").parse().expect("a number");
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).expect("the process runs").count();
    Possessions { memory, descriptors }
}

#[test]
fn mixed_load_leaves_every_tenant_its_own_rows_and_nothing_behind() {
    let server = Server::start(versions().pop().expect("a version is tested"));
    let stage = Tenants::start_with(&server, |builder| builder.env("PGWARDEN_POOL_SIZE", BACKENDS));
    server.psql("INSERT INTO items SELECT n::text, org FROM items, generate_series(1, 20) n");
    let length = Length::wished();
    let (done, ends) = (AtomicU64::new(0), AtomicBool::new(false));
    let started = Instant::now();
    let mut early = None;
    std::thread::scope(|scope| {
        let port = stage.pgwarden.port();
        let (done, ends) = (&done, &ends);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (user, org) = if number % 2 == 0 { ("acme", ACME) } else { ("globex", GLOBEX) };
                scope.spawn(move || {
                    let mut client = Client::new(port, user, org, number);
                    while !ends.load(Ordering::Relaxed) {
                        done.fetch_add(client.step(), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let quarter = Length { time: length.time / 4, transactions: length.transactions / 4 };
        while clients.iter().all(|client| !client.is_finished()) {
            let (elapsed, count) = (started.elapsed(), done.load(Ordering::Relaxed));
            if early.is_none() && elapsed >= quarter.time && count >= quarter.transactions {
                early = Some(possessions(&stage.pgwarden));
            }
            if elapsed >= length.time && count >= length.transactions {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        ends.store(true, Ordering::Relaxed);
    });
    let count = done.load(Ordering::Relaxed);
    println!("{count} transactions in {:?}", started.elapsed());
    assert_nothing_is_left(&stage, &early.expect("a quarter has passed"));
}

#[track_caller]
fn assert_nothing_is_left(stage: &Tenants<'_>, early: &Possessions) {
    let count = |metric: &str| stage.pgwarden.metric(metric).unwrap_or(f64::NAN);
    until("all have left", || (count("pgwarden_clients") == 0.0).then_some(()));
    assert_eq!(count("pgwarden_waiting_clients"), 0.0);
    assert_eq!(count("pgwarden_desyncs_total"), 0.0);
    let limit = BACKENDS.parse::<f64>().expect("a number");
    assert!(count("pgwarden_backends") <= limit, "{} backends", count("pgwarden_backends"));
    let open = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'";
    until("no statement runs on", || (stage.server.psql(open) == "0").then_some(()));
    let foreign = "SELECT count(*) FROM notes WHERE name <> org";
    assert_eq!(stage.server.psql(foreign), "0", "every row was written in the context of its writer");
    until("the descriptors are closed", || {
        (possessions(&stage.pgwarden).descriptors <= early.descriptors).then_some(())
    });
    let late = possessions(&stage.pgwarden);
    assert!(late.memory <= early.memory + ALLOWED, "{early:?} early, {late:?} at the end");
    let log = stage.pgwarden.stderr();
    assert!(!log.contains("panic") && !log.contains("ERROR"), "{log}");
}
