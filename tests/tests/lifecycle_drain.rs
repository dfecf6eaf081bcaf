//! SIGTERM and SIGINT: no new clients, idle ones leave, running transactions finish until the deadline; a second
//! signal stops at once. SIGHUP does neither.

use std::net::TcpStream;

use pgwarden_tests::tenants::{ACME, Tenants, error_code, run, value, values};
use pgwarden_tests::{Frontend, Message, Signal, Wire, for_each_version, until};

const BACKENDS: &str = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
const ASLEEP: &str = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep'";

/// Longer than a test waits for anything: whoever holds up the drain makes the test fail.
const FOR_EVER: &str = "1h";

fn stage<'a>(server: &'a pgwarden_tests::Server, timeout: &str) -> Tenants<'a> {
    Tenants::start_with(server, |builder| {
        builder.env("PGWARDEN_DRAIN_TIMEOUT", timeout).env("PGWARDEN_POOL_SIZE", "3")
    })
}

/// Signals, and returns when no new client is let in.
#[track_caller]
fn drain(stage: &Tenants<'_>, signal: Signal) {
    stage.pgwarden.signal(signal);
    let port = stage.pgwarden.port();
    until("no new clients", || TcpStream::connect(("127.0.0.1", port)).is_err().then_some(()));
}

/// The last words of pgwarden to a client: FATAL 57P01 and the end.
#[track_caller]
fn assert_told_to_go(wire: &mut Wire) {
    let last = wire.until_closed();
    let [error] = last.as_slice() else { panic!("one message before the end, not {last:?}") };
    assert_eq!((error.fields().severity(), error.fields().code()), ("FATAL", "57P01"));
}

#[track_caller]
fn assert_ends_well(stage: &Tenants<'_>) {
    let status = stage.pgwarden.wait_exit();
    assert_eq!(status.code(), Some(0), "{status}: {}", stage.pgwarden.stderr());
    until("the backends are gone", || (stage.server.psql(BACKENDS) == "0").then_some(()));
}

#[test]
fn running_transactions_finish_and_idle_clients_are_told_to_go() {
    for_each_version(async |server| {
        let stage = stage(server, FOR_EVER);
        let (mut busy, mut idle, mut fresh) =
            (stage.client("acme"), stage.client("globex"), stage.client("nobody"));
        busy.query("BEGIN");
        busy.query("INSERT INTO notes VALUES ('kept')");
        idle.query("SELECT 1");
        drain(&stage, Signal::TERM);
        assert_told_to_go(&mut idle);
        assert_told_to_go(&mut fresh);
        assert_eq!(value(&busy.query("SELECT org()")).as_deref(), Some(ACME));
        let (status, body) = stage.pgwarden.admin("/readyz");
        assert_eq!((status, body.contains("draining")), (503, true), "{body}");
        assert_eq!(stage.pgwarden.admin("/healthz").0, 200);
        let committed = busy.query("COMMIT");
        assert_eq!((committed[0].command().as_str(), committed[1].status()), ("COMMIT", 'I'));
        assert_told_to_go(&mut busy);
        assert_ends_well(&stage);
        assert_eq!(server.psql("SELECT name, org FROM notes"), format!("kept|{ACME}"));
    });
}

#[test]
fn a_running_statement_is_answered_before_the_end() {
    for_each_version(async |server| {
        let stage = stage(server, FOR_EVER);
        let mut blocker = Wire::open(server.port(), "postgres", "", "postgres");
        blocker.query("SELECT pg_advisory_lock(7)");
        let (mut simple, mut extended) = (stage.client("acme"), stage.client("acme"));
        let sql = "SELECT pg_advisory_xact_lock_shared(7), org()";
        simple.send(&Frontend::new().query(sql));
        extended.send(&run(sql).sync());
        let blocked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        until("both run", || (server.psql(blocked) == "2").then_some(()));
        drain(&stage, Signal::TERM);
        blocker.query("SELECT pg_advisory_unlock(7)");
        for wire in [&mut simple, &mut extended] {
            let answer = wire.until_ready();
            let row = answer.iter().find(|message| message.tag == b'D').map(Message::row);
            assert_eq!(row.and_then(|mut row| row.pop()).flatten().as_deref(), Some(ACME), "{answer:?}");
            assert_told_to_go(wire);
        }
        assert_ends_well(&stage);
    });
}

