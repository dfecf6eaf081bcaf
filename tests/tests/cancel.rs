//! CancelRequest: it ends what its own client runs, in both pool modes, and never touches anybody else.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use pgwarden_tests::tenants::{ACME, ANN, GLOBEX, Tenants, error_code, run, value, values};
use pgwarden_tests::wire::{PROTOCOL_3_2, tags};
use pgwarden_tests::{Frontend, Message, Server, Version, Wire, for_each_version, until};

const ASLEEP: &str = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep'";
const SLEEP: &str = "SELECT pg_sleep(600)";

/// Both pool modes, one after the other, on the same tables.
fn in_both_modes(test: impl Fn(&Tenants<'_>, &str)) {
    for_each_version(async |server| {
        Tenants::load(server);
        for mode in ["transaction", "session"] {
            test(&start(server, mode, "2"), mode);
        }
    });
}

fn start<'a>(server: &'a Server, mode: &str, size: &str) -> Tenants<'a> {
    let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
    let builder = Tenants::builder(&upstream).env("PGWARDEN_POOL_MODE", mode);
    Tenants { server, pgwarden: builder.env("PGWARDEN_POOL_SIZE", size).start() }
}

#[track_caller]
fn asleep(stage: &Tenants<'_>) {
    until("the statement runs", || (stage.server.psql(ASLEEP) == "1").then_some(()));
}

fn count(stage: &Tenants<'_>, outcome: &str) -> f64 {
    let sample = format!("pgwarden_cancels_total{{outcome=\"{outcome}\"}}");
    stage.pgwarden.metric(&sample).expect("every outcome is counted")
}

/// A CancelRequest with any key; returns when pgwarden has closed the connection.
#[track_caller]
fn cancel_with(port: u16, process: i32, secret: &[u8]) {
    let mut wire = Wire::connect(port);
    wire.send(&Frontend::new().cancel(process, secret));
    while let Some(answer) = wire.try_receive().expect("the connection is closed in time") {
        // A key of a length that no key has is a malformed message.
        assert_eq!((secret.len() < 4, answer.fields().code()), (true, "08P01"), "{answer:?}");
    }
}

#[test]
fn a_running_statement_is_cancelled_and_the_connection_goes_on() {
    in_both_modes(|stage, mode| {
        let mut acme = stage.client("acme");
        for messages in [
            Frontend::new().query(SLEEP),
            run(SLEEP).sync(),
            Frontend::new().query("SELECT 1; SELECT pg_sleep(600); SELECT 2"),
            Frontend::new().query("COPY (SELECT pg_sleep(600)) TO STDOUT"),
        ] {
            acme.send(&messages);
            asleep(stage);
            acme.cancel();
            let answer = acme.until_ready();
            assert_eq!(error_code(&answer), "57014", "{mode}: {answer:?}");
            assert_eq!(answer.last().expect("ReadyForQuery").status(), 'I', "{mode}");
            assert_eq!(values(&acme.query("SELECT org()")), [ACME], "{mode}");
        }
        assert_eq!(count(stage, "forwarded"), 4.0);
    });
}

#[test]
fn a_long_key_of_protocol_3_2_cancels_too() {
    for_each_version(async |server| {
        if server.version() < Version(18) {
            return;
        }
        Tenants::load(server);
        for mode in ["transaction", "session"] {
            let stage = start(server, mode, "1");
            stage.client("acme").query("SELECT 1");
            let mut acme = Wire::connect(stage.pgwarden.port());
            acme.send(&Frontend::new().startup(PROTOCOL_3_2, &[("user", "acme"), ("database", "postgres")]));
            acme.authenticate("acme", "").expect("a login");
            assert!(acme.key.1.len() > 4, "{mode}: {} bytes", acme.key.1.len());
            acme.send(&Frontend::new().query(SLEEP));
            asleep(&stage);
            for wrong in [&acme.key.1[..4], &[], &[acme.key.1.as_slice(), b"\0"].concat()] {
                cancel_with(stage.pgwarden.port(), acme.key.0, wrong);
            }
            assert_eq!(server.psql(ASLEEP), "1", "{mode}: a part of the key, or more than it, is no key");
            acme.cancel();
            assert_eq!(error_code(&acme.until_ready()), "57014", "{mode}");
        }
    });
}

