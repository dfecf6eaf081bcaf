//! Clients that misuse TLS: bytes in clear before the handshake, requests twice, handshakes that stop halfway, and
//! connections that end in the middle of a message.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::wire::PROTOCOL_3_0;
use pgwarden_tests::{DEADLINE, Frontend, Pgwarden, PgwardenBuilder, Server, Wire, for_each_version, until};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

/// The type of a TLS record that holds an alert (RFC 8446, section 5.1).
const ALERT: u8 = 21;

const STUFFED: &str = "CREATE TABLE stuffed ()";

/// pgwarden with TLS and one backend.
fn before(server: &Server, mode: &str, authority: &Authority) -> PgwardenBuilder {
    let upstream = format!("{}?sslmode=disable", server.url());
    let builder = Pgwarden::builder().upstream(&upstream).env("PGWARDEN_AUTH", "trust");
    builder.env("PGWARDEN_POOL_SIZE", "1").tls(mode, &authority.server())
}

fn start_up() -> Frontend {
    Frontend::new().startup(PROTOCOL_3_0, &[("user", "postgres"), ("database", "postgres")])
}

/// A whole session in clear: what must not run.
fn session() -> Frontend {
    start_up().query(STUFFED)
}

#[track_caller]
fn encrypted(pgwarden: &Pgwarden, authority: &Authority) -> Wire {
    let mut wire = Wire::connect(pgwarden.port());
    wire.request_tls(&authority.client(None, &[]));
    wire.log_in("postgres", "", "postgres");
    wire
}

/// A socket without any protocol.
fn socket(pgwarden: &Pgwarden) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", pgwarden.port())).expect("pgwarden listens");
    socket.set_read_timeout(Some(DEADLINE)).expect("a socket has this option");
    socket
}

/// Everything up to the end, which has to come from the other side.
#[track_caller]
fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let (mut all, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        match socket.read(&mut chunk) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("still open after {:?}: {error}", all.escape_ascii().to_string()),
        }
    }
}

/// The bytes of a ClientHello.
fn client_hello(authority: &Authority) -> Vec<u8> {
    let name = ServerName::try_from("localhost").expect("a host name");
    let client = ClientConnection::new(authority.client(None, &["postgresql"]), name);
    let mut hello = Vec::new();
    client.expect("a client").write_tls(&mut hello).expect("a vector takes all");
    hello
}

#[track_caller]
fn assert_nothing_ran(server: &Server, pgwarden: &Pgwarden, what: &str) {
    assert_eq!(server.psql("SELECT to_regclass('stuffed') IS NULL"), "t", "{what}: the statement ran");
    let accepted = pgwarden.metric("pgwarden_logins_total{outcome=\"accepted\"}");
    assert_eq!(accepted, Some(0.0), "{what}: a login was accepted");
}

#[test]
fn bytes_in_clear_behind_an_ssl_request_are_never_interpreted() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = before(server, "allow", &authority).start();
        let hello = client_hello(&authority);
        let request = Frontend::new().ssl_request();
        for (what, stuffed) in [
            ("a session", session().bytes().to_vec()),
            ("a session and a handshake", [session().bytes(), hello.as_slice()].concat()),
            ("a cancel", Frontend::new().cancel(1, &[0; 4]).bytes().to_vec()),
            ("another request", request.bytes().to_vec()),
            ("a query", Frontend::new().query(STUFFED).bytes().to_vec()),
            ("zeroes", vec![0; 100]),
        ] {
            let mut socket = socket(&pgwarden);
            socket.write_all(request.clone().raw(&stuffed).bytes()).expect("pgwarden reads");
            let answer = rest(&mut socket);
            let shown = answer.escape_ascii().to_string();
            assert_eq!(answer.first(), Some(&b'S'), "{what}: {shown}");
            assert!(matches!(answer.get(1), None | Some(&ALERT)), "{what}: no alert but {shown}");
            assert!(answer.len() < 20, "{what}: {shown}");
        }
        assert_nothing_ran(server, &pgwarden, "stuffed");
    });
}

