//! Servers that misuse TLS, or somebody in between who does: whatever is said in clear is never taken for the server's
//! word, never reaches a client, and never makes pgwarden speak in clear.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::wire::Fields;
use pgwarden_tests::{DEADLINE, Frontend, Pgwarden, Server, Wire, until, versions};

/// What must never be read by a client.
const SECRET: &str = "secret of the impostor";

/// A listener that answers every connection by a script, and keeps what it was sent.
struct Impostor {
    port: u16,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Impostor {
    /// Runs `script` for each connection: it gets the first eight bytes, and returns what else it read.
    fn start(script: impl Fn(&mut TcpStream) -> Vec<u8> + Send + Sync + 'static) -> Impostor {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let (heard, script) = (Arc::new(Mutex::new(Vec::new())), Arc::new(script));
        let kept = Arc::clone(&heard);
        thread::spawn(move || {
            for mut socket in listener.incoming().map_while(Result::ok) {
                let (kept, script) = (Arc::clone(&kept), Arc::clone(&script));
                thread::spawn(move || {
                    let mut first = [0; 8];
                    let begun = socket.read_exact(&mut first).map(|()| first.to_vec());
                    let bytes = begun.map(|first| [first, script(&mut socket)].concat());
                    kept.lock().expect("nobody panics").extend(bytes.ok());
                });
            }
        });
        Impostor { port, heard }
    }

    /// What the connections of readiness and of the client said, once they are over.
    #[track_caller]
    fn heard(&self) -> Vec<Vec<u8>> {
        until("the impostor has been spoken to twice", || {
            Some(self.heard.lock().expect("nobody panics").clone()).filter(|all| all.len() > 1)
        })
    }

    /// No connection has carried anything in clear but SSLRequest.
    #[track_caller]
    fn assert_nothing_in_clear(&self, what: &str) {
        for bytes in self.heard() {
            assert_eq!(&bytes[..8], Frontend::new().ssl_request().bytes(), "{what}");
            let rest = &bytes[8..];
            // A TLS record: a handshake or an alert.
            assert!(matches!(rest.first(), None | Some(21 | 22)), "{what}: {}", rest.escape_ascii());
            let text = String::from_utf8_lossy(rest).into_owned();
            assert!(!text.contains("postgres\0"), "{what}: {text:?}");
        }
    }
}

/// Everything up to the end.
fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let (mut all, mut chunk) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = socket.read(&mut chunk) {
        all.extend_from_slice(&chunk[..count]);
    }
    all
}

/// What a server says when somebody has logged in, and an answer to a query.
fn whole_session() -> Vec<u8> {
    let row = format!("\0\x01\0\0\0{}{SECRET}", char::from(u8::try_from(SECRET.len()).expect("short")));
    let messages = Frontend::new()
        .message(b'R', &[0; 4])
        .message(b'S', b"server_version\x0015.18\0")
        .message(b'S', b"client_encoding\0UTF8\0")
        .message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2])
        .message(b'Z', b"I")
        .message(b'T', b"\0\x01f\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0")
        .message(b'D', row.as_bytes())
        .message(b'C', b"SELECT 1\0")
        .message(b'Z', b"I");
    messages.bytes().to_vec()
}

fn error_response() -> Vec<u8> {
    let body = format!("SFATAL\0VFATAL\0C3D000\0M{SECRET}\0\0");
    Frontend::new().message(b'E', body.as_bytes()).bytes().to_vec()
}

fn before(port: u16, parameters: &str) -> Pgwarden {
    let upstream = format!("postgres://postgres:hidden@localhost:{port}/postgres?{parameters}");
    let config = "[upstream]\nconnect_timeout = \"2s\"\n";
    let builder = Pgwarden::builder().upstream(&upstream).env("PGWARDEN_AUTH", "trust");
    builder.config(config).start()
}

#[track_caller]
fn refused(pgwarden: &Pgwarden) -> Fields {
    let mut wire = Wire::connect(pgwarden.port());
    wire.set_patience(DEADLINE);
    let login = wire.try_log_in("", &[("user", "postgres"), ("database", "postgres")]);
    login.expect_err("nobody can log in there").fields()
}

