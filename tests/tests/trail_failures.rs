//! The audit trail where things go wrong: the process is killed, the disk is full, the clock is put back.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use pgwarden_audit::{Chain, Life, Moment, Record, Timestamp};
use pgwarden_tests::lane::{self, enter};
use pgwarden_tests::tenants::error_code;
use pgwarden_tests::trail::{
    assert_broken, assert_intact, directory, files, of_kind, records, told, until_recorded,
};
use pgwarden_tests::{
    Frontend, Pgwarden, PgwardenBuilder, Server, Signal, Wire, for_version, until, versions,
};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// Where nothing can be written any longer.
const UNWRITABLE: &str = "pgwarden_audit_unwritable";

/// Ends a pgwarden as a power failure does, the disk aside.
fn kill(pgwarden: &Pgwarden) {
    pgwarden.signal(Signal::KILL);
    pgwarden.wait_exit();
}

/// A session of the service, from begin to end: two records.
fn session(pgwarden: &Pgwarden) {
    let mut wire = enter(pgwarden, "migrator", "OPS-1").expect("it is a service");
    wire.query("SELECT 1");
    wire.send(&Frontend::new().terminate());
}

/// Waits until all is recorded that one session leaves.
fn until_told(trail: &Path) {
    until_recorded(trail, "service_used");
    until("it has ended", || (sessions(trail) == (1, 1)).then_some(()));
}

/// How many sessions have begun and ended, as the trail says.
fn sessions(trail: &Path) -> (usize, usize) {
    let all = of_kind(trail, "service");
    let of = |stage: &str| all.iter().filter(|record| record["service"]["stage"] == stage).count();
    (of("begun"), of("ended"))
}

/// No file of the process may become longer.
fn limit(pgwarden: &Pgwarden, bytes: Option<u64>) {
    let pid = i32::try_from(pgwarden.process_id()).ok().and_then(Pid::from_raw);
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).expect("limits can be set");
}

/// Fills the disk: the trail's file may not grow, and no other one either.
fn fill(pgwarden: &Pgwarden, trail: &Path) {
    let length = files(trail).last().and_then(|file| fs::metadata(file).ok()).map(|data| data.len());
    // Some bytes more, so that a part of a record fits.
    limit(pgwarden, length.map(|length| length + 100));
}

/// A log that does not grow: it is subject to the limit as well.
fn quiet(server: &Server, audit: &str) -> PgwardenBuilder {
    told(server, audit).env("PGWARDEN_LOG", "error")
}

#[test]
fn a_torn_tail_is_cut_and_recorded() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let pgwarden = told(server, "").start();
        let trail = directory(&pgwarden);
        session(&pgwarden);
        until_told(&trail);
        kill(&pgwarden);
        let file = files(&trail).remove(0);
        let good = fs::read(&file).expect("the trail can be read");
        let mut torn = OpenOptions::new().append(true).open(&file).expect("it can be written");
        torn.write_all(b"{\"v\":1,\"seq\":").expect("it can be written");
        assert_broken(&trail, &[], "torn: the last line has no end (13 bytes)");
        let again = told(server, "").in_place_of(&pgwarden).start();
        let tail = until_recorded(&trail, "torn_tail");
        assert_eq!(tail["detail"]["torn_tail"]["bytes"], 13);
        assert_eq!(tail["detail"]["torn_tail"]["lines"], 0);
        assert!(fs::read(&file).expect("the trail can be read").starts_with(&good));
        let started = of_kind(&trail, "started");
        assert_eq!(started[1]["detail"]["started"], "after_crash");
        again.signal(Signal::TERM);
        again.wait_exit();
        assert_intact(&trail, &[]);
        let _third = told(server, "").in_place_of(&pgwarden).start();
        until("there are three", || (of_kind(&trail, "started").len() == 3).then_some(()));
        assert_eq!(of_kind(&trail, "started")[2]["detail"]["started"], "after_stop");
    });
}

#[test]
fn lines_that_do_not_belong_to_the_chain_are_set_aside_and_never_lost() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let pgwarden = told(server, "").start();
        let trail = directory(&pgwarden);
        session(&pgwarden);
        until_told(&trail);
        kill(&pgwarden);
        let file = files(&trail).remove(0);
        let text = fs::read_to_string(&file).expect("the trail can be read");
        fs::write(&file, text.replacen("OPS-1", "OPS-2", 1)).expect("it can be written");
        let _again = told(server, "").in_place_of(&pgwarden).start();
        let tail = until_recorded(&trail, "torn_tail");
        assert_eq!(tail["detail"]["torn_tail"]["lines"], 3);
        assert_broken(
            &trail,
            &[],
            "3 lines did not belong to the chain when pgwarden started, and were set aside",
        );
        let aside = fs::read_dir(&trail).expect("the directory").flatten();
        let aside = aside.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("set-aside"));
        let aside = fs::read_to_string(aside.expect("they are kept")).expect("they can be read");
        assert!(aside.contains("OPS-2") && aside.lines().count() == 3, "{aside}");
    });
}

/// Sessions of a service, one after the other, as soon as somebody listens; they may be killed in the middle.
fn come_and_go(port: u16, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        until("it listens again", || {
            let listens = TcpStream::connect(("127.0.0.1", port)).is_ok();
            (listens || done.load(Ordering::Relaxed)).then_some(())
        });
        let _killed = std::panic::catch_unwind(|| {
            let mut wire = Wire::open(port, "migrator", "", "postgres");
            wire.send(&Frontend::new().terminate());
        });
    }
}