#[test]
fn a_copy_that_has_begun_is_taken_to_its_end() {
    for_each_version(async |server| {
        let stage = stage(server, FOR_EVER);
        let mut acme = stage.client("acme");
        acme.send(&Frontend::new().query("COPY notes (name) FROM STDIN").copy_data(b"one\n"));
        acme.expect("G");
        drain(&stage, Signal::TERM);
        acme.send(&Frontend::new().copy_data(b"two\n").copy_done());
        assert_eq!(acme.expect("CZ")[0].command(), "COPY 2");
        assert_told_to_go(&mut acme);
        assert_ends_well(&stage);
        assert_eq!(server.psql("SELECT count(*) FROM notes"), "2");
    });
}

#[test]
fn whoever_waits_for_a_backend_still_gets_it() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_DRAIN_TIMEOUT", FOR_EVER));
        let (mut acme, mut waiter) = (stage.client("acme"), stage.client("acme"));
        acme.query("BEGIN");
        acme.query("SELECT 1");
        waiter.send(&Frontend::new().query("SELECT org()"));
        let waiting = || stage.pgwarden.metric("pgwarden_waiting_clients") == Some(1.0);
        until("one waits", || waiting().then_some(()));
        drain(&stage, Signal::TERM);
        acme.query("COMMIT");
        assert_told_to_go(&mut acme);
        assert_eq!(values(&waiter.until_ready()), [ACME]);
        assert_told_to_go(&mut waiter);
        assert_ends_well(&stage);
    });
}

#[test]
fn clients_that_keep_a_backend_are_idle_too() {
    for_each_version(async |server| {
        for mode in ["transaction", "session"] {
            let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
            if mode == "transaction" {
                Tenants::load(server);
            }
            let builder = Tenants::builder(&upstream).env("PGWARDEN_POOL_MODE", mode);
            let pgwarden = builder.env("PGWARDEN_DRAIN_TIMEOUT", FOR_EVER).start();
            let stage = Tenants { server, pgwarden };
            let mut acme = stage.client("acme");
            assert_eq!(error_code(&acme.query("LISTEN news")), "");
            drain(&stage, Signal::TERM);
            assert_told_to_go(&mut acme);
            assert_ends_well(&stage);
        }
    });
}

#[test]
fn a_client_that_never_finishes_its_login_does_not_hold_up_the_drain() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| {
            let builder =
                builder.file("users.txt", "\"acme\" \"secret\"\n").env("PGWARDEN_AUTH", "scram-sha-256");
            builder.env("PGWARDEN_USERS_FILE", "{dir}/users.txt").env("PGWARDEN_DRAIN_TIMEOUT", FOR_EVER)
        });
        let _silent = Wire::connect(stage.pgwarden.port());
        let mut asked = Wire::connect(stage.pgwarden.port());
        asked.startup(&[("user", "acme"), ("database", "postgres")]);
        asked.expect("R");
        drain(&stage, Signal::TERM);
        assert_ends_well(&stage);
    });
}

