//! A new process takes the sockets over from the running one: nobody is refused, what runs finishes, and a new one that
//! cannot start changes nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use pgwarden_tests::manager::Manager;
use pgwarden_tests::reload::{client, org, upstream};
use pgwarden_tests::tenants::{ACME, Tenants, error_code, value};
use pgwarden_tests::{
    DEADLINE, Frontend, Pgwarden, PgwardenBuilder, Server, Signal, Wire, for_each_version, psql, until,
};

/// Longer than a test waits for anything: whoever holds up the old process makes the test fail.
const FOR_EVER: &str = "1h";

fn told(server: &Server) -> PgwardenBuilder {
    Tenants::builder(&upstream(server))
        .env("PGWARDEN_TAKEOVER", "{before}/takeover")
        .env("PGWARDEN_DRAIN_TIMEOUT", FOR_EVER)
        .env("PGWARDEN_POOL_SIZE", "3")
}

/// Starts one that takes over, and returns when it has.
#[track_caller]
fn successor(builder: PgwardenBuilder, before: &Pgwarden) -> Pgwarden {
    let after = builder.in_place_of(before).start_unasked();
    after.until_logged("taken over from the process before", 0);
    after
}

#[track_caller]
fn assert_left(before: &Pgwarden) {
    let status = before.wait_exit();
    assert_eq!(status.code(), Some(0), "{}", before.stderr());
}

#[track_caller]
fn assert_told_to_go(wire: &mut Wire) {
    let last = wire.until_closed();
    let [error] = last.as_slice() else { panic!("one message before the end, not {last:?}") };
    assert_eq!((error.fields().severity(), error.fields().code()), ("FATAL", "57P01"));
}

