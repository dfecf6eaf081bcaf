//! PROXY protocol: whose address a client has when a load balancer brings it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::reload::{OK, TRUST, org, reload, rewrite, told, upstream as url};
use pgwarden_tests::tenants::{ACME, Tenants};
use pgwarden_tests::wire::PROTOCOL_3_0;
use pgwarden_tests::{Frontend, Pgwarden, PgwardenBuilder, Server, Wire, for_each_version};

const CLOSED: &str = "a connection without a valid PROXY protocol header was closed";

/// PROXY, with this address as the client's.
fn header(client: &str, tlvs: &[u8]) -> Vec<u8> {
    let client: SocketAddr = client.parse().expect("an address");
    let (family, octets) = match client.ip() {
        IpAddr::V4(address) => (0x11, address.octets().to_vec()),
        IpAddr::V6(address) => (0x21, address.octets().to_vec()),
    };
    let destination = vec![1; octets.len()];
    let addresses = [&octets[..], &destination, &client.port().to_be_bytes(), &[0x19, 0x20], tlvs].concat();
    whole(0x21, family, &addresses)
}

fn whole(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("a short header").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
}

fn behind(server: &Server, from: &str) -> PgwardenBuilder {
    Tenants::builder(&url(server))
        .env("PGWARDEN_PROXY_PROTOCOL", from)
        .argument("--config=pgwarden.toml")
        .file("pgwarden.toml", "auth.trust_remote = true")
}

#[track_caller]
fn comes(pgwarden: &Pgwarden, header: &[u8]) -> Wire {
    let mut wire = Wire::connect(pgwarden.port());
    wire.send_bytes(header);
    wire.log_in("acme", "", "postgres");
    wire
}

/// A login that fails; returns the line about it.
#[track_caller]
fn line_about(pgwarden: &Pgwarden, header: &[u8]) -> String {
    let before = pgwarden.logged("login refused");
    let mut wire = Wire::connect(pgwarden.port());
    wire.send_bytes(header);
    wire.startup(&[("user", "acme"), ("database", "absent")]);
    wire.until_closed();
    let log = pgwarden.until_logged("login refused", before);
    log.lines().rfind(|line| line.contains("login refused")).unwrap_or_default().to_owned()
}

#[test]
fn the_client_has_the_address_of_the_header() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = behind(server, "127.0.0.1").start();
        for (sent, shown) in [
            (header("192.0.2.7:50000", &[]), "client=192.0.2.7:50000"),
            (header("192.0.2.7:50000", b"\x04\0\x03abc\x20\0\x05\x01\0\0\0\0"), "client=192.0.2.7:50000"),
            (header("[2001:db8::1]:9", &[]), "client=[2001:db8::1]:9"),
            (header("[::ffff:192.0.2.8]:9", &[]), "client=192.0.2.8:9"),
            (whole(0x21, 0x31, &[0; 216]), "client=unix"),
            (whole(0x20, 0, &[]), "client=127.0.0.1:"),
            (whole(0x20, 0x11, &[7; 12]), "client=127.0.0.1:"),
            (whole(0x21, 0, b"what nobody reads"), "client=127.0.0.1:"),
        ] {
            assert_eq!(org(&mut comes(&pgwarden, &sent)), [ACME], "{shown}");
            let line = line_about(&pgwarden, &sent);
            assert!(line.contains(shown), "{shown} is not in {line}");
        }
    });
}

#[test]
fn a_connection_without_a_valid_header_is_closed_with_a_line_in_the_log() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = behind(server, "127.0.0.0/8").start();
        let startup = Frontend::new().startup(PROTOCOL_3_0, &[("user", "acme"), ("database", "postgres")]);
        let odd: [(&[u8], &str); 6] = [
            (startup.bytes(), "there is no PROXY protocol header of version 2"),
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.8 50000 6432\r\n",
                "there is no PROXY protocol header of version 2",
            ),
            (&whole(0x22, 0x11, &[0; 12]), "unknown command 2"),
            (&whole(0x21, 0x12, &[0; 12]), "not of a stream (0x12)"),
            (&whole(0x21, 0x11, &[0; 11]), "too short for its addresses"),
            (&whole(0x21, 0x11, &[0; 4097]), "a PROXY protocol header of 4097 bytes"),
        ];
        for (bytes, reason) in odd {
            let before = pgwarden.logged(CLOSED);
            let mut socket = TcpStream::connect(("127.0.0.1", pgwarden.port())).expect("it listens");
            socket.write_all(bytes).expect("it is read, or will be");
            let mut answer = Vec::new();
            // What was not read makes the end an abrupt one.
            let _ = socket.read_to_end(&mut answer);
            assert_eq!(answer, b"", "who brings no header reads nothing");
            let log = pgwarden.until_logged(CLOSED, before);
            assert!(log.contains(reason), "{reason} is not in {log}");
        }
        let silent = TcpStream::connect(("127.0.0.1", pgwarden.port())).expect("it listens");
        let before = pgwarden.logged(CLOSED);
        drop(silent);
        pgwarden.until_logged(CLOSED, before);
        assert_eq!(org(&mut comes(&pgwarden, &header("192.0.2.7:50000", &[]))), [ACME]);
    });
}