/// A login fails with 57P03, tells nothing of what the impostor said, and says why in the log.
#[track_caller]
fn assert_refused(pgwarden: &Pgwarden, reason: &str, what: &str) {
    let error = refused(pgwarden);
    assert_eq!((error.severity(), error.code()), ("FATAL", "57P03"), "{what}: {error}");
    assert!(!error.to_string().contains(SECRET), "{what}: {error}");
    // The log is written by a thread of its own.
    let log = until("the log says why there is no connection", || {
        Some(pgwarden.stderr()).filter(|log| log.contains("no connection to the server"))
    });
    assert!(!log.contains("hidden"), "{what}: the password is in the log:\n{log}");
    let line = log.lines().rfind(|line| line.contains("no connection to the server"));
    assert!(line.is_some_and(|line| line.contains(reason)), "{what}, {reason:?} is not in the log:\n{log}");
}

#[test]
fn what_is_neither_yes_nor_no_ends_the_connection_in_every_mode() {
    let root = Authority::create();
    for mode in ["prefer", "require", "verify-full"] {
        for (answer, reason) in [
            (error_response(), "unexpected answer 0x45 to SSLRequest"),
            (whole_session(), "unexpected answer 0x52 to SSLRequest"),
            (b"GARBAGE".to_vec(), "unexpected answer 0x47 to SSLRequest"),
            (b"\0".to_vec(), "unexpected answer 0x00 to SSLRequest"),
            (b"s".to_vec(), "unexpected answer 0x73 to SSLRequest"),
            (Vec::new(), "cannot be reached"),
        ] {
            let what = format!("{mode} {:?}", String::from_utf8_lossy(&answer));
            let closes = answer.is_empty();
            let impostor = Impostor::start(move |socket| {
                let _ = socket.write_all(&answer);
                if closes { Vec::new() } else { rest(socket) }
            });
            let pgwarden = before(impostor.port, &format!("sslmode={mode}&sslrootcert={}", root.path()));
            assert_refused(&pgwarden, reason, &what);
            impostor.assert_nothing_in_clear(&what);
        }
    }
}

#[test]
fn only_a_no_makes_prefer_speak_in_clear() {
    for (answer, goes_on) in [(b"N", true), (b"S", false)] {
        let impostor = Impostor::start(move |socket| {
            let _ = socket.write_all(answer);
            // In place of a handshake: hangs up, as a server does that cannot agree on one.
            let mut some = [0; 512];
            let count = socket.read(&mut some).unwrap_or(0);
            let _ = socket.shutdown(Shutdown::Both);
            some[..count].to_vec()
        });
        let pgwarden = before(impostor.port, "sslmode=prefer");
        assert_eq!(refused(&pgwarden).code(), "57P03");
        let heard = impostor.heard();
        if goes_on {
            assert!(
                heard.iter().any(|bytes| bytes.windows(9).any(|part| part == b"postgres\0")),
                "{heard:?}"
            );
        } else {
            impostor.assert_nothing_in_clear("prefer, after a handshake that failed");
        }
    }
}

#[test]
fn a_no_where_tls_is_demanded_ends_the_connection_before_a_name_is_said() {
    let root = Authority::create();
    for mode in ["require", "verify-ca", "verify-full"] {
        let impostor = Impostor::start(|socket| {
            let _ = socket.write_all(&[b"N".as_slice(), &whole_session()].concat());
            rest(socket)
        });
        let pgwarden = before(impostor.port, &format!("sslmode={mode}&sslrootcert={}", root.path()));
        assert_refused(&pgwarden, "does not accept TLS", mode);
        impostor.assert_nothing_in_clear(mode);
    }
}

#[test]
fn bytes_in_clear_behind_a_yes_are_never_the_servers_word() {
    let root = Authority::create();
    for mode in ["prefer", "require", "verify-full"] {
        for stuffed in [whole_session(), error_response(), vec![0; 5]] {
            let what = format!("{mode} {:?}", String::from_utf8_lossy(&stuffed));
            let impostor = Impostor::start(move |socket| {
                let _ = socket.write_all(&[b"S".as_slice(), &stuffed].concat());
                rest(socket)
            });
            let pgwarden = before(impostor.port, &format!("sslmode={mode}&sslrootcert={}", root.path()));
            assert_refused(&pgwarden, "TLS with the server failed", &what);
            impostor.assert_nothing_in_clear(&what);
        }
    }
}

