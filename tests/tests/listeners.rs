//! The sockets that clients connect to, and what is asked of TCP: addresses of both families, unix sockets and their
//! files, keepalive.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use pgwarden_tests::reload::{TRUST, client, org, told, upstream as url};
use pgwarden_tests::tenants::{ACME, Tenants};
use pgwarden_tests::{Pgwarden, PgwardenBuilder, Server, Signal, for_each_version, psql};
use rustix::net::{getpeername, getsockname, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

fn builder(server: &Server, listen: &str) -> PgwardenBuilder {
    let builder = Tenants::builder(&url(server)).env("PGWARDEN_LISTEN", listen);
    builder.argument("--config=pgwarden.toml").file("pgwarden.toml", "auth.trust_remote = true")
}

/// Which organisation a client of this host acts for.
fn asked(host: &str, port: u16) -> String {
    let place = format!("host={host} port={port} user=acme dbname=postgres");
    String::from_utf8_lossy(&psql(&place, &["-c", "SELECT org()"]).stdout).trim().to_owned()
}

fn refuses(host: &str, port: u16) -> bool {
    TcpStream::connect((host, port)).is_err()
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn a_star_is_every_address_of_both_families() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = builder(server, "*:{port}").start();
        assert_eq!(asked("127.0.0.1", pgwarden.port()), ACME);
        assert_eq!(asked("127.0.0.2", pgwarden.port()), ACME);
        if has_ipv6() {
            assert_eq!(asked("::1", pgwarden.port()), ACME);
        }
    });
}

#[test]
fn each_family_can_be_listened_on_alone_or_side_by_side() {
    for_each_version(async |server| {
        Tenants::load(server);
        if !has_ipv6() {
            return;
        }
        let v4 = builder(server, "0.0.0.0:{port}").start();
        assert_eq!((asked("127.0.0.1", v4.port()).as_str(), refuses("::1", v4.port())), (ACME, true));
        let v6 = builder(server, "[::]:{port}").start();
        assert_eq!((asked("::1", v6.port()).as_str(), refuses("127.0.0.1", v6.port())), (ACME, true));
        let both = builder(server, "0.0.0.0:{port},[::]:{port}").start();
        assert_eq!(
            (asked("127.0.0.1", both.port()).as_str(), asked("::1", both.port()).as_str()),
            (ACME, ACME)
        );
        let loopback = builder(server, "[::1]:{port}").start();
        assert_eq!(
            (asked("::1", loopback.port()).as_str(), refuses("127.0.0.1", loopback.port())),
            (ACME, true)
        );
    });
}

#[test]
fn a_star_takes_no_half_of_a_port_that_somebody_else_has() {
    for_each_version(async |server| {
        Tenants::load(server);
        for taken in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(taken) = TcpListener::bind(taken) else { continue };
            let port = taken.local_addr().expect("it has an address").port();
            let exit = builder(server, &format!("*:{port}")).try_start().expect_err("the port is taken");
            assert_eq!(exit.status.code(), Some(71), "{}", exit.stderr);
            assert!(exit.stderr.contains(&format!("cannot listen on *:{port}: Address already in use")));
        }
    });
}

#[test]
fn a_restart_finds_its_port_free_although_connections_linger() {
    for_each_version(async |server| {
        Tenants::load(server);
        let first = builder(server, "127.0.0.1:{port}").start();
        let mut told_to_go = client(&first, "acme", "");
        first.signal(Signal::TERM);
        told_to_go.until_closed();
        assert_eq!(first.wait_exit().code(), Some(0));
        // The side that closes first has the connection in TIME_WAIT.
        let second = builder(server, "127.0.0.1:{port}").in_place_of(&first).start();
        assert_eq!(org(&mut client(&second, "acme", "")), [ACME]);
    });
}