#[test]
fn psql_cancels_on_sigint() {
    in_both_modes(|stage, mode| {
        let url = stage.pgwarden.url("acme", "", "postgres");
        let psql = Command::new("psql")
            .args(["-X", "-d", &url, "-c", SLEEP])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql is installed");
        asleep(stage);
        let killed = Command::new("kill").args(["-INT", &psql.id().to_string()]).status();
        assert!(killed.expect("kill can be run").success());
        let output = psql.wait_with_output().expect("psql ends");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            complaint, "Cancel request sent\nERROR:  canceling statement due to user request\n",
            "{mode}"
        );
        assert_eq!(stage.server.psql(ASLEEP), "0", "{mode}");
    });
}

#[test]
fn a_key_that_is_not_the_clients_own_does_nothing() {
    in_both_modes(|stage, mode| {
        let mut blocker = Wire::open(stage.server.port(), "postgres", "", "postgres");
        blocker.query("SELECT pg_advisory_lock(7)");
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        globex.query("SELECT 1");
        acme.send(&Frontend::new().query("SELECT pg_advisory_xact_lock(7), org()"));
        let blocked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        until("it waits for the lock", || (stage.server.psql(blocked) == "1").then_some(()));
        let ((process, secret), (other, foreign)) = (acme.key.clone(), globex.key.clone());
        let inverted: Vec<u8> = secret.iter().map(|byte| !byte).collect();
        let longer = [secret.as_slice(), b"\0"].concat();
        let backend = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        let on_the_server = stage.server.psql(backend).parse::<i32>().expect("a process id");
        let port = stage.pgwarden.port();
        cancel_with(port, process, &inverted);
        cancel_with(port, process, &foreign);
        cancel_with(port, other, &secret);
        cancel_with(port, process, &secret[..3]);
        cancel_with(port, process, &longer);
        cancel_with(port, process, &[]);
        cancel_with(port, process, &[0; 4]);
        cancel_with(port, process.wrapping_add(1), &secret);
        cancel_with(port, 0, &[0; 4]);
        cancel_with(port, on_the_server, &[0; 4]);
        cancel_with(port, on_the_server, &foreign);
        assert_eq!(stage.server.psql(blocked), "1", "{mode}: it waits still");
        blocker.query("SELECT pg_advisory_unlock(7)");
        let answer = acme.until_ready();
        assert_eq!(error_code(&answer), "", "{mode}");
        assert_eq!(tags(&answer), "TDCZ", "{mode}");
        assert_eq!(count(stage, "forwarded"), 0.0, "{mode}");
    });
}

#[test]
fn the_key_of_a_client_that_has_left_does_nothing() {
    in_both_modes(|stage, mode| {
        let acme = stage.client("acme");
        let key = acme.key.clone();
        drop(acme);
        let gone = || stage.pgwarden.metric("pgwarden_clients") == Some(0.0);
        until("it is gone", || gone().then_some(()));
        cancel_with(stage.pgwarden.port(), key.0, &key.1);
        assert_eq!((count(stage, "unknown"), count(stage, "forwarded")), (1.0, 0.0), "{mode}");
    });
}

#[test]
fn a_cancel_of_a_client_that_runs_nothing_does_nothing() {
    in_both_modes(|stage, mode| {
        let mut acme = stage.client("acme");
        acme.cancel();
        assert_eq!(values(&acme.query("SELECT org()")), [ACME], "{mode}");
        acme.cancel();
        assert_eq!(values(&acme.query("SELECT org()")), [ACME], "{mode}");
        acme.query("BEGIN");
        acme.cancel();
        assert_eq!(values(&acme.query("SELECT org()")), [ACME], "{mode}: as on the server itself");
        assert_eq!(acme.query("COMMIT")[0].command(), "COMMIT", "{mode}");
    });
}

