//! Thousands of findings from many connections at once: the totals of the trail are exact, nobody waits for it, and nothing
//! of what clients send is in it.

use std::time::Instant;

use pgwarden_tests::reload::upstream;
use pgwarden_tests::tenants::Tenants;
use pgwarden_tests::trail::{assert_intact, directory, of_kind, records};
use pgwarden_tests::{
    Frontend, Pgwarden, PgwardenBuilder, Server, Signal, Wire, for_version, until, versions,
};

/// What is counted of them.
const FOUND: &str = "pgwarden_shadow_findings_total{kind=\"context_missing\"}";
/// How many connect, and how often each asks without a context.
const CONNECTIONS: u64 = 64;
const EACH: u64 = 250;
/// How many statements travel together.
const BATCH: u64 = 25;

fn shadow(server: &Server) -> PgwardenBuilder {
    Tenants::load(server);
    Tenants::builder(&upstream(server)).env("PGWARDEN_MODE", "shadow").env("PGWARDEN_POOL_SIZE", "4")
}

/// Asks in batches; the client has no tenant.
fn ask(port: u16) {
    let mut wire = Wire::open(port, "nobody", "", "postgres");
    for _ in 0..EACH / BATCH {
        let mut batch = Frontend::new();
        for _ in 0..BATCH {
            batch =
                batch.parse("", "SELECT name FROM items WHERE name = 'top secret'", &[]).bind("", "", &[]);
            batch = batch.execute("", 0).sync();
        }
        wire.send(&batch);
        (0..BATCH).for_each(|_| drop(wire.until_ready()));
    }
}

/// How long everybody takes, in seconds.
fn flood(pgwarden: &Pgwarden) -> f64 {
    let (port, began) = (pgwarden.port(), Instant::now());
    std::thread::scope(|scope| (0..CONNECTIONS).for_each(|_| drop(scope.spawn(|| ask(port)))));
    began.elapsed().as_secs_f64()
}

fn total(pgwarden: &Pgwarden) -> u64 {
    of_kind(&directory(pgwarden), "context_missing")
        .iter()
        .filter_map(|record| record["count"].as_u64())
        .sum()
}

#[test]
fn a_flood_of_findings_has_exact_totals() {
    for_version(versions()[0], async |server| {
        let pgwarden = shadow(server).env("PGWARDEN_AUDIT", "{dir}/audit").start();
        let with = flood(&pgwarden);
        let expected = CONNECTIONS * EACH;
        // The first one is there at once.
        until("one is recorded", || (total(&pgwarden) > 0).then_some(()));
        pgwarden.signal(Signal::TERM);
        assert_eq!(pgwarden.wait_exit().code(), Some(0), "{}", pgwarden.stderr());
        let trail = directory(&pgwarden);
        assert_eq!(total(&pgwarden), expected);
        assert_intact(&trail, &[]);
        let all = records(&trail);
        assert!(all.len() < 500, "repeats are folded: {} records", all.len());
        assert!(!all.iter().any(|record| record.to_string().contains("top secret")));
        // What it costs is told, and nothing depends on it: other tests run beside this one.
        let rate = f64::from(u32::try_from(expected).expect("few")) / with;
        println!("{rate:.0} findings per second from {CONNECTIONS} connections");
    });
}

#[test]
fn without_a_trail_findings_are_counted_and_the_first_of_a_sort_is_a_line_of_the_log() {
    for_version(versions()[0], async |server| {
        let pgwarden = shadow(server).env("PGWARDEN_LOG_FORMAT", "json").start();
        ask(pgwarden.port());
        until("they are counted", || (pgwarden.metric(FOUND) == Some(250.0)).then_some(()));
        let log = pgwarden.until_logged("\"context_missing\"", 0);
        assert_eq!(log.matches("\"context_missing\"").count(), 1, "{log}");
        assert!(!log.contains("top secret"), "{log}");
    });
}