#[test]
fn a_client_whose_login_waits_for_a_backend_is_refused_by_the_drain() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| {
            builder.env("PGWARDEN_POOL_MODE", "session").env("PGWARDEN_DRAIN_TIMEOUT", FOR_EVER)
        });
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        let mut waiter = Wire::connect(stage.pgwarden.port());
        waiter.startup(&[("user", "acme"), ("database", "postgres")]);
        let waiting = || stage.pgwarden.metric("pgwarden_waiting_clients") == Some(1.0);
        until("it waits", || waiting().then_some(()));
        drain(&stage, Signal::TERM);
        let last = waiter.until_closed();
        let [error] = last.as_slice() else { panic!("one message, not {last:?}") };
        assert_eq!((error.fields().severity(), error.fields().code()), ("FATAL", "57P03"));
        let refused = stage.pgwarden.metric("pgwarden_logins_total{outcome=\"refused_draining\"}");
        assert_eq!(refused, Some(1.0));
        assert_eq!(acme.query("COMMIT")[0].command(), "COMMIT");
        assert_told_to_go(&mut acme);
        assert_ends_well(&stage);
    });
}

#[test]
fn what_is_left_at_the_deadline_is_closed_and_rolled_back() {
    for_each_version(async |server| {
        let stage = stage(server, "500ms");
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        acme.query("INSERT INTO notes VALUES ('lost')");
        drain(&stage, Signal::TERM);
        assert_ends_well(&stage);
        acme.until_closed();
        assert_eq!(server.psql("SELECT count(*) FROM notes"), "0");
        let said = stage.pgwarden.stderr();
        assert!(said.contains("the drain deadline has passed"), "{said}");
    });
}

#[test]
fn whoever_is_left_at_the_deadline_reads_why() {
    for_each_version(async |server| {
        let stage = stage(server, "500ms");
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        acme.query("SELECT 1");
        drain(&stage, Signal::TERM);
        assert_told_to_go(&mut acme);
        assert_ends_well(&stage);
    });
}

#[test]
fn what_still_runs_at_the_deadline_is_cancelled_on_the_server() {
    for_each_version(async |server| {
        let stage = stage(server, "500ms");
        let mut acme = stage.client("acme");
        acme.send(&Frontend::new().query("SELECT pg_sleep(3600)"));
        until("it runs", || (server.psql(ASLEEP) == "1").then_some(()));
        drain(&stage, Signal::TERM);
        assert_ends_well(&stage);
    });
}

#[test]
fn a_second_signal_stops_at_once() {
    for_each_version(async |server| {
        Tenants::load(server);
        for (first, second) in
            [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::INT), (Signal::INT, Signal::TERM)]
        {
            let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
            let pgwarden = Tenants::builder(&upstream).env("PGWARDEN_DRAIN_TIMEOUT", FOR_EVER).start();
            let stage = Tenants { server, pgwarden };
            let mut acme = stage.client("acme");
            acme.query("BEGIN");
            acme.query("INSERT INTO notes VALUES ('lost')");
            drain(&stage, first);
            assert_eq!(error_code(&acme.query("SELECT 1")), "", "the first signal only drains");
            stage.pgwarden.signal(second);
            assert_ends_well(&stage);
            acme.until_closed();
            assert_eq!(server.psql("SELECT count(*) FROM notes"), "0");
        }
    });
}

#[test]
fn an_idle_pgwarden_ends_at_once() {
    for_each_version(async |server| {
        for signal in [Signal::TERM, Signal::INT] {
            let upstream = server.url_for("postgres", "", "postgres");
            let pgwarden = Tenants::builder(&upstream).env("PGWARDEN_DRAIN_TIMEOUT", FOR_EVER).start();
            pgwarden.signal(signal);
            assert_eq!(pgwarden.wait_exit().code(), Some(0), "{}", pgwarden.stderr());
        }
    });
}

#[test]
fn sighup_does_not_disturb_a_transaction_and_a_second_one_stops_nothing() {
    for_each_version(async |server| {
        let stage = stage(server, FOR_EVER);
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        stage.pgwarden.signal(Signal::HUP);
        stage.pgwarden.until_logged("the configuration was reloaded", 0);
        stage.pgwarden.signal(Signal::HUP);
        stage.pgwarden.until_logged("the configuration was reloaded", 1);
        assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
        assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
    });
}
