//! No bytes make pgwarden panic, and the end of a connection is an event: at no stage does it spin a core, keep a
//! place or keep a backend.

use std::fs;

use pgwarden_tests::tenants::{ACME, Tenants, run, values};
use pgwarden_tests::wire::PROTOCOL_3_0;
use pgwarden_tests::{Frontend, Pgwarden, Server, Wire, for_each_version, until, versions};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};

/// That pgwarden lives, has not panicked, and serves on its only backend.
#[track_caller]
fn assert_unharmed(pgwarden: &Pgwarden) {
    let mut acme = Wire::open(pgwarden.port(), "acme", "", "postgres");
    assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
    let said = pgwarden.stderr();
    assert!(!said.contains("panic"), "{said}");
}

/// That the other end closes the connection once it has read everything, whatever it says before.
#[track_caller]
fn assert_closes(mut wire: Wire, what: &str) {
    wire.close_sending();
    loop {
        match wire.try_receive() {
            Ok(Some(_)) => (),
            Ok(None) => return,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("{what}: never closed"),
            Err(_) => return,
        }
    }
}

fn cases(count: u32) -> TestRunner {
    TestRunner::new(Config {
        cases: count,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    })
}

fn first_of_all() -> Server {
    Server::start(versions()[0])
}

#[test]
fn random_bytes_on_a_new_connection_harm_nobody() {
    let server = first_of_all();
    let stage = Tenants::start(&server);
    // Anything; a length that fits and anything behind it; a startup packet and anything in it.
    let bytes = prop_oneof![
        vec(any::<u8>(), 0..200),
        vec(any::<u8>(), 4..200).prop_map(|body| Frontend::new().message(0, &body).bytes()[1..].to_vec()),
        vec(any::<u8>(), 0..100).prop_map(|body| {
            let packet = [&PROTOCOL_3_0.to_be_bytes(), body.as_slice()].concat();
            Frontend::new().message(0, &packet).bytes()[1..].to_vec()
        }),
    ];
    let outcome = cases(300).run(&bytes, |bytes| {
        let mut wire = Wire::connect(stage.pgwarden.port());
        wire.send_bytes(&bytes);
        assert_closes(wire, "garbage");
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert_unharmed(&stage.pgwarden);
}

#[test]
fn random_answers_to_authentication_harm_nobody() {
    for method in ["scram-sha-256", "md5", "password"] {
        let server = first_of_all();
        let stage = Tenants::start_with(&server, |builder| {
            builder
                .env("PGWARDEN_AUTH", method)
                .env("PGWARDEN_USERS_FILE", "{dir}/users.txt")
                .file("users.txt", "\"acme\" \"secret\"\n")
        })
        .pgwarden;
        let answer = prop_oneof![
            vec(any::<u8>(), 0..200),
            "(SCRAM-SHA-256\\x00)?[\\x00-\\x7f]{0,60}".prop_map(String::into_bytes),
            "[np],a?,?[nrcsp=a-z0-9,+/]{0,80}".prop_map(|text| {
                let length = u32::try_from(text.len()).expect("a short text").to_be_bytes();
                [b"SCRAM-SHA-256\0", &length[..], text.as_bytes()].concat()
            }),
        ];
        let outcome = cases(100).run(&vec(answer, 1..3), |answers| {
            let mut wire = Wire::connect(stage.port());
            wire.startup(&[("user", "acme"), ("database", "postgres")]);
            wire.receive();
            for answer in answers {
                wire.send_bytes(Frontend::new().message(b'p', &answer).bytes());
            }
            assert_closes(wire, method);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{method}: {error}"));
        let mut acme = Wire::open(stage.port(), "acme", "secret", "postgres");
        assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
        assert!(!stage.stderr().contains("panic"), "{}", stage.stderr());
    }
}

/// Every kind of message once, in an order that makes sense.
fn sensible() -> Vec<u8> {
    let named = Frontend::new().parse("s", "SELECT $1, org()", &[25]).describe_statement("s");
    let bound =
        named.bind("p", "s", &[Some("x")]).describe_portal("p").execute("p", 1).close_portal("p").flush();
    let batch =
        bound.close_statement("s").sync().query("BEGIN; SAVEPOINT a; SELECT org()").query("ROLLBACK TO a");
    let copy = batch.query("COPY notes FROM STDIN").copy_data(b"x\ty\n").copy_fail("no").query("ROLLBACK");
    let rest = copy
        .raw(run("SELECT 1").bytes())
        .sync()
        .function_call(1344, &[Some(b"2")])
        .query("SET work_mem = '5MB'");
    rest.query("SELECT 'a'; SELECT \"b\" /* c */ -- d").query("DISCARD ALL").bytes().to_vec()
}

#[test]
fn random_messages_in_a_session_harm_nobody() {
    let server = first_of_all();
    let stage = Tenants::start(&server);
    let message = (select(b"QPBEDCSHFdcfpX\0zR".to_vec()), vec(any::<u8>(), 0..60));
    let outcome = cases(300).run(&vec(message, 1..8), |messages| {
        let mut wire = stage.client("acme");
        let all = messages.iter().fold(Frontend::new(), |all, (tag, body)| all.message(*tag, body));
        wire.send(&all.sync());
        assert_closes(wire, "random messages");
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert_unharmed(&stage.pgwarden);
}

#[test]
fn messages_that_were_damaged_on_the_way_harm_nobody() {
    let server = first_of_all();
    let stage = Tenants::start(&server);
    let damage = vec((any::<Index>(), any::<u8>()), 1..6);
    let outcome = cases(300).run(&(damage, any::<Index>(), any::<bool>()), |(damage, end, whole)| {
        let mut bytes = sensible();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let end = if whole { bytes.len() } else { end.index(bytes.len()) };
        let mut wire = stage.client("acme");
        wire.send_bytes(&bytes[..end]);
        assert_closes(wire, "damaged messages");
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert_unharmed(&stage.pgwarden);
}

/// The processor time that a process has used, in clock ticks of 10 ms.
fn ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("the process runs");
    let numbers = stat.rsplit_once(')').expect("the name is in parentheses").1.split_whitespace();
    numbers.skip(11).take(2).filter_map(|number| number.parse::<u64>().ok()).sum()
}

/// Connections at every stage at which one can end.
fn stages(stage: &Tenants<'_>) -> Vec<(&'static str, Wire)> {
    let fresh = || Wire::connect(stage.pgwarden.port());
    let started = Frontend::new().startup(PROTOCOL_3_0, &[("user", "acme"), ("database", "postgres")]);
    let sent = |mut wire: Wire, bytes: &[u8]| {
        wire.send_bytes(bytes);
        wire
    };
    let session = |bytes: &[u8]| sent(stage.client("acme"), bytes);
    let copy = Frontend::new().query("COPY notes FROM STDIN").copy_data(b"x\ty\n");
    let many = Frontend::new().query("SELECT repeat('x', 65536) FROM generate_series(1, 1000)");
    vec![
        ("before anything", fresh()),
        ("in the first length", sent(fresh(), &started.bytes()[..3])),
        ("in the startup packet", sent(fresh(), &started.bytes()[..20])),
        ("after SSLRequest", sent(fresh(), Frontend::new().ssl_request().bytes())),
        ("after CancelRequest", sent(fresh(), Frontend::new().cancel(1, &[0; 4]).bytes())),
        ("after the startup packet", sent(fresh(), started.bytes())),
        ("between statements", session(b"")),
        ("in a header", session(b"Q\0\0")),
        ("in a query", session(&Frontend::new().query("SELECT 1").bytes()[..9])),
        ("after a Parse", session(Frontend::new().parse("", "SELECT 1", &[]).bytes())),
        ("in an unfinished batch", session(run("SELECT org()").bytes())),
        ("in a block", session(Frontend::new().query("BEGIN; SELECT org()").bytes())),
        ("while a statement runs", session(Frontend::new().query("SELECT pg_sleep(60)").bytes())),
        ("in COPY in", session(copy.bytes())),
        ("with an answer unread", session(many.bytes())),
        ("after Terminate", session(Frontend::new().terminate().bytes())),
        ("with rubbish behind Terminate", session(Frontend::new().terminate().raw(b"rubbish").bytes())),
    ]
}

#[test]
fn the_end_of_a_connection_at_any_stage_spins_no_core_and_keeps_nothing() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "30"));
        // Half closed: nothing more will come, and the answers may still be read.
        let half_closed = stages(&stage);
        half_closed.iter().for_each(|(_, wire)| wire.close_sending());
        let before = ticks(stage.pgwarden.process_id());
        server.psql("SELECT pg_sleep(1)");
        let used = ticks(stage.pgwarden.process_id()) - before;
        assert!(used < 30, "{used} ticks of processor time in a second with nothing to do");
        // Gone altogether.
        drop(half_closed);
        drop(stages(&stage));
        until("all clients are gone", || {
            (stage.pgwarden.metric("pgwarden_clients") == Some(0.0)).then_some(())
        });
        let left = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'";
        until("no statement and no transaction is left", || (server.psql(left) == "0").then_some(()));
        for gauge in ["pgwarden_waiting_clients", "pgwarden_pinned_clients{reason=\"role\"}"] {
            assert_eq!(stage.pgwarden.metric(gauge), Some(0.0), "{gauge}");
        }
        assert_unharmed(&stage.pgwarden);
    });
}
