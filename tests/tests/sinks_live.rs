//! Sinks under a live load: what detectors find while receivers come and go arrives all the same, and once.

use std::collections::BTreeSet;

use pgwarden_tests::otlp::Collector;
use pgwarden_tests::shadow::{SETTINGS, Watched};
use pgwarden_tests::trail::directory;
use pgwarden_tests::{Pgwarden, Server, Signal, for_version, until, versions};

const CLIENTS: usize = 4;
const STATEMENTS: usize = 150;

#[track_caller]
fn install(server: &Server) {
    let script = Pgwarden::builder().run(&["sql", "audit"]).stderr;
    pgwarden_tests::seal::run(server, &server.url(), &script);
    server.psql("CREATE ROLE audit_writer LOGIN; GRANT pgwarden_audit_writer TO audit_writer");
}

/// Statements without a tenant, each another one; somebody disturbs the receivers in the middle.
fn load(watched: &Watched, disturb: impl FnOnce()) {
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let mut wire = watched.client("nobody");
                for number in 0..STATEMENTS {
                    wire.query(&format!("SELECT name AS name_{client}_{number} FROM things"));
                }
            });
        }
        disturb();
    });
}

#[test]
fn what_is_found_while_receivers_are_away_arrives_all_the_same() {
    for_version(versions()[0], async |server| {
        install(server);
        let collector = Collector::listen();
        let sinks = format!(
            "{SETTINGS}[audit.postgres]\nurl = \"{}\"\nbatch = 20\n[audit.otlp]\nendpoint = \"{}\"\nbatch = 20\n",
            server.url_for("audit_writer", "", "postgres"),
            collector.url()
        );
        let tell = |builder: pgwarden_tests::PgwardenBuilder| builder.file("pgwarden.toml", &sinks);
        let watched = Watched::start_with(server, "", "shadow", tell);
        let delivered = |sink: &str| {
            let name = format!("pgwarden_sink_records_total{{sink=\"{sink}\"}}");
            watched.pgwarden.metric(&name).expect("it is counted")
        };
        let failures = |class: &str| {
            let name = format!("pgwarden_sink_retries_total{{sink=\"otlp\",class=\"{class}\"}}");
            watched.pgwarden.metric(&name).expect("it is counted")
        };
        load(&watched, || {
            until("both sinks are at work", || {
                (delivered("otlp") > 0.0 && delivered("postgres") > 0.0).then_some(())
            });
            collector.go_away();
            server.terminate("usename = 'audit_writer'");
        });
        // Something is found while nobody is there.
        watched.client("nobody").query("SELECT name AS the_last FROM things");
        until("nobody takes it", || (failures("unreachable") > 0.0).then_some(()));
        collector.come_back();
        let expected = (CLIENTS * STATEMENTS) as f64;
        until("all is there", || {
            (delivered("otlp") > expected && delivered("postgres") > expected).then_some(())
        });
        watched.pgwarden.signal(Signal::TERM);
        assert!(watched.pgwarden.wait_exit().success(), "{}", watched.pgwarden.stderr());
        let files = pgwarden_tests::trail::files(&directory(&watched.pgwarden));
        let text: String = files.iter().map(|file| std::fs::read_to_string(file).expect("text")).collect();
        let lines: BTreeSet<&str> = text.lines().collect();
        assert_eq!(lines.len(), text.lines().count());
        let taken = collector.taken();
        let sent: BTreeSet<&str> = taken.iter().map(|one| one.body()).collect();
        assert!(sent == lines, "{} sent, {} lines", sent.len(), lines.len());
        let stored = server.psql("SELECT record FROM pgwarden.audit ORDER BY seq");
        assert_eq!(stored.lines().count(), lines.len(), "each once");
        assert!(stored.lines().all(|line| lines.contains(line)), "as the files have it");
        assert!(text.matches("context_missing").count() >= CLIENTS * STATEMENTS, "all was found");
    });
}