/// The attack itself (CVE-2021-23222): somebody in between stuffs answers in front of the real server's handshake.
#[test]
fn answers_stuffed_in_front_of_the_real_handshake_make_it_fail() {
    for version in versions() {
        let authority = Authority::create();
        let identity = authority.server();
        let server = Server::builder(version).tls(&identity.certificate, &identity.key).start();
        for (stuffed, accepted) in [(Vec::new(), true), (whole_session(), false), (error_response(), false)] {
            let (port, what) = (server.port(), String::from_utf8_lossy(&stuffed).into_owned());
            let impostor = Impostor::start(move |client| between(client, port, &stuffed));
            let parameters = format!("sslmode=verify-full&sslrootcert={}", authority.path());
            let pgwarden = before(impostor.port, &parameters);
            if accepted {
                let mut wire = Wire::open(pgwarden.port(), "postgres", "", "postgres");
                assert_eq!(wire.rows("SELECT 1"), [[Some("1".to_owned())]], "{what:?}");
            } else {
                assert_refused(&pgwarden, "TLS with the server failed", &what);
            }
        }
    }
}

/// Relays a connection to the server; `stuffed` goes behind its `S`.
fn between(client: &mut TcpStream, port: u16, stuffed: &[u8]) -> Vec<u8> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    let mut answer = [0];
    let asked = server.write_all(Frontend::new().ssl_request().bytes());
    asked.and_then(|()| server.read_exact(&mut answer)).expect("the server answers");
    let _ = client.write_all(&[&answer, stuffed].concat());
    let (mut there, mut back) = (
        (client.try_clone().expect("shared"), server.try_clone().expect("shared")),
        (server, client.try_clone().expect("shared")),
    );
    let forth = thread::spawn(move || {
        let _ = std::io::copy(&mut there.0, &mut there.1);
        let _ = there.1.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut back.0, &mut back.1);
    let _ = back.1.shutdown(Shutdown::Both);
    let _ = forth.join();
    Vec::new()
}

#[test]
fn a_server_that_says_nothing_or_stops_in_the_handshake_is_given_up() {
    for answer in [b"".as_slice(), b"S", b"S\x16\x03\x03"] {
        let impostor = Impostor::start(move |socket| {
            let _ = socket.write_all(answer);
            rest(socket)
        });
        let pgwarden = before(impostor.port, "sslmode=require");
        let begun = Instant::now();
        assert_refused(&pgwarden, "did not answer within 2 seconds", &format!("{answer:?}"));
        assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
        impostor.assert_nothing_in_clear("silent");
    }
}

/// A cancel goes over a connection of its own, which has to be as guarded as every other.
#[test]
fn a_cancel_is_not_sent_in_clear_where_tls_is_demanded() {
    for version in versions() {
        let authority = Authority::create();
        let identity = authority.server();
        let server = Server::builder(version).tls(&identity.certificate, &identity.key).start();
        let port = server.port();
        let honest = Arc::new(Mutex::new(true));
        let now = Arc::clone(&honest);
        let impostor = Impostor::start(move |client| {
            if *now.lock().expect("nobody panics") {
                return between(client, port, &[]);
            }
            let _ = client.write_all(b"N");
            rest(client)
        });
        let pgwarden = before(impostor.port, "sslmode=require");
        let mut wire = Wire::open(pgwarden.port(), "postgres", "", "postgres");
        wire.send(&Frontend::new().query("SELECT pg_sleep(60)"));
        let active = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        until("the query runs", || (server.psql(active) == "1").then_some(()));
        *honest.lock().expect("nobody panics") = false;
        wire.cancel();
        impostor.assert_nothing_in_clear("cancel");
        until("the log says so", || {
            pgwarden.stderr().contains("cancel could not be delivered").then_some(())
        });
        assert_eq!(server.psql(active), "1", "the query has been cancelled");
    }
}
