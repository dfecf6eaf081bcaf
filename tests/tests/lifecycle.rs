//! How pgwarden starts, what it says when it cannot, and that neither an absent server nor an absent reader of its
//! log harms anybody.

use std::net::TcpListener;

use pgwarden_tests::tenants::{ACME, Tenants, error_code, values};
use pgwarden_tests::{
    Exit, Frontend, Message, Pgwarden, PgwardenBuilder, Server, Signal, Wire, for_each_version, psql, until,
    versions,
};

/// The server as pgwarden is told about it.
fn upstream(server: &Server) -> String {
    format!("{}?sslmode=disable", server.url_for("app", "", "postgres"))
}

fn refused(wire: &mut Wire) -> Message {
    let parameters = [("user", "acme"), ("database", "postgres")];
    wire.try_log_in("", &parameters).expect_err("no login")
}

#[track_caller]
fn assert_ended(exit: &Exit, code: i32, words: &str) {
    assert_eq!(exit.status.code(), Some(code), "{}", exit.stderr);
    assert!(exit.stderr.contains(words), "{words:?} is not in {}", exit.stderr);
}

#[track_caller]
fn assert_not_started(builder: PgwardenBuilder, code: i32, words: &str) {
    assert_ended(&builder.try_start().expect_err("it cannot start"), code, words);
}

#[test]
fn environment_variables_alone_start_it() {
    for_each_version(async |server| {
        server.psql("CREATE ROLE app LOGIN");
        let pgwarden = Pgwarden::builder()
            .given_nothing()
            .env("PGWARDEN_LISTEN", "127.0.0.1:{port}")
            .env("PGWARDEN_ADMIN", "127.0.0.1:{admin_port}")
            .env("PGWARDEN_AUTH", "trust")
            .upstream(&upstream(server))
            .start();
        let mut wire = Wire::open(pgwarden.port(), "anybody", "", "postgres");
        assert_eq!(wire.rows("SELECT current_user"), [[Some("app".to_owned())]]);
    });
}

#[test]
fn a_file_alone_starts_it() {
    for_each_version(async |server| {
        server.psql("CREATE ROLE app LOGIN");
        let file = format!(
            "listen = \"127.0.0.1:{{port}}\"\nadmin.listen = \"127.0.0.1:{{admin_port}}\"\n\
             auth.method = \"trust\"\nupstream.url = \"{}\"\n",
            upstream(server)
        );
        let builder = || Pgwarden::builder().given_nothing().file("pgwarden.toml", &file);
        for builder in [
            builder().argument("--config").argument("{dir}/pgwarden.toml"),
            builder().argument("--config=pgwarden.toml"),
            builder().env("PGWARDEN_CONFIG", "{dir}/pgwarden.toml"),
        ] {
            let pgwarden = builder.start();
            let mut wire = Wire::open(pgwarden.port(), "anybody", "", "postgres");
            assert_eq!(wire.rows("SELECT current_user"), [[Some("app".to_owned())]]);
        }
    });
}

#[test]
fn an_address_in_use_is_named_and_the_exit_code_is_71() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it has an address").to_string();
    let builder = || Tenants::builder("postgres://app@127.0.0.1:1/postgres");
    let clients = builder().env("PGWARDEN_LISTEN", &address);
    assert_not_started(clients, 71, &format!("cannot listen on {address}: Address already in use"));
    let second = builder().env("PGWARDEN_LISTEN", &format!("127.0.0.1:{{port}},{address}"));
    assert_not_started(second, 71, &format!("cannot listen on {address}: Address already in use"));
    let admin = builder().env("PGWARDEN_ADMIN", &address);
    assert_not_started(admin, 71, &format!("cannot listen on {address} (admin): Address already in use"));
}

#[test]
fn a_directory_that_does_not_exist_holds_no_socket_and_the_exit_code_is_71() {
    let builder = Tenants::builder("postgres://app@127.0.0.1:1/postgres");
    let builder = builder.env("PGWARDEN_LISTEN", "{dir}/nowhere");
    assert_not_started(builder, 71, "/nowhere:6432: No such file or directory");
}

#[test]
fn a_wrong_configuration_is_exit_code_64_and_a_wrong_command_line_2() {
    let builder = || Tenants::builder("postgres://app@127.0.0.1:1/postgres");
    assert_not_started(builder().env("PGWARDEN_MODE", "strict"), 64, "PGWARDEN_MODE: mode: \"strict\"");
    assert_not_started(builder().argument("--no-such-flag"), 2, "--no-such-flag");
    assert_ended(&Pgwarden::builder().run(&["sreve"]), 2, "sreve");
}

#[test]
fn the_exit_code_is_the_same_when_nobody_reads_why() {
    let builder = || Tenants::builder("postgres://app@127.0.0.1:1/postgres").heard_by_nobody();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it has an address").to_string();
    let code = |builder: PgwardenBuilder| builder.try_start().expect_err("it cannot start").status.code();
    assert_eq!(code(builder().env("PGWARDEN_MODE", "strict")), Some(64));
    assert_eq!(code(builder().env("PGWARDEN_CONFIG", "/absent")), Some(64));
    assert_eq!(code(builder().env("PGWARDEN_LISTEN", &address)), Some(71));
    assert_eq!(builder().run(&["config", "check"]).status.code(), Some(0));
    assert_eq!(builder().env("PGWARDEN_MODE", "strict").run(&["config", "check"]).status.code(), Some(64));
}

