//! Logs: one JSON object per line or lines for people, the level that was asked for, and at no level a secret, a token,
//! a tenant or SQL.

use std::io::{Read, Write};
use std::net::TcpStream;

use pgwarden_tests::tenants::{ACME, ANN, Tenants, run, values};
use pgwarden_tests::tokens::{Algorithm, Issuer, Value, json, seconds_from_now};
use pgwarden_tests::{Frontend, Pgwarden, Server, Signal, Wire, for_each_version, until, versions};

/// In every secret and every value of these tests.
const HIDDEN: &str = "hunter2";

/// Logins that work and do not, errors, a signal, and the end; returns everything that was logged.
fn a_life(stage: &Tenants<'_>) -> String {
    stage.client("acme").query("SELECT 1/0");
    let mut stranger = Wire::connect(stage.pgwarden.port());
    stranger.startup(&[("user", "acme"), ("database", "absent")]);
    stranger.until_closed();
    let mut garbage = Wire::connect(stage.pgwarden.port());
    garbage.send(&Frontend::new().raw(b"\0\0\0\x08\0\x01\0\0"));
    garbage.until_closed();
    stage.pgwarden.signal(Signal::HUP);
    stage.server.stop_fast();
    let mut cut_off = stage.client("acme");
    cut_off.send(&Frontend::new().query("SELECT 1"));
    cut_off.until_closed();
    stage.pgwarden.signal(Signal::TERM);
    assert_eq!(stage.pgwarden.wait_exit().code(), Some(0));
    stage.server.start_again();
    stage.pgwarden.stderr()
}

fn stage<'a>(server: &'a Server, level: &str, format: &str) -> Tenants<'a> {
    Tenants::start_with(server, |builder| {
        builder.env("PGWARDEN_LOG", level).env("PGWARDEN_LOG_FORMAT", format)
    })
}

#[test]
fn json_is_one_object_per_line_with_time_level_target_and_message() {
    for_each_version(async |server| {
        let log = a_life(&stage(server, "trace", "json"));
        let mut messages = Vec::new();
        for line in log.lines() {
            let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            for field in ["timestamp", "level", "target"] {
                assert!(object[field].is_string(), "{line}: no {field}");
            }
            messages.extend(object["message"].as_str().map(str::to_owned));
        }
        for expected in ["ready", "login refused", "no connection to the server", "stopped"] {
            assert!(messages.iter().any(|message| message == expected), "no {expected:?} in\n{log}");
        }
        assert!(log.ends_with('\n'));
    });
}

#[test]
fn pretty_lines_begin_with_time_and_level() {
    for_each_version(async |server| {
        let log = a_life(&stage(server, "info", "pretty"));
        assert!(!log.contains('\u{1b}'), "no escape sequences where there is no terminal:\n{log}");
        assert_whole_lines(&log);
        assert!(log.contains("ready"), "{log}");
    });
}

#[track_caller]
fn assert_whole_lines(log: &str) {
    for line in log.lines() {
        let (time, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line:?} in\n{log}"));
        assert!(time.starts_with("20") && time.ends_with('Z'), "{line:?} in\n{log}");
        let level = rest.split_whitespace().next();
        assert!(matches!(level, Some("ERROR" | "WARN" | "INFO")), "{line:?} in\n{log}");
    }
}

#[test]
fn nobody_forges_a_line() {
    for_each_version(async |server| {
        Tenants::load(server);
        let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
        let forged = "x\n2026-01-01T00:00:00Z  forged\r\u{1b}[31m";
        for method in ["trust", "password"] {
            let builder = Tenants::builder(&upstream).env("PGWARDEN_AUTH", method);
            let builder = builder.file("users.txt", "\"acme\" \"secret\"\n");
            let pgwarden = builder.env("PGWARDEN_USERS_FILE", "users.txt").start();
            for (user, database) in [("acme", forged), (forged, "postgres"), (forged, forged)] {
                let mut wire = Wire::connect(pgwarden.port());
                let parameters = [("user", user), ("database", database), ("application_name", forged)];
                let login = wire.try_log_in("secret", &parameters);
                let options = [("user", user), ("database", database), ("options", forged)];
                drop((login, Wire::connect(pgwarden.port()).try_log_in("secret", &options)));
            }
            until("it is logged", || pgwarden.stderr().contains("login refused").then_some(()));
            let log = pgwarden.stderr();
            assert!(!log.contains(['\u{1b}', '\r']), "{log:?}");
            assert_whole_lines(&log);
        }
    });
}