#[test]
fn the_file_of_a_unix_socket_has_the_port_in_its_name_and_the_permissions_asked_for() {
    for_each_version(async |server| {
        Tenants::load(server);
        for (mode, bits) in [("0777", 0o777), ("0770", 0o770), ("0600", 0o600)] {
            let file = format!("unix_socket_permissions = \"{mode}\"");
            let pgwarden =
                builder(server, "127.0.0.1:{port},{dir}:7433,{dir}").file("pgwarden.toml", &file).start();
            let directory = pgwarden.directory().to_string_lossy().into_owned();
            for port in [6432, 7433] {
                let file = fs::metadata(pgwarden.directory().join(format!(".s.PGSQL.{port}")));
                assert_eq!(file.expect("it is there").permissions().mode() & 0o777, bits);
                assert_eq!(asked(&directory, port), ACME);
            }
        }
    });
}

#[test]
fn what_is_no_socket_is_never_removed() {
    for_each_version(async |server| {
        Tenants::load(server);
        let occupied = builder(server, "127.0.0.1:{port},{dir}").file(".s.PGSQL.6432", "precious");
        let exit = occupied.try_start().expect_err("the name is taken");
        assert_eq!(exit.status.code(), Some(71), "{}", exit.stderr);
        assert!(exit.stderr.contains(":6432: Address already in use"), "{}", exit.stderr);
    });
}

/// pgwarden's connected sockets for which the two ports, its own and the other side's, are right.
fn sockets(pgwarden: &Pgwarden, fits: impl Fn(u16, u16) -> bool) -> Vec<OwnedFd> {
    let id = pgwarden.process_id();
    let pid = Pid::from_raw(id.try_into().expect("a process id")).expect("a process id");
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("it runs");
    let numbers = fs::read_dir(format!("/proc/{id}/fd")).expect("it runs");
    let numbers = numbers.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let sockets = numbers.filter_map(|number| pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok());
    let own = |socket: &OwnedFd| Some(SocketAddr::try_from(getsockname(socket).ok()?).ok()?.port());
    let other = |socket: &OwnedFd| Some(SocketAddr::try_from(getpeername(socket).ok()??).ok()?.port());
    let ports = |socket: &OwnedFd| own(socket).zip(other(socket));
    sockets.filter(|socket| ports(socket).is_some_and(|(own, other)| fits(own, other))).collect()
}

/// Keepalive: on, idle, interval, count; and the user timeout in milliseconds.
fn options(socket: &OwnedFd) -> (bool, Duration, Duration, u32, u32) {
    (
        sockopt::socket_keepalive(socket).expect("a TCP socket"),
        sockopt::tcp_keepidle(socket).expect("a TCP socket"),
        sockopt::tcp_keepintvl(socket).expect("a TCP socket"),
        sockopt::tcp_keepcnt(socket).expect("a TCP socket"),
        sockopt::tcp_user_timeout(socket).expect("a TCP socket"),
    )
}

#[test]
fn clients_and_servers_that_die_in_silence_are_noticed() {
    for_each_version(async |server| {
        Tenants::load(server);
        let seconds = Duration::from_secs;
        let own = "tcp.keepalive_idle = \"7s\"\ntcp.keepalive_interval = 3\ntcp.keepalive_count = 2\n\
                   tcp.user_timeout = \"20s\"";
        for (more, expected) in
            [("", (true, seconds(60), seconds(10), 6, 0)), (own, (true, seconds(7), seconds(3), 2, 20_000))]
        {
            let pgwarden = told(&url(server), &format!("{TRUST}\n{more}")).start();
            let mut acme = client(&pgwarden, "acme", "");
            assert_eq!(org(&mut acme), [ACME]);
            let clients = sockets(&pgwarden, |own, _| own == pgwarden.port());
            let servers = sockets(&pgwarden, |_, other| other == server.port());
            assert!(!clients.is_empty() && !servers.is_empty());
            for socket in clients.iter().chain(&servers) {
                assert_eq!(options(socket), expected, "{more}");
                assert!(sockopt::tcp_nodelay(socket).expect("a TCP socket"));
            }
        }
        let pgwarden = told(&url(server), &format!("{TRUST}\ntcp.keepalive_idle = \"off\"")).start();
        let _acme = client(&pgwarden, "acme", "");
        let clients = sockets(&pgwarden, |own, _| own == pgwarden.port());
        assert!(!options(&clients[0]).0);
    });
}
