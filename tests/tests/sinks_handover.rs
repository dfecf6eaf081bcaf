//! A trail with sinks from one process to the next: nothing is lost, and nobody has anything twice.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use pgwarden_tests::lane::{self, enter};
use pgwarden_tests::otlp::Collector;
use pgwarden_tests::trail::{assert_intact, directory, files, of_kind, told};
use pgwarden_tests::{Frontend, Pgwarden, Server, Signal, Wire, for_version, until, versions};

const CLIENTS: usize = 3;
const SESSIONS: usize = 30;

/// The sections of both sinks.
#[track_caller]
fn sinks(server: &Server, collector: &Collector) -> String {
    let script = Pgwarden::builder().run(&["sql", "audit"]).stderr;
    pgwarden_tests::seal::run(server, &server.url(), &script);
    server.psql("CREATE ROLE audit_writer LOGIN; GRANT pgwarden_audit_writer TO audit_writer");
    format!(
        "[audit.postgres]\nurl = \"{}\"\nbatch = 20\n[audit.otlp]\nendpoint = \"{}\"\nbatch = 20\n",
        server.url_for("audit_writer", "", "postgres"),
        collector.url()
    )
}

/// Sessions of a service, each with a reason of its own: two records each. Tells when a part of them has gone by.
fn sessions(pgwarden: &Pgwarden, client: usize, middle: &AtomicBool) {
    for number in 0..SESSIONS {
        let mut wire =
            enter(pgwarden, "migrator", &format!("OPS-{client}-{number}")).expect("it is a service");
        wire.send(&Frontend::new().terminate());
        middle.fetch_or(number >= SESSIONS / 3, Ordering::Relaxed);
    }
}

/// The same for ever, whatever becomes of them.
fn come_and_go(port: u16, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        until("it listens again", || {
            let listens = TcpStream::connect(("127.0.0.1", port)).is_ok();
            (listens || done.load(Ordering::Relaxed)).then_some(())
        });
        let _killed = std::panic::catch_unwind(|| {
            Wire::open(port, "migrator", "", "postgres").send(&Frontend::new().terminate());
        });
    }
}

fn until_started(trail: &Path, count: usize) {
    until(&format!("it has started {count} times"), || {
        (of_kind(trail, "started").len() == count).then_some(())
    });
}

/// Kills one after the other while clients come and go; the one that runs at the end.
fn killed_under_load(first: Pgwarden, trail: &Path, port: u16, start: impl Fn() -> Pgwarden) -> Pgwarden {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| come_and_go(port, &done));
        let mut running = first;
        for round in 0..3 {
            let before = of_kind(trail, "service").len();
            until("there is more", || (of_kind(trail, "service").len() > before + 10).then_some(()));
            running.signal(Signal::KILL);
            running.wait_exit();
            running = start();
            until_started(trail, round + 3);
        }
        done.store(true, Ordering::Relaxed);
        running
    })
}

#[test]
fn reloads_takeovers_and_kills_lose_nothing_and_nobody_has_anything_twice() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let collector = Collector::listen();
        let sinks = sinks(server, &collector);
        let builder = || {
            told(server, &format!("window = \"1s\"\n{sinks}")).env("PGWARDEN_TAKEOVER", "{before}/takeover")
        };
        let first = builder().start();
        let trail = directory(&first);
        let middle = AtomicBool::new(false);
        let second = std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (first, middle) = (&first, &middle);
                scope.spawn(move || sessions(first, client, middle));
            }
            until("there is something to hand over", || middle.load(Ordering::Relaxed).then_some(()));
            first.signal(Signal::HUP);
            until("it is reloaded", || (!of_kind(&trail, "reloaded").is_empty()).then_some(()));
            let second = builder().in_place_of(&first).start_unasked();
            second.until_logged("taken over from the process before", 0);
            second
        });
        assert_eq!(first.wait_exit().code(), Some(0), "{}", first.stderr());
        until_started(&trail, 2);
        until("every session is there, from begin to end", || {
            let all = of_kind(&trail, "service");
            (all.len() == 2 * CLIENTS * SESSIONS).then_some(())
        });
        let reasons: BTreeSet<String> = of_kind(&trail, "service")
            .iter()
            .map(|record| {
                format!("{} {}", record["service"]["stage"], record["service"]["account"]["reason"])
            })
            .collect();
        assert_eq!(reasons.len(), 2 * CLIENTS * SESSIONS, "none twice");
        let last = killed_under_load(second, &trail, first.port(), || builder().in_place_of(&first).start());
        last.signal(Signal::TERM);
        assert!(last.wait_exit().success(), "{}", last.stderr());
        assert_intact(&trail, &[]);
        let texts: Vec<String> =
            files(&trail).iter().map(|file| fs::read_to_string(file).expect("text")).collect();
        let lines: BTreeSet<&str> = texts.iter().flat_map(|text| text.lines()).collect();
        let stored = server.psql("SELECT record FROM pgwarden.audit");
        let stored: Vec<&str> = stored.lines().collect();
        assert_eq!(stored.len(), lines.len(), "each once");
        assert!(stored.into_iter().collect::<BTreeSet<&str>>() == lines, "as the files have it");
        let taken = collector.taken();
        assert!(
            taken.iter().map(|one| one.body()).collect::<BTreeSet<&str>>() == lines,
            "by their ids, each once"
        );
    });
}