/// By turns a simple and an extended query that takes a moment.
fn moment(round: usize) -> Frontend {
    let sql = "SELECT org() FROM pg_sleep(0.002)";
    if round.is_multiple_of(2) { Frontend::new().query(sql) } else { run(sql).sync() }
}

/// Runs statements until it is over, and counts those that were cancelled.
fn be_cancelled(acme: &mut Wire, over: &AtomicBool) -> usize {
    let mut cancelled = 0;
    for round in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        acme.send(&moment(round));
        let answer = acme.until_ready();
        match error_code(&answer).as_str() {
            "" => assert_eq!(values(&answer), [ACME]),
            "57014" => cancelled += 1,
            other => panic!("an error that no server gives: {other} {answer:?}"),
        }
    }
    cancelled
}

/// One backend, two clients. One is cancelled all the time, whatever it does; the other, which gets the backend as
/// soon as the first has its answer, never notices, and neither ever loses its context.
#[test]
fn a_late_cancel_never_reaches_the_next_client_of_the_backend() {
    const ROUNDS: usize = 300;
    for_each_version(async |server| {
        Tenants::load(server);
        let stage = start(server, "transaction", "1");
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        let (key, port) = (acme.key.clone(), stage.pgwarden.port());
        let over = AtomicBool::new(false);
        let (hit, cancelled) = std::thread::scope(|threads| {
            threads.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    cancel_with(port, key.0, &key.1);
                }
            });
            let first = threads.spawn(|| be_cancelled(&mut acme, &over));
            let hit = (0..ROUNDS).find_map(|round| {
                globex.send(&moment(round));
                let answer = globex.until_ready();
                (values(&answer) != [GLOBEX]).then(|| format!("round {round}: {answer:?}"))
            });
            over.store(true, Ordering::Relaxed);
            (hit, first.join().expect("the first client reads nothing strange"))
        });
        assert_eq!(hit, None);
        assert!(cancelled > 0, "the first client was cancelled now and then");
        assert!(count(&stage, "forwarded") > 0.0);
        assert_eq!(stage.pgwarden.metric("pgwarden_desyncs_total"), Some(0.0));
        assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
    });
}

/// The same by hand: the cancel leaves at the moment at which the answer is there, over and over.
#[test]
fn a_cancel_that_leaves_when_the_answer_comes_hits_nobody() {
    for_each_version(async |server| {
        Tenants::load(server);
        let stage = start(server, "transaction", "1");
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        let (key, port) = (acme.key.clone(), stage.pgwarden.port());
        for _ in 0..150 {
            acme.send(&Frontend::new().query("SELECT org()"));
            let late = std::thread::spawn({
                let secret = key.1.clone();
                move || cancel_with(port, key.0, &secret)
            });
            let own = error_code(&acme.until_ready());
            assert!(["", "57014"].contains(&own.as_str()), "{own}");
            assert_eq!(values(&globex.query("SELECT org() FROM pg_sleep(0.001)")), [GLOBEX]);
            late.join().expect("it gets no answer");
        }
    });
}

#[test]
fn a_cancel_in_a_transaction_leaves_the_context_right() {
    in_both_modes(|stage, mode| {
        let mut acme = stage.client("acme");
        for messages in [Frontend::new().query(SLEEP), run(SLEEP).sync()] {
            acme.query("BEGIN");
            acme.query("SAVEPOINT s");
            acme.send(&messages);
            asleep(stage);
            acme.cancel();
            let answer = acme.until_ready();
            assert_eq!((error_code(&answer).as_str(), answer.last().expect("Z").status()), ("57014", 'E'));
            assert_eq!(error_code(&acme.query("SELECT org()")), "25P02", "{mode}");
            acme.query("ROLLBACK TO s");
            assert_eq!(values(&acme.query("SELECT org()")), [ACME], "{mode}: after ROLLBACK TO");
            acme.send(&messages);
            asleep(stage);
            acme.cancel();
            acme.until_ready();
            acme.query("ROLLBACK AND CHAIN");
            assert_eq!(values(&acme.query("SELECT who()")), [ANN], "{mode}: after ROLLBACK AND CHAIN");
            acme.query("COMMIT");
            assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX], "{mode}");
            assert_eq!(values(&stage.client("nobody").query("SELECT org()")), [""], "{mode}");
        }
    });
}

