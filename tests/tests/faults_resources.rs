//! Where resources end, and servers come and go: no server at the start, another one behind the same address, thousands of
//! idle clients, no file descriptor left.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use pgwarden_tests::tenants::{ACME, Tenants, error_code, values};
use pgwarden_tests::wire::PROTOCOL_3_0;
use pgwarden_tests::{
    Frontend, Pgwarden, Relay, Server, Wire, binary, for_each_version, for_version, until, versions,
};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// How many clients do nothing.
const IDLE_CLIENTS: usize = 10_000;

/// What one of them may cost, in bytes of resident memory.
fn memory_each() -> usize {
    // Without optimisation, the state of a task has room for all that was there at any time.
    if binary().components().any(|part| part.as_os_str() == "release") { 8 * 1024 } else { 20 * 1024 }
}

fn through(relay: &Relay) -> String {
    format!("{}?sslmode=disable", pgwarden_tests::client::url(relay.port(), "app", "", "postgres"))
}

/// How a login ends: the client, or the SQLSTATE that it reads.
fn log_in(pgwarden: &Pgwarden) -> Result<Wire, String> {
    let mut wire = Wire::connect(pgwarden.port());
    match wire.try_log_in("", &[("user", "acme"), ("database", "postgres")]) {
        Ok(_) => Ok(wire),
        Err(refused) => Err(refused.fields().code().to_owned()),
    }
}

#[test]
fn without_a_server_at_the_start_logins_are_57p03_until_it_comes() {
    for_each_version(async |server| {
        Tenants::load(server);
        server.stop_fast();
        let relay = Relay::start(server.port());
        let pgwarden = Tenants::builder(&through(&relay)).start();
        for _ in 0..3 {
            assert_eq!(log_in(&pgwarden).expect_err("there is no server"), "57P03");
        }
        assert_eq!(pgwarden.metric("pgwarden_backends"), Some(0.0));
        server.start_again();
        relay.redirect(server.port());
        let mut acme = log_in(&pgwarden).expect("the server is there");
        assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
        until("it is ready", || (pgwarden.admin("/readyz").0 == 200).then_some(()));
    });
}

#[test]
fn after_a_failover_idle_clients_go_on_with_the_other_server() {
    for_each_version(async |server| {
        let standby = Server::start(server.version());
        Tenants::load(server);
        Tenants::load(&standby);
        standby.psql("INSERT INTO items SELECT 'on the standby', org FROM items WHERE name = 'of acme'");
        let relay = Relay::start(server.port());
        let pgwarden = Tenants::builder(&through(&relay)).env("PGWARDEN_POOL_SIZE", "2").start();
        let mut clients: Vec<Wire> =
            (0..3).map(|_| log_in(&pgwarden).expect("the server is there")).collect();
        clients[0].query("BEGIN");
        clients[0].query("SELECT org()");
        clients[2].send(&Frontend::new().parse("mine", "SELECT name FROM items ORDER BY 1", &[]).sync());
        clients[2].until_ready();
        relay.redirect(standby.port());
        server.stop_immediate();
        // The one in a transaction loses it; the others do not notice, their prepared statements included.
        let mut lost = clients.remove(0);
        lost.try_send(&Frontend::new().query("COMMIT"));
        assert_eq!(error_code(&lost.ended()), "08006");
        for client in &mut clients {
            assert_eq!(
                values(&client.query("SELECT name FROM items ORDER BY 1")),
                ["of acme", "on the standby"]
            );
        }
        // The statement is parsed anew over there.
        let mut prepared = clients.pop().expect("two are left");
        prepared.send(&Frontend::new().bind("", "mine", &[]).execute("", 0).sync());
        assert_eq!(values(&prepared.until_ready()), ["of acme", "on the standby"]);
    });
}