/// The attack itself: somebody in between writes a session in front of the client's handshake, and the client,
/// who knows nothing of it, would see its own session begin behind that.
#[test]
fn a_handshake_behind_stuffed_bytes_fails_for_the_client_as_well() {
    for_each_version(async |server| {
        let authority = Authority::create();
        for mode in ["allow", "require"] {
            let pgwarden = before(server, mode, &authority).start();
            for stuffed in [start_up(), session(), Frontend::new().raw(b"\0")] {
                let mut wire = Wire::connect(pgwarden.port());
                wire.send(&Frontend::new().ssl_request().raw(stuffed.bytes()));
                assert_eq!(wire.receive_bytes(1), b"S");
                assert!(wire.start_tls(&authority.client(None, &[])).is_err(), "{stuffed:?}");
            }
            assert_nothing_ran(server, &pgwarden, mode);
            encrypted(&pgwarden, &authority);
        }
    });
}

#[test]
fn bytes_in_clear_in_front_of_direct_tls_are_a_startup_packet_and_nothing_else() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = before(server, "require", &authority).start();
        let mut socket = socket(&pgwarden);
        let both = [session().bytes(), client_hello(&authority).as_slice()].concat();
        socket.write_all(&both).expect("pgwarden reads");
        let answer = rest(&mut socket);
        assert_eq!(answer.first(), Some(&b'E'), "{}", answer.escape_ascii());
        assert_nothing_ran(server, &pgwarden, "in front of a ClientHello");
    });
}

#[test]
fn encryption_can_be_asked_for_once() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let (ssl, gss) = (Frontend::new().ssl_request(), Frontend::new().gssenc_request());
        let pgwarden = before(server, "allow", &authority).start();
        for again in [&ssl, &gss] {
            let mut wire = Wire::connect(pgwarden.port());
            wire.request_tls(&authority.client(None, &[]));
            assert_eq!(wire.fatal(again).code(), "08P01", "through TLS: {again:?}");
            let mut direct = Wire::connect(pgwarden.port());
            direct.start_tls(&authority.client(None, &["postgresql"])).expect("direct TLS");
            assert_eq!(direct.fatal(again).code(), "08P01", "through direct TLS: {again:?}");
        }
        let clear = before(server, "disable", &authority).start();
        for request in [&ssl, &gss] {
            let mut wire = Wire::connect(clear.port());
            wire.send(request);
            assert_eq!(wire.receive_bytes(1), b"N");
            assert_eq!(wire.fatal(request).code(), "08P01", "in clear: {request:?}");
        }
    });
}

#[test]
fn a_handshake_that_stops_halfway_is_ended_by_the_login_timeout() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let limits = "[limits]\nlogin_timeout = \"3s\"\n";
        let builder = before(server, "allow", &authority).file("pgwarden.toml", limits);
        let pgwarden = builder.argument("--config").argument("{dir}/pgwarden.toml").start();
        let (hello, request) = (client_hello(&authority), Frontend::new().ssl_request());
        let half = &hello[..hello.len() / 2];
        let begun = [request.bytes(), half].concat();
        let mut silent = Wire::connect(pgwarden.port());
        silent.request_tls(&authority.client(None, &[]));
        silent.set_patience(DEADLINE);
        let stopped =
            [b"".as_slice(), &request.bytes()[..5], request.bytes(), &begun, half, &hello].map(|bytes| {
                let mut socket = socket(&pgwarden);
                socket.write_all(bytes).expect("pgwarden reads");
                socket
            });
        for mut socket in stopped {
            let answer = rest(&mut socket);
            assert!(matches!(answer.first(), None | Some(b'S' | 22)), "{}", answer.escape_ascii());
        }
        assert_eq!(silent.until_closed(), [], "silence behind the handshake");
        until("all have been counted as too slow", || {
            (pgwarden.metric("pgwarden_logins_total{outcome=\"timed_out\"}") == Some(7.0)).then_some(())
        });
        until("none is left", || (pgwarden.metric("pgwarden_clients") == Some(0.0)).then_some(()));
    });
}