#[test]
fn killed_again_and_again_under_load_the_chain_stays_whole() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let first = told(server, "segment_bytes = \"8kB\"\nfsync = \"off\"").start();
        let trail = directory(&first);
        let port = first.port();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| come_and_go(port, &done));
            }
            let mut current = None;
            for round in 0..8 {
                let running = current.as_ref().unwrap_or(&first);
                let before = records(&trail).len();
                until("there is more", || (records(&trail).len() > before + 20).then_some(()));
                kill(running);
                let written: Vec<Vec<u8>> =
                    files(&trail).iter().map(|file| fs::read(file).expect("it can be read")).collect();
                current = Some(
                    told(server, "segment_bytes = \"8kB\"\nfsync = \"off\"").in_place_of(&first).start(),
                );
                until("it goes on", || (of_kind(&trail, "started").len() == round + 2).then_some(()));
                // Whatever was written as a whole line is still there.
                for (file, before) in files(&trail).iter().zip(written) {
                    let whole = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                    assert!(fs::read(file).expect("it can be read").starts_with(&before[..whole]));
                }
                let started = of_kind(&trail, "started");
                assert_eq!(started[round + 1]["detail"]["started"], "after_crash");
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(files(&trail).len() > 1, "it begins files");
        assert_intact(&trail, &[]);
    });
}

#[test]
fn while_the_disk_is_full_queries_go_on_and_nothing_is_lost() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let pgwarden = quiet(server, "").start();
        let trail = directory(&pgwarden);
        // The trail is longer than the log.
        for _ in 0..20 {
            session(&pgwarden);
        }
        until("they are recorded", || (sessions(&trail) == (20, 20)).then_some(()));
        fill(&pgwarden, &trail);
        for _ in 0..20 {
            session(&pgwarden);
        }
        until("it is noticed", || (pgwarden.metric(UNWRITABLE) == Some(1.0)).then_some(()));
        let (status, body) = pgwarden.admin("/readyz");
        assert_eq!(status, 200, "{body}");
        assert!(body.contains("\"degraded\"") && body.contains("audit_unwritable"), "{body}");
        let mut acme = Wire::open(pgwarden.port(), "acme", "", "postgres");
        acme.query("SELECT 1");
        assert_intact(&trail, &[]);
        limit(&pgwarden, None);
        let interrupted = until_recorded(&trail, "interrupted");
        let error = interrupted["detail"]["interrupted"]["error"].as_str().expect("what the system said");
        assert!(error.contains("too large"), "{error}");
        until("everything is recorded", || (sessions(&trail) == (40, 40)).then_some(()));
        until("it is ready", || pgwarden.admin("/readyz").1.contains("\"ready\"").then_some(()));
        assert_eq!(pgwarden.metric("pgwarden_audit_dropped_total"), Some(0.0));
        assert_intact(&trail, &[]);
    });
}

#[test]
fn where_a_trail_is_required_transactions_are_refused_without() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let pgwarden = quiet(server, "required = true").start();
        let trail = directory(&pgwarden);
        for _ in 0..20 {
            session(&pgwarden);
        }
        until("they are recorded", || (sessions(&trail) == (20, 20)).then_some(()));
        let mut acme = Wire::open(pgwarden.port(), "acme", "", "postgres");
        let mut open = Wire::open(pgwarden.port(), "migrator", "", "postgres");
        open.query("BEGIN");
        fill(&pgwarden, &trail);
        let mut service = Wire::open(pgwarden.port(), "migrator", "", "postgres");
        until("it is noticed", || (pgwarden.metric(UNWRITABLE) == Some(1.0)).then_some(()));
        for wire in [&mut acme, &mut service] {
            let refused = wire.query("SELECT 1");
            assert_eq!(error_code(&refused), "57P03");
        }
        // What had begun may end.
        open.query("SELECT 1");
        open.query("COMMIT");
        let (status, body) = pgwarden.admin("/readyz");
        assert_eq!(status, 503, "{body}");
        assert!(body.contains("audit_unwritable"), "{body}");
        limit(&pgwarden, None);
        until("it is ready", || (pgwarden.admin("/readyz").0 == 200).then_some(()));
        acme.query("SELECT 1");
        service.query("SELECT 1");
        assert_intact(&trail, &[]);
    });
}

#[test]
fn time_does_not_go_back_in_a_trail_when_the_clock_does() {
    for_version(versions()[0], async |server| {
        lane::load(server);
        let pgwarden = told(server, "").start();
        let trail = directory(&pgwarden);
        until_recorded(&trail, "started");
        kill(&pgwarden);
        let file = files(&trail).remove(0);
        let text = fs::read_to_string(&file).expect("the trail can be read");
        let last = Record::read(text.lines().last().expect("a line").as_bytes()).expect("a record");
        // As if it had been written in 2100, by a clock that was wrong.
        let future = Timestamp(4_102_444_800_000_000);
        let (mut chain, mut line) = (Chain::after(&last).expect("a hash"), text.into_bytes());
        let mut record = Record::of(Life::Reloaded);
        chain.link(&mut record, Moment { now: future, random: [0; 10] }, &mut line);
        fs::write(&file, line).expect("it can be written");
        let again = told(server, "").in_place_of(&pgwarden).start();
        let back = until_recorded(&trail, "clock_went_back");
        assert!(back["detail"]["clock_went_back"].as_u64().expect("microseconds") > 1_000_000);
        assert_eq!(back["time"], "2100-01-01T00:00:00.000000Z");
        session(&again);
        until_told(&trail);
        assert_eq!(of_kind(&trail, "clock_went_back").len(), 1);
        assert_intact(&trail, &[]);
    });
}