#[test]
fn the_level_is_the_one_asked_for() {
    let server = Server::start(versions()[0]);
    let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
    Tenants::load(&server);
    let log = |level: &str| {
        let pgwarden = Tenants::builder(&upstream).env("PGWARDEN_LOG", level).start();
        a_life(&Tenants { server: &server, pgwarden })
    };
    assert_eq!(log("off"), "");
    assert_eq!(log("error"), "", "nothing of ours broke");
    let warnings = log("warn");
    assert!(warnings.contains(" WARN ") && !warnings.contains(" INFO "), "{warnings}");
    assert!(log("info").contains("login refused"));
    let directed = log("off,pgwarden::login=info");
    assert!(directed.contains("login refused") && !directed.contains("ready"), "{directed}");
}

/// SQL, values and answers of every kind, all of them with the word that must not be logged.
fn say_everything(wire: &mut Wire) {
    wire.query("SELECT 'hunter2 in a literal'");
    wire.query("SELECT hunter2_column FROM hunter2_table");
    wire.query("INSERT INTO notes VALUES ('hunter2 row')");
    wire.query("SELECT 'hunter2 unclosed");
    wire.query("SET app.current_org_id = 'hunter2'");
    wire.query("SET application_name = 'hunter2'");
    wire.query("LISTEN hunter2");
    wire.query("DISCARD ALL");
    wire.send(&Frontend::new().parse("hunter2", "SELECT $1::text", &[]).bind(
        "hunter2",
        "hunter2",
        &[Some("hunter2")],
    ));
    wire.send(&Frontend::new().execute("hunter2", 0).sync());
    wire.until_ready();
    wire.send(&run("SELECT 'hunter2'::int").sync());
    wire.until_ready();
    wire.send(
        &Frontend::new().query("COPY notes (name) FROM STDIN").copy_data(b"hunter2\n").copy_fail("hunter2"),
    );
    wire.until_ready();
    wire.query("DO $$ BEGIN RAISE EXCEPTION 'hunter2'; END $$");
    wire.cancel();
}

#[track_caller]
fn assert_says_nothing(pgwarden: &Pgwarden, also: &[&str]) {
    pgwarden.signal(Signal::TERM);
    pgwarden.wait_exit();
    let log = pgwarden.stderr();
    assert!(log.contains("ready"), "there is a log");
    for word in [&[HIDDEN, ACME, ANN], also].concat() {
        let line = log.lines().find(|line| line.contains(word));
        assert_eq!(line, None, "{word} is in the log");
    }
}

#[test]
fn passwords_statements_and_values_are_not_logged_at_trace() {
    for version in versions() {
        let server = Server::builder(version).access("host all app 127.0.0.1/32 scram-sha-256").start();
        Tenants::load(&server);
        server.psql("ALTER ROLE app PASSWORD 'hunter2-upstream'");
        let upstream = format!("{}?sslmode=disable", server.url_for("app", "hunter2-upstream", "postgres"));
        for method in ["password", "md5", "scram-sha-256"] {
            let pgwarden = Tenants::builder(&upstream)
                .env("PGWARDEN_LOG", "trace")
                .env("PGWARDEN_LOG_FORMAT", if method == "md5" { "pretty" } else { "json" })
                .env("PGWARDEN_AUTH", method)
                .env("PGWARDEN_USERS_FILE", "users.txt")
                .file("users.txt", "\"acme\" \"hunter2-client\"\n")
                .env("ADMIN", "hunter2-admin")
                .file("pgwarden.toml", "admin.token = \"env:ADMIN\"")
                .argument("--config=pgwarden.toml")
                .start();
            let mut acme = Wire::open(pgwarden.port(), "acme", "hunter2-client", "postgres");
            say_everything(&mut acme);
            let parameters = [("user", "acme"), ("database", "postgres")];
            let error =
                Wire::connect(pgwarden.port()).try_log_in("hunter2-wrong", &parameters).expect_err("wrong");
            assert_eq!(error.fields().code(), "28P01");
            for header in ["Bearer hunter2-admin", "Bearer hunter2-wrong"] {
                let mut caller =
                    TcpStream::connect(("127.0.0.1", pgwarden.admin_port())).expect("it listens");
                let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: {header}\r\n\r\n");
                caller.write_all(request.as_bytes()).expect("it reads");
                let mut answer = Vec::new();
                caller.read_to_end(&mut answer).expect("it answers");
            }
            assert_says_nothing(&pgwarden, &[]);
        }
    }
}

