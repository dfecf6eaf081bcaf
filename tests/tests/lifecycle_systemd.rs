//! What the service manager is told, and the sockets that it opens.

use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

use pgwarden_tests::manager::Manager;
use pgwarden_tests::reload::{TRUST, org, rewrite, told, upstream};
use pgwarden_tests::tenants::{ACME, Tenants, values};
use pgwarden_tests::{PgwardenBuilder, Signal, Wire, for_each_version, psql};

fn reporting(builder: PgwardenBuilder, manager: &Manager) -> PgwardenBuilder {
    builder.env("NOTIFY_SOCKET", &manager.path())
}

#[test]
fn the_service_manager_is_told_of_readiness_reloads_and_the_end() {
    for_each_version(async |server| {
        Tenants::load(server);
        let manager = Manager::listen();
        let pgwarden = reporting(told(&upstream(server), TRUST), &manager).start();
        assert!(manager.until_told("READY=1").contains("STATUS=serving clients\n"));
        let mut busy = Wire::open(pgwarden.port(), "acme", "", "postgres");
        busy.query("BEGIN");
        busy.query("SELECT 1");
        pgwarden.signal(Signal::HUP);
        let reloading = manager.until_told("RELOADING=1");
        let moment = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        let uptime = std::fs::read_to_string("/proc/uptime").expect("Linux tells");
        let uptime: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).expect("seconds");
        let moment: f64 = moment.and_then(|text| text.parse().ok()).expect("a number");
        assert!((uptime - moment / 1e6).abs() < 20.0, "{reloading}: the machine is up for {uptime} s");
        assert!(manager.until_told("READY=1").contains("STATUS=serving clients\n"));
        rewrite(&pgwarden, &upstream(server), "no_such_key = 1");
        pgwarden.signal(Signal::HUP);
        manager.until_told("RELOADING=1");
        assert!(manager.until_told("READY=1").contains("has a mistake"));
        pgwarden.signal(Signal::TERM);
        let stopping = manager.until_told("STOPPING=1");
        assert!(stopping.contains("STATUS=draining"), "{stopping}");
        assert!(stopping.contains("EXTEND_TIMEOUT_USEC=40000000"), "30 s and some more: {stopping}");
        busy.query("COMMIT");
        assert_eq!(pgwarden.wait_exit().code(), Some(0));
        assert!(manager.heard().iter().all(|message| !message.contains("WATCHDOG")));
    });
}

#[test]
fn the_watchdog_is_fed_for_as_long_as_the_workers_answer() {
    for_each_version(async |server| {
        Tenants::load(server);
        let manager = Manager::listen();
        let builder = reporting(told(&upstream(server), TRUST), &manager);
        let _pgwarden = builder.env("WATCHDOG_USEC", "300000").start();
        manager.until_told("READY=1");
        for _ in 0..5 {
            manager.until_told("WATCHDOG=1");
        }
    });
}

#[test]
fn a_service_manager_that_is_not_there_harms_nobody() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = told(&upstream(server), TRUST).env("NOTIFY_SOCKET", "/absent/notify").start();
        assert_eq!(org(&mut Wire::open(pgwarden.port(), "acme", "", "postgres")), [ACME]);
        pgwarden.signal(Signal::TERM);
        assert_eq!(pgwarden.wait_exit().code(), Some(0));
    });
}

#[test]
fn sockets_of_the_service_manager_take_the_place_of_those_in_the_configuration() {
    for_each_version(async |server| {
        Tenants::load(server);
        // Nobody can bind these addresses: the configuration's own are not opened at all.
        let builder = Tenants::builder(&upstream(server))
            .env("PGWARDEN_LISTEN", "127.0.0.1:1,/absent")
            .env("PGWARDEN_ADMIN", "127.0.0.1:1")
            .inheriting("clients=tcp:127.0.0.1:{port}")
            .inheriting("=unix:{dir}/.s.PGSQL.7654")
            .inheriting("admin=tcp:127.0.0.1:{admin_port}");
        let pgwarden = builder.start();
        assert_eq!(org(&mut Wire::open(pgwarden.port(), "acme", "", "postgres")), [ACME]);
        let place = format!("host={} port=7654 user=acme dbname=postgres", pgwarden.directory().display());
        let output = psql(&place, &["-c", "SELECT org()"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), ACME, "{output:?}");
        let log = pgwarden.until_logged("ready listen=", 0);
        assert!(log.contains(&format!("127.0.0.1:{},", pgwarden.port())), "{log}");
        pgwarden.signal(Signal::TERM);
        assert_eq!(pgwarden.wait_exit().code(), Some(0));
        let file = std::fs::metadata(pgwarden.directory().join(".s.PGSQL.7654")).expect("it is not ours");
        assert!(file.file_type().is_socket());
    });
}

#[test]
fn sockets_meant_for_another_process_are_left_alone() {
    for_each_version(async |server| {
        Tenants::load(server);
        let builder = Tenants::builder(&upstream(server)).env("LISTEN_PID", "1");
        let pgwarden = builder.inheriting("clients=unix:{dir}/.s.PGSQL.7654").start();
        assert_eq!(org(&mut Wire::open(pgwarden.port(), "acme", "", "postgres")), [ACME]);
    });
}

#[test]
fn what_clients_cannot_connect_to_is_refused_and_the_exit_code_is_64() {
    let upstream = "postgres://app@127.0.0.1:1/postgres";
    for (socket, reason) in [
        ("x=unix:{dir}/odd", "socket 0 of the service manager: the file of a unix socket has to be named"),
        ("x=datagram:127.0.0.1:{port}", "socket 0 of the service manager: "),
        ("x=file:{dir}/plain", "socket 0 of the service manager: "),
        ("x=tcp:0.0.0.0:{port}", "auth.method: trust lets everybody in who reaches 0.0.0.0:"),
        ("admin=tcp:0.0.0.0:{port}", "admin.token: is missing, other machines reach the admin listener"),
    ] {
        let exit = Tenants::builder(upstream).inheriting(socket).try_start().expect_err(socket);
        assert_eq!(exit.status.code(), Some(64), "{socket}: {}", exit.stderr);
        assert!(exit.stderr.contains(reason), "{socket}: {}", exit.stderr);
    }
}

#[test]
fn clients_that_connect_before_the_start_are_served_behind_it() {
    for_each_version(async |server| {
        Tenants::load(server);
        let builder = Tenants::builder(&upstream(server)).inheriting("x=tcp:127.0.0.1:{port}");
        let pgwarden = builder.start_unasked();
        let wire = pgwarden_tests::until("the manager's socket is there", || {
            std::net::TcpStream::connect(("127.0.0.1", pgwarden.port()))
                .is_ok()
                .then(|| Wire::connect(pgwarden.port()))
        });
        let mut wire = wire;
        wire.set_patience(Duration::from_secs(20));
        wire.log_in("acme", "", "postgres");
        assert_eq!(values(&wire.query("SELECT org()")), [ACME]);
    });
}