#[test]
fn a_cancel_of_what_has_its_context_for_the_session_leaves_none_behind() {
    for_each_version(async |server| {
        Tenants::load(server);
        server.psql(
            "CREATE PROCEDURE nap() LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO notes VALUES ('before'); COMMIT; PERFORM pg_sleep(600);
             END $$",
        );
        for mode in ["transaction", "session"] {
            let stage = start(server, mode, "1");
            server.psql("TRUNCATE notes");
            let mut acme = stage.client("acme");
            for messages in [
                Frontend::new().query("CALL nap()"),
                run("CALL nap()").sync(),
                Frontend::new().query("DO $$ BEGIN PERFORM pg_sleep(600); END $$"),
            ] {
                acme.send(&messages);
                asleep(&stage);
                acme.cancel();
                assert_eq!(error_code(&acme.until_ready()), "57014", "{mode}");
                assert_eq!(values(&acme.query("SELECT org()")), [ACME], "{mode}");
            }
            drop(acme);
            assert_eq!(value(&stage.client("nobody").query("SELECT org()")).as_deref(), Some(""), "{mode}");
            let written = format!("SELECT count(*) FROM notes WHERE org = '{ACME}'");
            assert_eq!(server.psql(&written), "2", "{mode}: what was committed before had the context");
        }
    });
}

/// The server takes a cancel in copy-in mode when the client's next message arrives.
#[test]
fn a_cancel_during_copy_in_fails_the_copy_and_nothing_else() {
    in_both_modes(|stage, mode| {
        for begin in [
            Frontend::new().query("COPY notes (name) FROM STDIN"),
            run("COPY notes (name) FROM STDIN").flush(),
        ] {
            let converse = |wire: &mut Wire| {
                wire.send(&begin.clone().copy_data(b"one\n"));
                while wire.receive().tag != b'G' {}
                wire.cancel();
                wire.send(&Frontend::new().copy_data(b"two\n").copy_done());
                // Only an extended COPY that failed waits for Sync.
                if begin.bytes()[0] == b'P' {
                    wire.send(&Frontend::new().sync());
                }
                let answer = wire.until_ready();
                (error_code(&answer), tags(&answer), answer.last().map(Message::status))
            };
            let mut acme = stage.client("acme");
            let found = converse(&mut acme);
            assert_eq!(found, ("57014".to_owned(), "EZ".to_owned(), Some('I')), "{mode}");
            assert_eq!(
                found,
                converse(&mut stage.direct("acme")),
                "{mode}: a direct connection's on the right"
            );
            assert_eq!(values(&acme.query("SELECT org()")), [ACME], "{mode}");
            assert_eq!(stage.server.psql("SELECT count(*) FROM notes"), "0", "{mode}");
        }
    });
}

#[test]
fn a_cancel_of_a_copy_out_ends_the_stream() {
    in_both_modes(|stage, mode| {
        let mut acme = stage.client("acme");
        acme.send(
            &Frontend::new()
                .query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 9999) a, generate_series(1, 9999) b) TO STDOUT"),
        );
        acme.expect("Hdd");
        let cancelling = std::thread::spawn({
            let (port, key) = (stage.pgwarden.port(), acme.key.clone());
            move || cancel_with(port, key.0, &key.1)
        });
        let mut last = acme.receive();
        while last.tag == b'd' {
            last = acme.receive();
        }
        assert_eq!(last.fields().code(), "57014", "{mode}");
        assert_eq!(acme.expect("Z")[0].status(), 'I', "{mode}");
        cancelling.join().expect("it gets no answer");
        assert_eq!(values(&acme.query("SELECT org()")), [ACME], "{mode}");
    });
}