#[test]
fn from_others_a_header_is_no_header() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = behind(server, "10.0.0.0/8, ::1, unix").start();
        assert_eq!(org(&mut Wire::open(pgwarden.port(), "acme", "", "postgres")), [ACME]);
        let mut forger = Wire::connect(pgwarden.port());
        forger.send_bytes(&header("10.1.2.3:50000", &[]));
        let last = forger.until_closed();
        assert_eq!(last.last().map(|message| message.fields().code().to_owned()).as_deref(), Some("08P01"));
    });
}

#[test]
fn tls_begins_behind_the_header() {
    for_each_version(async |server| {
        Tenants::load(server);
        let authority = Authority::create();
        let pgwarden = behind(server, "127.0.0.1").tls("require", &authority.server()).start();
        let mut asked = Wire::connect(pgwarden.port());
        asked.send_bytes(&header("192.0.2.7:50000", &[]));
        asked.request_tls(&authority.client(None, &[]));
        asked.log_in("acme", "", "postgres");
        assert_eq!(org(&mut asked), [ACME]);
        let mut direct = Wire::connect(pgwarden.port());
        direct.send_bytes(&header("192.0.2.7:50000", &[]));
        direct.start_tls(&authority.client(None, &["postgresql"])).expect("direct TLS");
        direct.log_in("acme", "", "postgres");
        assert_eq!(org(&mut direct), [ACME]);
    });
}

#[test]
fn a_header_in_pieces_and_with_the_start_of_the_session_behind_it_is_read() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = behind(server, "127.0.0.1").start();
        let startup = Frontend::new().startup(PROTOCOL_3_0, &[("user", "acme"), ("database", "postgres")]);
        let bytes = [header("192.0.2.7:50000", b"\x04\0\x01x"), startup.bytes().to_vec()].concat();
        for size in [1, 7, 16, 17, bytes.len()] {
            let mut wire = Wire::connect(pgwarden.port());
            wire.send_in_pieces(&bytes, size);
            wire.until_ready();
            assert_eq!(org(&mut wire), [ACME], "pieces of {size}");
        }
    });
}

#[test]
fn a_load_balancer_may_come_through_a_unix_socket() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = behind(server, "unix").env("PGWARDEN_LISTEN", "127.0.0.1:{port},{dir}").start();
        let mut socket = UnixStream::connect(pgwarden.directory().join(".s.PGSQL.6432")).expect("it listens");
        let startup = Frontend::new().startup(PROTOCOL_3_0, &[("user", "acme"), ("database", "absent")]);
        let bytes = [header("192.0.2.7:50000", &[]), startup.bytes().to_vec()].concat();
        socket.write_all(&bytes).expect("it reads");
        socket.read_to_end(&mut Vec::new()).expect("it answers");
        let log = pgwarden.until_logged("login refused", 0);
        assert!(log.contains("client=192.0.2.7:50000"), "{log}");
        assert_eq!(org(&mut Wire::open(pgwarden.port(), "acme", "", "postgres")), [ACME]);
    });
}

#[test]
fn trust_and_load_balancers_go_together_only_if_that_is_said() {
    let exit = Tenants::builder("postgres://app@127.0.0.1:1/postgres")
        .env("PGWARDEN_PROXY_PROTOCOL", "127.0.0.1")
        .run(&["config", "check"]);
    assert_eq!(exit.status.code(), Some(64));
    assert!(exit.stderr.contains("trust lets everybody in whom a load balancer brings"), "{}", exit.stderr);
}

#[test]
fn a_reload_changes_who_brings_headers() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = told(&url(server), TRUST).start();
        assert_eq!(org(&mut Wire::open(pgwarden.port(), "acme", "", "postgres")), [ACME]);
        let more = format!("{TRUST}\nauth.trust_remote = true\nproxy_protocol = [\"127.0.0.1\"]");
        rewrite(&pgwarden, &url(server), &more);
        reload(&pgwarden, OK);
        assert_eq!(org(&mut comes(&pgwarden, &header("192.0.2.7:50000", &[]))), [ACME]);
    });
}