#[test]
fn a_server_that_refuses_the_login_is_logged_without_its_password() {
    let server = Server::builder(versions()[0]).access("host all app 127.0.0.1/32 scram-sha-256").start();
    Tenants::load(&server);
    server.psql("ALTER ROLE app PASSWORD 'another'");
    let upstream = format!("{}?sslmode=disable", server.url_for("app", "hunter2-upstream", "postgres"));
    let pgwarden = Tenants::builder(&upstream).env("PGWARDEN_LOG", "trace").start();
    let mut acme = Wire::connect(pgwarden.port());
    let error = acme.try_log_in("", &[("user", "acme"), ("database", "postgres")]).expect_err("no server");
    assert_eq!(error.fields().code(), "57P03");
    assert!(!error.fields().to_string().contains(HIDDEN), "{error:?}");
    until("it is logged", || pgwarden.stderr().contains("28P01").then_some(()));
    assert_says_nothing(&pgwarden, &[]);
}

#[test]
fn settings_of_the_startup_packet_are_not_logged_with_their_values() {
    for_each_version(async |server| {
        Tenants::load(server);
        let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
        for mode in ["transaction", "session"] {
            let builder = Tenants::builder(&upstream).env("PGWARDEN_LOG", "trace");
            let pgwarden = builder.env("PGWARDEN_POOL_MODE", mode).start();
            begin_with_settings(&pgwarden);
            assert_says_nothing(&pgwarden, &[]);
        }
    });
}

fn begin_with_settings(pgwarden: &Pgwarden) {
    for (name, value) in [
        ("TimeZone", "hunter2"),
        ("application_name", "hunter2"),
        ("app.current_org_id", "hunter2"),
        ("options", "-c app.current_org_id=hunter2"),
        ("options", "-c work_mem=hunter2"),
        ("options", "hunter2"),
        ("options", "--hunter2"),
    ] {
        let parameters = [("user", "acme"), ("database", "postgres"), (name, value)];
        // Some of them are let in; what is logged is what this is about.
        drop(Wire::connect(pgwarden.port()).try_log_in("", &parameters));
    }
}

#[test]
fn tokens_and_their_claims_are_not_logged_at_trace() {
    for_each_version(async |server| {
        Tenants::load(server);
        let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
        let issuer = Issuer::of_secret(Algorithm::HS256, "hunter2, which is the secret of this issuer");
        let pgwarden = Pgwarden::builder()
            .upstream(&upstream)
            .env("PGWARDEN_LOG", "trace")
            .env("PGWARDEN_LOG_FORMAT", "json")
            .env("PGWARDEN_MODE", "enforce")
            .env("PGWARDEN_AUTH", "jwt")
            .env("PGWARDEN_JWT_KEY", "env:KEY")
            .env("KEY", issuer.public())
            .env("PGWARDEN_CONTEXT", "app.current_org_id=claim:org:uuid, request.jwt.claims=claims")
            .start();
        let claims = |org: Value| json!({"org": org, "exp": seconds_from_now(600), "name": "hunter2"});
        let good = issuer.sign(&claims(json!(ACME)));
        let mut acme = Wire::open(pgwarden.port(), "acme", &good, "postgres");
        assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
        say_everything(&mut acme);
        let mut tokens = vec![
            issuer.sign(&claims(json!("hunter2"))),
            issuer.sign(&claims(json!(null))),
            issuer.sign(&json!({"org": ACME, "exp": seconds_from_now(-600)})),
            issuer.sign(&json!({"org": ACME})),
            Issuer::of_secret(Algorithm::HS256, "another secret, which is long enough")
                .sign(&claims(json!(ACME))),
            "hunter2".to_owned(),
            "hunter2.hunter2.hunter2".to_owned(),
            format!("{good}x"),
        ];
        for token in &tokens {
            let mut wire = Wire::connect(pgwarden.port());
            let error = wire.try_log_in(token, &[("user", "acme"), ("database", "postgres")]);
            let error = error.expect_err("not a good token");
            assert_eq!(error.fields().code(), "28000", "{error:?}");
            let told = error.fields().to_string();
            assert!(!told.contains(HIDDEN) && !told.contains(ACME), "{told}");
        }
        tokens.push(good);
        let parts: Vec<&str> = tokens.iter().flat_map(|token| token.split('.').skip(1)).collect();
        assert_says_nothing(&pgwarden, &parts);
    });
}
