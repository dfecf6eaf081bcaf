//! TLS towards the server: every mode against servers with and without it, certificates that are right and wrong, and
//! what the client and the operator read when it cannot be.

use pgwarden_tests::certificates::{Authority, Identity};
use pgwarden_tests::wire::Fields;
use pgwarden_tests::{Frontend, Pgwarden, PgwardenBuilder, Server, Version, Wire, until, versions};

const MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

/// A server that offers TLS with this identity.
fn offering(version: Version, identity: &Identity) -> Server {
    Server::builder(version).tls(&identity.certificate, &identity.key).start()
}

/// pgwarden whose connections go to `host` with these parameters of the URL; `{ca}` in them is the file of `root`.
fn before(server: &Server, host: &str, parameters: &str, root: &Authority) -> PgwardenBuilder {
    let parameters = parameters.replace("{ca}", &root.path());
    let upstream = format!("postgres://postgres@{host}:{}/postgres?{parameters}", server.port());
    Pgwarden::builder().upstream(&upstream).env("PGWARDEN_AUTH", "trust")
}

fn with_root(mode: &str) -> String {
    format!("sslmode={mode}&sslrootcert={{ca}}")
}

/// Whether the server sees an encrypted connection, or what the client is told.
#[track_caller]
fn encrypted(pgwarden: &Pgwarden) -> Result<bool, Fields> {
    let mut wire = Wire::connect(pgwarden.port());
    match wire.try_log_in("", &[("user", "postgres"), ("database", "postgres")]) {
        Err(error) => Err(error.fields()),
        Ok(_) => {
            let rows = wire.rows("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
            Ok(rows == [[Some("t".to_owned())]])
        }
    }
}

/// The client reads that there is no server, and nothing of the reason; the log has it.
#[track_caller]
fn assert_refused(pgwarden: &Pgwarden, reason: &str) {
    let error = encrypted(pgwarden).expect_err("no connection to the server can be made");
    assert_eq!((error.severity(), error.code()), ("FATAL", "57P03"), "{error}");
    assert_eq!(error.message(), "pgwarden could not log in to the database server");
    assert_eq!(error.hint(), "The operator finds the cause in pgwarden's log.");
    assert_logged(pgwarden, reason);
    let (status, body) = pgwarden.admin("/readyz");
    assert_eq!((status, body.contains("upstream_unreachable")), (503, true), "{body}");
}

#[test]
fn a_server_with_tls_is_spoken_to_as_the_mode_says() {
    for version in versions() {
        let authority = Authority::create();
        let server = offering(version, &authority.server());
        for host in ["127.0.0.1", "localhost"] {
            for mode in MODES {
                let parameters =
                    if mode.starts_with("verify") { with_root(mode) } else { format!("sslmode={mode}") };
                let pgwarden = before(&server, host, &parameters, &authority).start();
                assert_eq!(encrypted(&pgwarden), Ok(mode != "disable"), "{host} {mode}");
            }
        }
        let upstream = server.url();
        let unsaid = Pgwarden::builder().upstream(&upstream).env("PGWARDEN_AUTH", "trust").start();
        assert_eq!(encrypted(&unsaid), Ok(true), "prefer is the default");
    }
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_demanded() {
    for version in versions() {
        let authority = Authority::create();
        let server = Server::start(version);
        for mode in MODES {
            let parameters =
                if mode.starts_with("verify") { with_root(mode) } else { format!("sslmode={mode}") };
            let pgwarden = before(&server, "127.0.0.1", &parameters, &authority).start();
            match mode {
                "disable" | "prefer" => assert_eq!(encrypted(&pgwarden), Ok(false), "{mode}"),
                _ => assert_refused(&pgwarden, "the server does not accept TLS"),
            }
        }
    }
}

#[test]
fn a_certificate_of_another_authority_is_refused_where_a_root_is_given() {
    for version in versions() {
        let (authority, other) = (Authority::create(), Authority::create());
        let server = offering(version, &other.server());
        // As libpq does: a root certificate makes `require` (and here `prefer`) check the chain.
        for mode in ["prefer", "require", "verify-ca", "verify-full"] {
            let pgwarden = before(&server, "localhost", &with_root(mode), &authority).start();
            assert_refused(&pgwarden, "invalid peer certificate");
        }
        for mode in ["prefer", "require"] {
            let pgwarden = before(&server, "localhost", &format!("sslmode={mode}"), &authority).start();
            assert_eq!(encrypted(&pgwarden), Ok(true), "{mode} without a root");
        }
    }
}

#[test]
fn a_certificate_for_another_host_is_refused_by_verify_full_alone() {
    for version in versions() {
        let authority = Authority::create();
        let server = offering(version, &authority.stranger());
        for host in ["localhost", "127.0.0.1"] {
            let full = before(&server, host, &with_root("verify-full"), &authority).start();
            assert_refused(&full, "elsewhere.test");
            let chain = before(&server, host, &with_root("verify-ca"), &authority).start();
            assert_eq!(encrypted(&chain), Ok(true), "{host}");
        }
    }
}

#[test]
fn the_server_lets_pgwarden_in_by_its_certificate() {
    for version in versions() {
        let (authority, other) = (Authority::create(), Authority::create());
        let identity = authority.server();
        let server = Server::builder(version)
            .tls(&identity.certificate, &identity.key)
            .file("root.crt", authority.certificate())
            .set("ssl_ca_file", "root.crt")
            .access("hostssl all postgres 127.0.0.1/32 cert")
            .access("host all postgres 127.0.0.1/32 reject")
            .start();
        let shown = |identity: &Identity| {
            let files = format!("&sslcert={}&sslkey={}", identity.certificate_path, identity.key_path);
            let parameters = with_root("verify-full") + &files;
            before(&server, "localhost", &parameters, &authority).start()
        };
        assert_eq!(encrypted(&shown(&authority.user("postgres"))), Ok(true));
        assert_refused_by_server(&shown(&authority.user("somebody")), "certificate authentication failed");
        // TLS 1.3: the handshake of a client is over before the server has looked at its certificate.
        let log = assert_no_login(&shown(&other.user("postgres")));
        assert!(log.contains("UnknownCA") || log.contains("DecryptError"), "{log}");
        let log = assert_no_login(&shown(&authority.expired_user("postgres")));
        assert!(log.contains("CertificateExpired"), "{log}");
        let bare = before(&server, "localhost", &with_root("verify-full"), &authority).start();
        assert_refused_by_server(&bare, "connection requires a valid client certificate");
        let clear = before(&server, "localhost", "sslmode=disable", &authority).start();
        assert_refused_by_server(&clear, "pg_hba.conf rejects connection");
    }
}

/// The login fails, whatever the words; returns the line of the log.
#[track_caller]
fn assert_no_login(pgwarden: &Pgwarden) -> String {
    let error = encrypted(pgwarden).expect_err("the server does not let it in");
    assert_eq!((error.severity(), error.code()), ("FATAL", "57P03"), "{error}");
    logged(pgwarden)
}

/// The server's words are for the operator: they name the login, the address and pg_hba.conf.
#[track_caller]
fn assert_refused_by_server(pgwarden: &Pgwarden, reason: &str) {
    let error = encrypted(pgwarden).expect_err("the server does not let it in");
    assert_eq!(error.code(), "57P03", "{error}");
    assert!(!error.to_string().contains("hba") && !error.to_string().contains("certificate"), "{error}");
    assert_logged(pgwarden, reason);
}

/// The line of the log that says why a client got no connection; it is written by a thread of its own.
#[track_caller]
fn logged(pgwarden: &Pgwarden) -> String {
    until("the log says why there is no connection", || {
        let log = pgwarden.stderr();
        let line =
            log.lines().find(|line| line.contains("WARN") && line.contains("no connection to the server"));
        line.map(str::to_owned)
    })
}

#[track_caller]
fn assert_logged(pgwarden: &Pgwarden, reason: &str) {
    let line = logged(pgwarden);
    assert!(line.contains(reason), "{reason:?} is not in the log: {line}");
}

#[test]
fn scram_works_through_tls_with_a_server_that_offers_channel_binding() {
    for version in versions() {
        let authority = Authority::create();
        let identity = authority.server();
        let server = Server::builder(version)
            .tls(&identity.certificate, &identity.key)
            .access("hostssl all app 127.0.0.1/32 scram-sha-256")
            .start();
        server.psql("SET password_encryption = 'scram-sha-256'; CREATE ROLE app LOGIN PASSWORD 'secret'");
        let url = server.url_for("app", "secret", "postgres");
        let pgwarden =
            Pgwarden::builder().upstream(&format!("{url}?sslmode=require")).env("PGWARDEN_AUTH", "trust");
        assert_eq!(encrypted(&pgwarden.start()), Ok(true));
        let wrong = server.url_for("app", "wrong", "postgres");
        let pgwarden =
            Pgwarden::builder().upstream(&format!("{wrong}?sslmode=require")).env("PGWARDEN_AUTH", "trust");
        let log = assert_no_login(&pgwarden.start());
        assert!(log.contains("password authentication failed"), "{log}");
    }
}

#[test]
fn a_unix_socket_is_not_asked_for_tls() {
    for version in versions() {
        let authority = Authority::create();
        let server = offering(version, &authority.server());
        for mode in ["disable", "prefer"] {
            let (directory, port) = (server.directory().display(), server.port());
            let upstream =
                format!("postgres://postgres@/postgres?host={directory}&port={port}&sslmode={mode}");
            let pgwarden = Pgwarden::builder().upstream(&upstream).env("PGWARDEN_AUTH", "trust").start();
            assert_eq!(encrypted(&pgwarden), Ok(false), "{mode}");
        }
    }
}

#[test]
fn a_server_that_gets_its_certificate_back_is_used_again() {
    for version in versions() {
        let (authority, other) = (Authority::create(), Authority::create());
        let (right, wrong) = (authority.server(), other.server());
        let server = offering(version, &wrong);
        let pgwarden = before(&server, "localhost", &with_root("verify-full"), &authority).start();
        assert_refused(&pgwarden, "invalid peer certificate");
        for (file, contents) in [("server.crt", &right.certificate), ("server.key", &right.key)] {
            std::fs::write(server.directory().join("data").join(file), contents).expect("the file is there");
        }
        server.reload();
        until("the server can be used", || (encrypted(&pgwarden) == Ok(true)).then_some(()));
        until("pgwarden is ready", || (pgwarden.admin("/readyz").0 == 200).then_some(()));
    }
}

/// Both ends through TLS: large values and a cancel come through, and a pool of one is shared.
#[test]
fn everything_works_through_an_encrypted_connection() {
    for version in versions() {
        let authority = Authority::create();
        let server = offering(version, &authority.server());
        let builder = before(&server, "localhost", &with_root("verify-full"), &authority);
        let pgwarden = builder.env("PGWARDEN_POOL_SIZE", "1").env("PGWARDEN_WORKERS", "2").start();
        let mut clients: Vec<Wire> =
            (0..4).map(|_| Wire::open(pgwarden.port(), "postgres", "", "postgres")).collect();
        let large = "SELECT n, repeat('x', n * 10) FROM generate_series(1, 1000) n";
        let expected = Wire::open(server.port(), "postgres", "", "postgres").query(large);
        for client in &mut clients {
            assert!(client.query(large) == expected, "the rows have changed");
        }
        let text = "y".repeat(3_000_000);
        let batch = Frontend::new().parse("", "SELECT md5($1)", &[25]).bind("", "", &[Some(&text)]);
        for client in &mut clients {
            client.send(&batch.clone().execute("", 0).sync());
        }
        let answers: Vec<_> = clients.iter_mut().map(|client| client.expect("12DCZ")[2].row()).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");

        clients[0].send(&Frontend::new().query("SELECT pg_sleep(60)"));
        let active = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        until("the query runs", || (server.psql(active) == "1").then_some(()));
        clients[0].cancel();
        let answer = clients[0].until_ready();
        let error = answer.iter().find(|message| message.tag == b'E').expect("an error");
        assert_eq!(error.fields().code(), "57014", "{answer:?}");
        assert_eq!(clients[1].rows("SELECT 1"), [[Some("1".to_owned())]]);
        assert_eq!(pgwarden.metric("pgwarden_desyncs_total"), Some(0.0));
    }
}