#[test]
fn a_client_that_goes_in_the_middle_of_a_message_leaves_no_transaction_behind() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = before(server, "allow", &authority).start();
        server.psql("CREATE TABLE kept (n int)");
        let query = Frontend::new().query(&format!("INSERT INTO kept VALUES (2) {}", " ".repeat(100_000)));
        let copy = Frontend::new().query("COPY kept FROM STDIN");
        let data = Frontend::new().copy_data(b"3\n4\n");
        for cut in [1, 4, 5, 20, 50_000] {
            let mut wire = encrypted(&pgwarden, &authority);
            wire.query("BEGIN; INSERT INTO kept VALUES (1)");
            wire.send_bytes(&query.bytes()[..cut]);
            drop(wire);
            assert_backend_is_free(server, &pgwarden, &authority);
        }
        let mut copying = encrypted(&pgwarden, &authority);
        copying.send(&copy);
        copying.expect("G");
        copying.send_bytes(data.clone().raw(&data.bytes()[..6]).bytes());
        drop(copying);
        assert_backend_is_free(server, &pgwarden, &authority);
        assert_eq!(server.psql("SELECT count(*) FROM kept"), "0");
    });
}

/// The only backend serves the next client, and nothing hangs on it.
#[track_caller]
fn assert_backend_is_free(server: &Server, pgwarden: &Pgwarden, authority: &Authority) {
    until("the client is gone", || (pgwarden.metric("pgwarden_clients") == Some(0.0)).then_some(()));
    until("its transaction is over", || {
        let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
        (server.psql(open) == "0").then_some(())
    });
    assert_eq!(encrypted(pgwarden, authority).rows("SELECT 1"), [[Some("1".to_owned())]]);
}

#[test]
fn a_record_that_is_cut_off_or_changed_ends_the_session_and_runs_nothing() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = before(server, "allow", &authority).start();
        for damage in [cut as fn(Vec<u8>) -> Vec<u8>, change, add] {
            let name = ServerName::try_from("localhost").expect("a host name");
            let mut tls =
                ClientConnection::new(authority.client(None, &["postgresql"]), name).expect("a client");
            let mut socket = socket(&pgwarden);
            socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket has this option");
            tls.complete_io(&mut socket).expect("direct TLS");
            let mut stream = rustls::Stream::new(&mut tls, &mut socket);
            stream.write_all(start_up().bytes()).and_then(|()| stream.flush()).expect("it is sent");
            let mut ready = [0; 1];
            while stream.read(&mut ready).is_ok_and(|count| count == 1) && ready != *b"Z" {}
            tls.writer().write_all(Frontend::new().query(STUFFED).bytes()).expect("it is buffered");
            let mut record = Vec::new();
            tls.write_tls(&mut record).expect("a vector takes all");
            socket.write_all(&damage(record)).expect("pgwarden reads");
            let _ = socket.shutdown(Shutdown::Write);
            rest(&mut socket);
            until("the client is gone", || (pgwarden.metric("pgwarden_clients") == Some(0.0)).then_some(()));
            assert_eq!(server.psql("SELECT to_regclass('stuffed') IS NULL"), "t");
        }
    });
}

fn cut(record: Vec<u8>) -> Vec<u8> {
    record[..record.len() - 3].to_vec()
}

fn change(mut record: Vec<u8>) -> Vec<u8> {
    let last = record.len() - 1;
    record[last] ^= 1;
    record
}

/// A message in clear in front of the encrypted one.
fn add(record: Vec<u8>) -> Vec<u8> {
    [Frontend::new().query(STUFFED).bytes(), &record].concat()
}
