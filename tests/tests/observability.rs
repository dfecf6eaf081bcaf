//! The admin listener: health, readiness and metrics, what they say about real traffic, and that strangers who speak to
//! it badly harm nobody.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use pgwarden_tests::tenants::{ACME, Tenants, values};
use pgwarden_tests::{Frontend, Pgwarden, Server, for_each_version, until, versions};

fn connect(pgwarden: &Pgwarden) -> TcpStream {
    let stream =
        TcpStream::connect(("127.0.0.1", pgwarden.admin_port())).expect("the admin listener listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a TCP socket has this option");
    stream
}

/// Reads until the connection ends; how it ends does not matter.
fn hear_out(mut stream: TcpStream) -> String {
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        answer.extend_from_slice(&chunk[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(pgwarden: &Pgwarden, head: &str) -> (u16, String) {
    let mut stream = connect(pgwarden);
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).expect("it reads");
    let answer = hear_out(stream);
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.unwrap_or_else(|| panic!("{head}: no HTTP: {answer:?}")), answer)
}

#[test]
fn what_is_not_there_is_404_and_what_is_not_get_is_405() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let pgwarden = &stage.pgwarden;
        until("the server is found", || (pgwarden.admin("/readyz").0 == 200).then_some(()));
        for path in ["/", "/metrics/", "/healthz/x", "/../etc/passwd", "/metrics%00", "/readyz?x=1/..", "*"] {
            let (status, answer) = request(pgwarden, &format!("GET {path} HTTP/1.1\r\nHost: x"));
            let expected: &[u16] = if path.contains('?') { &[200] } else { &[404, 400] };
            assert!(expected.contains(&status), "{path}: {answer}");
            assert!(!answer.contains("root:"), "{answer}");
        }
        for path in ["/healthz", "/readyz", "/metrics", "/status"] {
            assert_eq!(request(pgwarden, &format!("POST {path} HTTP/1.1\r\nHost: x")).0, 405, "{path}");
            assert_eq!(request(pgwarden, &format!("DELETE {path} HTTP/1.1\r\nHost: x")).0, 405, "{path}");
            let (status, answer) = request(pgwarden, &format!("HEAD {path} HTTP/1.1\r\nHost: x"));
            assert_eq!(status, 200, "{path}: {answer}");
            assert!(answer.ends_with("\r\n\r\n"), "HEAD has no body: {answer}");
        }
        let (_, answer) = request(pgwarden, "GET /metrics HTTP/1.0");
        assert!(answer.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"), "{answer}");
    });
}

#[test]
fn what_is_no_http_harms_nobody() {
    let server = Server::start(versions()[0]);
    let stage = Tenants::start(&server);
    let endless = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 200_000]].concat();
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(5_000));
    let liar = b"POST /healthz HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n";
    let startup = Frontend::new().startup(0x0003_0000, &[("user", "acme")]);
    for bytes in [
        &b""[..],
        b"\0",
        b"\r\n\r\n\r\n",
        b"GET",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        liar,
        &endless,
        many.as_bytes(),
        startup.bytes(),
    ] {
        let mut stream = connect(&stage.pgwarden);
        // It may hang up in the middle: what it said before that still counts.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let answer = hear_out(stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1."), "{bytes:?}: {answer:?}");
        assert_eq!(stage.pgwarden.admin("/healthz").0, 200);
    }
    assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
}

#[test]
fn slow_callers_do_not_block_the_others() {
    let server = Server::start(versions()[0]);
    let stage = Tenants::start(&server);
    let mut slow: Vec<TcpStream> = (0..50).map(|_| connect(&stage.pgwarden)).collect();
    for (number, stream) in slow.iter_mut().enumerate() {
        let begun = [&b""[..], b"GET /met", b"GET /metrics HTTP/1.1\r\nHost: "][number % 3];
        stream.write_all(begun).expect("it listens");
    }
    for path in ["/healthz", "/metrics"] {
        assert_eq!(stage.pgwarden.admin(path).0, 200);
    }
    assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
}

/// More callers than there are places: the proxy goes on, and so does the listener, which hangs up on them.
#[test]
fn too_many_slow_callers_are_hung_up_on_and_do_not_block_the_proxy() {
    let server = Server::start(versions()[0]);
    let stage = Tenants::start(&server);
    let slow: Vec<TcpStream> = (0..80).map(|_| connect(&stage.pgwarden)).collect();
    assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
    assert_eq!(stage.pgwarden.admin("/healthz").0, 200);
    let first = slow.into_iter().next().expect("one of them");
    assert_eq!(hear_out(first), "", "its time is over, and nothing is left to say");
}

#[test]
fn the_listener_is_on_loopback_unless_a_token_protects_it() {
    let right = || Pgwarden::builder().upstream("postgres://app@127.0.0.1:1/x").env("PGWARDEN_AUTH", "trust");
    let shown = right().run(&["config", "show"]).stderr;
    assert!(shown.contains("[admin]\nlisten = \"127.0.0.1:6433\""), "{shown}");
    for address in ["0.0.0.0:{admin_port}", "*:{admin_port}", "[::]:{admin_port}", "example.com:{admin_port}"]
    {
        let exit = right().env("PGWARDEN_ADMIN", address).try_start().expect_err("no token");
        assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
        assert!(exit.stderr.contains("admin.token: is missing"), "{}", exit.stderr);
    }
    let pgwarden = right()
        .env("PGWARDEN_ADMIN", "0.0.0.0:{admin_port}")
        .env("ADMIN_TOKEN", "hunter2-token")
        .file("pgwarden.toml", "admin.token = \"env:ADMIN_TOKEN\"")
        .argument("--config=pgwarden.toml")
        .start();
    assert_eq!(pgwarden.admin("/healthz").0, 200);
    for path in ["/metrics", "/status", "/readyz", "/", "/nothing"] {
        assert_eq!(pgwarden.admin(path).0, 401, "{path}");
        for wrong in ["hunter2-toke", "hunter2-token ", "hunter2-tokenx", "", "HUNTER2-TOKEN"] {
            let head = format!("GET {path} HTTP/1.1\r\nAuthorization: Bearer {wrong}x");
            assert_eq!(request(&pgwarden, &head).0, 401, "{path} with {wrong:?}");
        }
        let basic = format!("GET {path} HTTP/1.1\r\nAuthorization: Basic hunter2-token");
        assert_eq!(request(&pgwarden, &basic).0, 401, "{path}");
    }
    let right = "GET /metrics HTTP/1.1\r\nAuthorization: Bearer hunter2-token";
    assert_eq!(request(&pgwarden, right).0, 200);
}
