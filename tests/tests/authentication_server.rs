//! Logging in to the server: with whatever it asks for, and without telling clients what went wrong behind.

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::tenants::{ACME, Tenants, values};
use pgwarden_tests::wire::{Fields, PROTOCOL_3_0};
use pgwarden_tests::{Frontend, Pgwarden, PgwardenBuilder, Server, Version, Wire, client, until, versions};

const PASSWORD: &str = "p@ss w:rd/%?#é";

/// A server that asks the login of pgwarden for a proof in this way, and stores its secret for it.
#[track_caller]
fn asking(version: Version, method: &str, encryption: &str) -> Server {
    let server = Server::builder(version).access(&format!("host all app 127.0.0.1/32 {method}")).start();
    Tenants::load(&server);
    change_password(&server, "app", PASSWORD, encryption);
    server
}

fn change_password(server: &Server, role: &str, password: &str, encryption: &str) {
    let quiet = "SET client_min_messages = error";
    server.psql(&format!(
        "{quiet}; SET password_encryption = '{encryption}'; ALTER ROLE {role} PASSWORD '{password}'"
    ));
}

fn upstream(server: &Server, user: &str, password: &str) -> String {
    format!("{}?sslmode=disable", client::url(server.port(), user, password, "postgres"))
}

/// The error that a login ends with.
#[track_caller]
fn refused(pgwarden: &Pgwarden, user: &str) -> Fields {
    let startup = Frontend::new().startup(PROTOCOL_3_0, &[("user", user), ("database", "postgres")]);
    Wire::connect(pgwarden.port()).fatal(&startup)
}

/// The client reads nothing of the cause; the log does, and nobody reads the password.
#[track_caller]
fn assert_no_login(pgwarden: &Pgwarden, user: &str, cause: &str, password: &str) {
    let before = pgwarden.logged("no connection to the server");
    let error = refused(pgwarden, user);
    let found = (error.severity(), error.code(), error.message());
    assert_eq!(found, ("FATAL", "57P03", "pgwarden could not log in to the database server"));
    assert!(error.hint().contains("log"), "{error}");
    assert!(!error.to_string().contains("app"), "the login is nobody's business: {error}");
    let log = pgwarden.until_logged("no connection to the server", before);
    assert!(log.contains(cause), "{cause} is not in {log}");
    assert!(password.is_empty() || !log.contains(password), "{log}");
}

#[track_caller]
fn assert_serves(pgwarden: &Pgwarden) {
    let mut wire = Wire::open(pgwarden.port(), "acme", "", "postgres");
    assert_eq!(values(&wire.query("SELECT org() || current_user")), [format!("{ACME}app")]);
}

const WAYS: [(&str, &str); 5] = [
    ("password", "scram-sha-256"),
    ("password", "md5"),
    ("md5", "md5"),
    ("md5", "scram-sha-256"), // the server asks for SCRAM then
    ("scram-sha-256", "scram-sha-256"),
];

#[test]
fn every_way_of_proving_a_password_is_known() {
    for version in versions() {
        for (method, encryption) in WAYS {
            let server = asking(version, method, encryption);
            let pgwarden = Tenants::builder(&upstream(&server, "app", PASSWORD)).start();
            assert_serves(&pgwarden);
            assert!(!pgwarden.stderr().contains(PASSWORD), "{method}");
        }
    }
}

#[test]
fn the_password_may_come_from_a_file_or_a_variable() {
    let server = asking(versions()[0], "scram-sha-256", "scram-sha-256");
    let builder = |source: &str| {
        let text = format!("[upstream]\npassword = \"{source}\"\n");
        let builder = Tenants::builder(&upstream(&server, "app", ""));
        builder.config(&text)
    };
    assert_serves(&builder("env:APP_PASSWORD").env("APP_PASSWORD", PASSWORD).start());
    let in_place = std::env::temp_dir().join(format!("pgwarden-password-{}", std::process::id()));
    std::fs::write(&in_place, format!("{PASSWORD}\n")).expect("a file can be written");
    assert_serves(&builder(&format!("file:{}", in_place.display())).start());
    std::fs::remove_file(&in_place).expect("it is still there");
}

#[test]
fn a_wrong_password_is_the_operators_problem() {
    for version in versions() {
        for (method, encryption) in WAYS {
            let server = asking(version, method, encryption);
            let pgwarden = Tenants::builder(&upstream(&server, "app", "not the one")).start();
            assert_no_login(&pgwarden, "acme", "password authentication failed for user", "not the one");
            assert_no_login(&pgwarden, "acme", "28P01", "not the one");
            assert_eq!(pgwarden.metric("pgwarden_backends"), Some(0.0));
            assert!(pgwarden.metric("pgwarden_logins_total{outcome=\"refused_upstream\"}") >= Some(2.0));
            // The right one works at once: no failure is remembered.
            change_password(&server, "app", "not the one", encryption);
            assert_serves(&pgwarden);
        }
    }
}

#[test]
fn a_password_that_is_not_known_is_named_in_the_log() {
    for (method, asked) in
        [("password", "password"), ("md5", "scram-sha-256"), ("scram-sha-256", "scram-sha-256")]
    {
        let server = asking(versions()[0], method, "scram-sha-256");
        let pgwarden = Tenants::builder(&upstream(&server, "app", "")).start();
        let cause = format!("the server asks for {asked} authentication of user");
        assert_no_login(&pgwarden, "acme", &cause, "");
    }
}