/// Connects, asks and leaves, again and again.
fn keep_coming(port: u16, done: &AtomicBool, served: &AtomicUsize) {
    let start = Instant::now();
    while !done.load(Ordering::Relaxed) && start.elapsed() < DEADLINE {
        let mut wire = Wire::open(port, "acme", "", "postgres");
        assert_eq!(org(&mut wire), [ACME]);
        wire.send(&Frontend::new().terminate());
        served.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn nobody_is_refused_while_one_process_after_the_other_takes_over() {
    for_each_version(async |server| {
        Tenants::load(server);
        // The directory of the first one holds the socket at which they meet.
        let mut processes = vec![told(server).start()];
        let port = processes[0].port();
        let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| keep_coming(port, &done, &served));
            }
            for _ in 0..4 {
                let before = served.load(Ordering::Relaxed);
                until("some are served", || (served.load(Ordering::Relaxed) > before + 5).then_some(()));
                let current = processes.last().expect("there is one");
                let next = successor(told(server), current);
                assert_left(current);
                processes.push(next);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(org(&mut client(&processes[4], "acme", "")), [ACME]);
    });
}

#[test]
fn processes_that_start_at_the_same_time_take_over_one_after_the_other() {
    for_each_version(async |server| {
        Tenants::load(server);
        let before = told(server).start();
        let mut kept = client(&before, "acme", "");
        kept.query("BEGIN");
        let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
        let all: Vec<Pgwarden> = std::thread::scope(|scope| {
            scope.spawn(|| keep_coming(before.port(), &done, &served));
            let starting: Vec<_> =
                (0..3).map(|_| scope.spawn(|| told(server).in_place_of(&before).start_unasked())).collect();
            let all: Vec<_> = starting.into_iter().map(|one| one.join().expect("it starts")).collect();
            for one in &all {
                one.until_logged("taken over from the process before", 0);
            }
            done.store(true, Ordering::Relaxed);
            all
        });
        let is_last = |one: &&Pgwarden| one.logged("another process has taken over") == 0;
        until("one is left", || (all.iter().filter(is_last).count() == 1).then_some(()));
        for one in all.iter().filter(|one| !is_last(one)) {
            assert_left(one);
        }
        let last = all.iter().find(is_last).expect("one is left");
        assert_eq!(org(&mut client(last, "acme", "")), [ACME]);
        assert_eq!(kept.query("COMMIT")[0].command(), "COMMIT");
        assert_left(&before);
    });
}

#[test]
fn what_runs_in_the_old_process_finishes_and_idle_clients_are_told_to_go() {
    for_each_version(async |server| {
        Tenants::load(server);
        let before = told(server).start();
        let (mut busy, mut idle, mut fresh) =
            (client(&before, "acme", ""), client(&before, "acme", ""), client(&before, "acme", ""));
        busy.query("BEGIN");
        busy.query("INSERT INTO notes VALUES ('kept')");
        idle.query("SELECT 1");
        let after = successor(told(server), &before);
        assert_told_to_go(&mut idle);
        assert_eq!(org(&mut client(&after, "acme", "")), [ACME]);
        assert_eq!(value(&busy.query("SELECT org()")).as_deref(), Some(ACME));
        assert_eq!(busy.query("COMMIT")[0].command(), "COMMIT");
        assert_told_to_go(&mut busy);
        // It came for something, and has not had it yet.
        assert_eq!(org(&mut fresh), [ACME]);
        assert_told_to_go(&mut fresh);
        assert_left(&before);
        assert_eq!(server.psql("SELECT name, org FROM notes"), format!("kept|{ACME}"));
        assert_eq!(org(&mut client(&after, "acme", "")), [ACME]);
    });
}

#[test]
fn a_login_under_way_in_the_old_process_is_finished_there() {
    for_each_version(async |server| {
        Tenants::load(server);
        let before = told(server).start();
        let mut early = Wire::connect(before.port());
        // Accepted, and known to be: the admin listener counts it.
        until("it is accepted", || (before.metric("pgwarden_clients") == Some(1.0)).then_some(()));
        let _after = successor(told(server), &before);
        early.log_in("acme", "", "postgres");
        assert_eq!(org(&mut early), [ACME]);
        assert_left(&before);
    });
}

#[test]
fn unix_sockets_and_the_admin_listener_move_over_as_well() {
    for_each_version(async |server| {
        Tenants::load(server);
        let listening =
            |builder: PgwardenBuilder| builder.env("PGWARDEN_LISTEN", "127.0.0.1:{port},{before}");
        let before = listening(told(server)).start();
        let place = format!("host={} port=6432 user=acme dbname=postgres", before.directory().display());
        let asked =
            || String::from_utf8_lossy(&psql(&place, &["-c", "SELECT org()"]).stdout).trim().to_owned();
        assert_eq!(asked(), ACME);
        let mode = |name: &str| {
            let file = fs::metadata(before.directory().join(name)).expect("it is there");
            file.permissions().mode() & 0o777
        };
        assert_eq!(mode("takeover"), 0o600, "nobody else may ask for the sockets");
        let after = successor(listening(told(server)), &before);
        assert_left(&before);
        assert_eq!(asked(), ACME);
        assert_eq!(after.metric("pgwarden_logins_total{outcome=\"accepted\"}"), Some(1.0));
        assert_eq!(mode("takeover"), 0o600);
        after.signal(Signal::TERM);
        assert_left(&after);
        for name in [".s.PGSQL.6432", "takeover"] {
            assert!(!before.directory().join(name).exists(), "{name} is removed by the last one");
        }
    });
}

#[test]
fn sockets_that_the_new_configuration_does_not_name_are_closed_and_new_ones_are_opened() {
    for_each_version(async |server| {
        Tenants::load(server);
        let before = told(server).env("PGWARDEN_LISTEN", "127.0.0.1:{port},{before}").start();
        let file = before.directory().join(".s.PGSQL.6432");
        assert!(file.exists());
        let after = successor(told(server).env("PGWARDEN_LISTEN", "127.0.0.1:{port},{before}:7777"), &before);
        assert_left(&before);
        assert!(!file.exists(), "nobody listens there any more");
        let place = format!("host={} port=7777 user=acme dbname=postgres", before.directory().display());
        assert!(psql(&place, &["-c", "SELECT org()"]).status.success());
        assert_eq!(org(&mut client(&after, "acme", "")), [ACME]);
    });
}

#[test]
fn a_new_process_that_cannot_start_leaves_the_old_one_serving() {
    for_each_version(async |server| {
        Tenants::load(server);
        let before = told(server).env("PGWARDEN_LISTEN", "127.0.0.1:{port},{before}").start();
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("it has an address").to_string();
        let listen = format!("127.0.0.1:{{port}},{{before}},{address}");
        for (builder, code, words) in [
            (told(server).env("PGWARDEN_MODE", "strict"), 64, "PGWARDEN_MODE"),
            (told(server).env("PGWARDEN_LISTEN", &listen), 71, "Address already in use"),
            (
                told(server).upstream("postgres://app@127.0.0.1:1/postgres?sslmode=disable"),
                71,
                "the server cannot be used, and the pgwarden that runs already goes on",
            ),
        ] {
            let failed = builder.in_place_of(&before).start_unasked();
            assert_eq!(failed.wait_exit().code(), Some(code), "{}", failed.stderr());
            assert!(failed.stderr().contains(words), "{words} is not in {}", failed.stderr());
            assert_eq!(org(&mut client(&before, "acme", "")), [ACME]);
        }
        let place = format!("host={} port=6432 user=acme dbname=postgres", before.directory().display());
        assert!(psql(&place, &["-c", "SELECT org()"]).status.success(), "its socket is still there");
        let after = successor(told(server), &before);
        assert_left(&before);
        assert_eq!(org(&mut client(&after, "acme", "")), [ACME]);
    });
}

#[test]
fn a_cancel_reaches_the_process_that_the_client_is_in() {
    for_each_version(async |server| {
        Tenants::load(server);
        let before = told(server).start();
        let mut busy = client(&before, "acme", "");
        busy.query("BEGIN");
        busy.send(&Frontend::new().query("SELECT pg_sleep(3600)"));
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        until("it sleeps", || (server.psql(asleep) == "1").then_some(()));
        let middle = successor(told(server), &before);
        let mut also = client(&middle, "acme", "");
        also.query("BEGIN");
        let after = successor(told(server), &middle);
        // From the last one to the first, by way of the one between.
        busy.cancel();
        assert_eq!(error_code(&busy.until_ready()), "57014");
        assert_eq!(after.metric("pgwarden_cancels_total{outcome=\"forwarded\"}"), Some(1.0));
        let mut stranger = Wire::connect(after.port());
        stranger.send(&Frontend::new().cancel(1, b"none"));
        assert_eq!(stranger.until_closed(), []);
        assert_eq!(after.metric("pgwarden_cancels_total{outcome=\"unknown\"}"), Some(1.0));
        busy.query("ROLLBACK");
        also.query("ROLLBACK");
        assert_left(&before);
        assert_left(&middle);
    });
}

#[test]
fn who_says_nonsense_at_the_takeover_socket_takes_nothing_over() {
    for_each_version(async |server| {
        Tenants::load(server);
        let before = told(server).start();
        for nonsense in ["", "serving x\n", "GET / HTTP/1.1\r\n\r\n", "serving"] {
            let warned = before.logged("wanted to take over and did not");
            let mut stranger = UnixStream::connect(before.directory().join("takeover")).expect("it listens");
            stranger.write_all(nonsense.as_bytes()).expect("it reads");
            stranger.shutdown(std::net::Shutdown::Write).expect("it is connected");
            // What it sends carries sockets, which a plain read throws away.
            let _ = stranger.read_to_end(&mut Vec::new());
            before.until_logged("wanted to take over and did not", warned);
        }
        assert_eq!(org(&mut client(&before, "acme", "")), [ACME]);
        let after = successor(told(server), &before);
        assert_left(&before);
        assert_eq!(org(&mut client(&after, "acme", "")), [ACME]);
    });
}

#[test]
fn the_file_of_a_killed_process_is_no_obstacle() {
    for_each_version(async |server| {
        Tenants::load(server);
        let before = told(server).start();
        before.signal(Signal::KILL);
        before.wait_exit();
        assert!(before.directory().join("takeover").exists());
        let after = told(server).in_place_of(&before).start();
        let last = successor(told(server), &after);
        assert_left(&after);
        assert_eq!(org(&mut client(&last, "acme", "")), [ACME]);
    });
}

#[test]
fn a_signal_makes_the_old_process_drain_and_its_deadline_holds() {
    for_each_version(async |server| {
        Tenants::load(server);
        let before = told(server).start();
        let mut fresh = client(&before, "acme", "");
        let middle = successor(told(server).env("PGWARDEN_DRAIN_TIMEOUT", "300ms"), &before);
        before.signal(Signal::TERM);
        assert_told_to_go(&mut fresh);
        assert_left(&before);
        let mut fresh = client(&middle, "acme", "");
        let after = successor(told(server), &middle);
        assert_told_to_go(&mut fresh);
        assert_left(&middle);
        assert_eq!(org(&mut client(&after, "acme", "")), [ACME]);
    });
}

#[test]
fn the_service_manager_learns_which_process_is_the_main_one() {
    for_each_version(async |server| {
        Tenants::load(server);
        let manager = Manager::listen();
        let before = told(server).env("NOTIFY_SOCKET", &manager.path()).start();
        manager.until_told("READY=1");
        let after = successor(told(server).env("NOTIFY_SOCKET", &manager.path()), &before);
        let told = manager.until_told("MAINPID=");
        assert!(told.contains(&format!("MAINPID={}\nREADY=1\n", after.process_id())), "{told}");
        assert_left(&before);
        after.signal(Signal::TERM);
        manager.until_told("STOPPING=1");
        let stopped = manager.heard().iter().filter(|message| message.contains("STOPPING=1")).count();
        assert_eq!(stopped, 1, "the service goes on when the old process leaves");
    });
}