#[test]
fn it_starts_without_its_server_and_serves_as_soon_as_that_is_there() {
    for_each_version(async |server| {
        Tenants::load(server);
        server.stop_fast();
        let pgwarden = Tenants::builder(&upstream(server)).start();
        until("the absence is noticed", || pgwarden.stderr().contains("cannot be used yet").then_some(()));
        let (status, body) = pgwarden.admin("/readyz");
        assert_eq!((status, body.contains("upstream_unreachable")), (503, true), "{body}");
        assert_eq!(pgwarden.admin("/healthz").0, 200);
        for _ in 0..3 {
            let error = refused(&mut Wire::connect(pgwarden.port()));
            assert_eq!((error.fields().severity(), error.fields().code()), ("FATAL", "57P03"));
            let told = error.fields().to_string();
            assert!(!told.contains(&server.port().to_string()), "nothing of the server's address: {told}");
        }
        server.start_again();
        let mut acme = Wire::open(pgwarden.port(), "acme", "", "postgres");
        assert_eq!(values(&acme.query("SELECT name FROM items")), ["of acme"]);
        until("it is ready", || (pgwarden.admin("/readyz").0 == 200).then_some(()));
    });
}

#[test]
fn a_server_that_takes_connections_and_says_nothing_is_57p03_after_the_connect_timeout() {
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = mute.local_addr().expect("it has an address");
    for tls in ["disable", "prefer"] {
        let pgwarden = Tenants::builder(&format!("postgres://app@{address}/postgres?sslmode={tls}"))
            .file("pgwarden.toml", "upstream.connect_timeout = \"300ms\"")
            .argument("--config=pgwarden.toml")
            .start();
        let error = refused(&mut Wire::connect(pgwarden.port()));
        assert_eq!((error.fields().severity(), error.fields().code()), ("FATAL", "57P03"), "{tls}");
        assert_eq!(pgwarden.admin("/readyz").0, 503, "{tls}");
        pgwarden.signal(Signal::TERM);
        assert_eq!(pgwarden.wait_exit().code(), Some(0), "{tls}");
    }
}

#[test]
fn readiness_needs_no_client() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        until("the server is found", || (stage.pgwarden.admin("/readyz").0 == 200).then_some(()));
        server.stop_fast();
        assert_eq!(refused(&mut Wire::connect(stage.pgwarden.port())).fields().code(), "57P03");
        assert_eq!(stage.pgwarden.admin("/readyz").0, 503);
        server.start_again();
        until("the server is found again", || (stage.pgwarden.admin("/readyz").0 == 200).then_some(()));
    });
}

/// `host port` of a unix socket, as psql takes it.
fn conninfo(directory: &std::path::Path) -> String {
    format!("host={} port=6432 user=acme dbname=postgres", directory.display())
}

#[test]
fn a_unix_socket_serves_psql_and_is_gone_at_the_end() {
    for_each_version(async |server| {
        let listen = "{dir},127.0.0.1:{port}";
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_LISTEN", listen));
        let directory = stage.pgwarden.directory();
        let output = psql(&conninfo(directory), &["-c", "SELECT org()"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), ACME, "{output:?}");
        assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
        assert!(directory.join(".s.PGSQL.6432").exists());
        stage.pgwarden.signal(Signal::TERM);
        assert_eq!(stage.pgwarden.wait_exit().code(), Some(0));
        assert!(!directory.join(".s.PGSQL.6432").exists(), "the socket's file is removed");
    });
}

#[test]
fn the_socket_of_a_killed_pgwarden_is_replaced_and_that_of_a_living_one_is_not() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_LISTEN", "{dir}"));
        let directory = stage.pgwarden.directory();
        let place = directory.to_string_lossy();
        let again = || Tenants::builder(&upstream(server)).env("PGWARDEN_LISTEN", &place);
        assert_not_started(again(), 71, "Address already in use");
        let still = || psql(&conninfo(directory), &["-c", "SELECT org()"]);
        assert_eq!(String::from_utf8_lossy(&still().stdout).trim(), ACME);
        stage.pgwarden.signal(Signal::KILL);
        stage.pgwarden.wait_exit();
        assert!(!still().status.success());
        let _second = again().start();
        assert_eq!(String::from_utf8_lossy(&still().stdout).trim(), ACME);
    });
}

#[test]
fn a_closed_log_harms_nobody() {
    for_each_version(async |server| {
        for format in ["pretty", "json"] {
            let stage = match format {
                "pretty" => Tenants::start_with(server, |builder| {
                    builder.heard_by_nobody().env("PGWARDEN_LOG", "trace")
                }),
                _ => Tenants {
                    server,
                    pgwarden: Tenants::builder(&upstream(server))
                        .heard_by_nobody()
                        .env("PGWARDEN_LOG", "trace")
                        .env("PGWARDEN_LOG_FORMAT", format)
                        .start(),
                },
            };
            for _ in 0..20 {
                assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
                let mut stranger = Wire::connect(stage.pgwarden.port());
                stranger.startup(&[("user", "acme"), ("database", "absent")]);
                assert_eq!(stranger.until_closed().last().map(|message| message.tag), Some(b'E'));
            }
            stage.pgwarden.signal(Signal::HUP);
            assert_eq!(error_code(&stage.client("acme").query("SELECT 1/0")), "22012");
            stage.pgwarden.signal(Signal::TERM);
            assert_eq!(stage.pgwarden.wait_exit().code(), Some(0));
        }
    });
}

#[test]
fn too_much_from_a_stranger_before_the_login_does_not_stop_it() {
    let server = Server::start(versions()[0]);
    let stage = Tenants::start(&server);
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\0\0\0", b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\0"] {
        let mut stranger = Wire::connect(stage.pgwarden.port());
        stranger.send(&Frontend::new().raw(bytes));
        stranger.close_sending();
        stranger.until_closed();
    }
    assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
}