/// A logged-in client that takes one descriptor and almost no memory here.
fn idle_client(port: u16) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("pgwarden listens");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a TCP socket has this option");
    let startup = Frontend::new().startup(PROTOCOL_3_0, &[("user", "acme"), ("database", "postgres")]);
    socket.write_all(startup.bytes()).expect("pgwarden listens");
    let mut greeting = Vec::new();
    let mut piece = [0; 1024];
    // ReadyForQuery comes last.
    while !greeting.ends_with(b"Z\0\0\0\x05I") {
        let count = socket.read(&mut piece).expect("pgwarden answers");
        assert!(count > 0, "no login: {}", greeting.escape_ascii());
        greeting.extend_from_slice(&piece[..count]);
    }
    socket
}

/// Resident memory of a process, in bytes.
fn resident(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// The descriptors that a process has open.
fn descriptors(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).expect("the process runs").count()
}

#[test]
fn ten_thousand_idle_clients_cost_little_memory_each() {
    // The limit is inherited by pgwarden.
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(IDLE_CLIENTS + 1_000).expect("it fits");
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        eprintln!("skipped: {wanted} open files are needed, and {:?} allowed", limit.maximum);
        return;
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .expect("it may be raised");
    for_version(versions()[0], async |server| {
        let stage = Tenants::start_with(server, |builder| {
            let limits = format!("limits.max_clients = {}\n", IDLE_CLIENTS + 500);
            builder.file("pgwarden.toml", &limits).argument("--config").argument("{dir}/pgwarden.toml")
        });
        let (port, process) = (stage.pgwarden.port(), stage.pgwarden.process_id());
        // What is made once, whoever comes.
        let mut clients: Vec<TcpStream> = (0..200).map(|_| idle_client(port)).collect();
        let (before, open) = (resident(process), descriptors(process));
        clients.extend((0..IDLE_CLIENTS).map(|_| idle_client(port)));
        let each = resident(process).saturating_sub(before) / IDLE_CLIENTS;
        println!("{each} bytes for each of {IDLE_CLIENTS} idle clients");
        assert!(each <= memory_each(), "{each} bytes for each idle client");
        // Each has its socket and nothing else; and whoever works is served.
        let taken = descriptors(process) - open;
        assert!(taken <= IDLE_CLIENTS + 10, "{taken} descriptors for {IDLE_CLIENTS} clients");
        let expected = f64::from(u32::try_from(clients.len()).expect("it fits"));
        assert_eq!(stage.pgwarden.metric("pgwarden_clients"), Some(expected));
        assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
        drop(clients);
        until("all have left", || (stage.pgwarden.metric("pgwarden_clients") == Some(0.0)).then_some(()));
    });
}

#[test]
fn without_a_descriptor_left_the_clients_of_now_are_served_and_the_log_says_so() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
        let process = stage.pgwarden.process_id();
        let id = Pid::from_raw(i32::try_from(process).expect("a process id"));
        let before =
            prlimit(id, Resource::Nofile, limited(descriptors(process) + 5)).expect("it may be lowered");
        // More than fit; those who do not are in the kernel's queue.
        let refused = "a connection could not be accepted";
        let crowd: Vec<Wire> = (0..20).map(|_| Wire::connect(stage.pgwarden.port())).collect();
        stage.pgwarden.until_logged(refused, 0);
        for _ in 0..10 {
            assert_eq!(values(&acme.query("SELECT org()")), [ACME], "who is there is served");
        }
        drop(crowd);
        assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME], "it recovers");
        assert!(!stage.pgwarden.stderr().contains("panic"), "{}", stage.pgwarden.stderr());
        prlimit(id, Resource::Nofile, before).expect("it may be raised again");
        assert_eq!(stage.pgwarden.metric("pgwarden_backends"), Some(1.0));
    });
}

fn limited(count: usize) -> Rlimit {
    let hard = getrlimit(Resource::Nofile).maximum;
    Rlimit { current: u64::try_from(count).ok(), maximum: hard }
}