#[test]
fn a_server_that_lets_nobody_in_is_named_in_the_log() {
    let server = Server::builder(versions()[0]).access("host all app 127.0.0.1/32 reject").start();
    Tenants::load(&server);
    let pgwarden = Tenants::builder(&upstream(&server, "app", PASSWORD)).start();
    assert_no_login(&pgwarden, "acme", "pg_hba.conf rejects connection", PASSWORD);
    server.psql("ALTER ROLE tenants NOLOGIN");
    let nobody = Tenants::builder(&upstream(&server, "tenants", PASSWORD)).start();
    assert_no_login(&nobody, "acme", "is not permitted to log in", PASSWORD);
    let stranger = Tenants::builder(&upstream(&server, "stranger", PASSWORD)).start();
    assert_no_login(&stranger, "acme", "does not exist", PASSWORD);
}

#[test]
fn a_way_that_is_not_known_is_named_in_the_log() {
    // AuthenticationSSPI, as a server on another system asks.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            use std::io::{Read, Write};
            let mut startup = [0; 512];
            let _ = stream.read(&mut startup);
            let _ = stream.write_all(b"R\0\0\0\x08\0\0\0\x09");
            let _ = stream.read(&mut startup);
        }
    });
    let pgwarden =
        Tenants::builder(&format!("postgres://app:x@127.0.0.1:{port}/postgres?sslmode=disable")).start();
    assert_no_login(&pgwarden, "acme", "authentication request 9 is not supported", "");
}

/// pgwarden without a login of its own: each client's name, with its secret from the users file.
fn by_name(server: &Server, users: &str) -> PgwardenBuilder {
    let builder =
        Tenants::builder(&format!("postgres://127.0.0.1:{}/postgres?sslmode=disable", server.port()));
    let builder = builder.env("PGWARDEN_AUTH", "password").file("users.txt", users);
    builder.env("PGWARDEN_USERS_FILE", "{dir}/users.txt")
}

#[test]
fn without_a_login_of_its_own_it_uses_the_clients_name_and_clear_text_secret() {
    for version in versions() {
        for (method, encryption) in WAYS {
            let server =
                Server::builder(version).access(&format!("host all acme 127.0.0.1/32 {method}")).start();
            Tenants::load(&server);
            change_password(&server, "acme", PASSWORD, encryption);
            let pgwarden = by_name(&server, &format!("\"acme\" \"{PASSWORD}\"\n")).start();
            let mut wire = Wire::open(pgwarden.port(), "acme", PASSWORD, "postgres");
            assert_eq!(
                values(&wire.query("SELECT org() || current_user")),
                [format!("{ACME}acme")],
                "{method}"
            );
        }
    }
}

#[test]
fn a_stored_hash_answers_a_server_that_asks_for_md5_and_no_other() {
    let users = |server: &Server| {
        let secret = server.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'acme'");
        format!("\"acme\" \"{secret}\"\n")
    };
    for (method, encryption, serves) in
        [("md5", "md5", true), ("password", "md5", false), ("password", "scram-sha-256", false)]
    {
        let server =
            Server::builder(versions()[0]).access(&format!("host all acme 127.0.0.1/32 {method}")).start();
        Tenants::load(&server);
        change_password(&server, "acme", PASSWORD, encryption);
        let pgwarden = by_name(&server, &users(&server)).start();
        let mut wire = Wire::connect(pgwarden.port());
        let login = wire.try_log_in(PASSWORD, &[("user", "acme"), ("database", "postgres")]);
        if serves {
            login.unwrap_or_else(|error| panic!("{method}: {error:?}"));
            assert_eq!(values(&wire.query("SELECT current_user")), ["acme"]);
            continue;
        }
        let error = login.expect_err("nothing to prove it with").fields();
        assert_eq!(error.code(), "57P03", "{method}: {error}");
        pgwarden.until_logged("no usable secret is known", 0);
    }
}

#[test]
fn a_server_may_ask_for_a_certificate() {
    let authority = Authority::create();
    let identity = authority.server();
    let server = Server::builder(versions()[0])
        .tls(&identity.certificate, &identity.key)
        .file("root.crt", authority.certificate())
        .set("ssl_ca_file", "root.crt")
        .access("hostssl all app 127.0.0.1/32 cert")
        .access("hostnossl all app 127.0.0.1/32 reject")
        .start();
    Tenants::load(&server);
    let shown = authority.user("app");
    let verified = format!("sslmode=verify-full&sslrootcert={}", authority.path());
    let url = server.url_for("app", "", "postgres").replace("127.0.0.1", "localhost");
    let with = Tenants::builder(&format!("{url}?{verified}&sslcert={{dir}}/app.crt&sslkey={{dir}}/app.key"));
    assert_serves(&with.file("app.crt", &shown.certificate).file("app.key", &shown.key).start());
    let without = Tenants::builder(&format!("{url}?{verified}")).start();
    assert_no_login(&without, "acme", "requires a valid client certificate", "");
}

#[test]
fn a_password_that_expires_on_the_server_stops_new_backends() {
    let server = asking(versions()[0], "scram-sha-256", "scram-sha-256");
    let pgwarden = Tenants::builder(&upstream(&server, "app", PASSWORD)).start();
    assert_serves(&pgwarden);
    server.psql("ALTER ROLE app VALID UNTIL '2001-01-01'");
    server.terminate("usename = 'app'");
    until("the backend is gone", || (pgwarden.metric("pgwarden_backends") == Some(0.0)).then_some(()));
    let mut wire = Wire::open(pgwarden.port(), "acme", "", "postgres");
    let error = wire.fatal(&Frontend::new().query("SELECT org()"));
    assert_eq!(
        (error.code(), error.message()),
        ("57P03", "pgwarden could not log in to the database server")
    );
    server.psql("ALTER ROLE app VALID UNTIL 'infinity'");
    assert_serves(&pgwarden);
}
