//! OAUTHBEARER: tokens in the SASL exchange of PostgreSQL 18, word by word, and where there is a libpq 18, with that.

use std::process::Command;

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, values};
use pgwarden_tests::tokens::{SECRET, Value, json, seconds_from_now, token};
use pgwarden_tests::wire::{Fields, PROTOCOL_3_0};
use pgwarden_tests::{
    Frontend, Message, Pgwarden, PgwardenBuilder, Server, Version, Wire, for_each_version, until, versions,
};

const MECHANISM: &str = "OAUTHBEARER";
const ISSUER: &str = "https://issuer.example";

/// A pgwarden that takes tokens in this way and makes the tenant of the claim `org`.
fn taking(server: &Server) -> PgwardenBuilder {
    let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
    let text = format!("[auth.oauth]\nissuer = \"{ISSUER}\"\nscope = \"openid db\"\n");
    Tenants::builder(&upstream)
        .file("key", SECRET)
        .env("PGWARDEN_AUTH", "oauthbearer")
        .env("PGWARDEN_JWT_KEY", "file:{dir}/key")
        .env("PGWARDEN_CONTEXT", "app.current_org_id=claim:org, request.jwt.claims=claims")
        .config(&text)
}

fn first_message(credentials: &str) -> Vec<u8> {
    format!("n,,\x01auth={credentials}\x01\x01").into_bytes()
}

/// A connection that was offered the mechanism, and nothing else.
#[track_caller]
fn offered(pgwarden: &Pgwarden) -> Wire {
    let mut wire = Wire::connect(pgwarden.port());
    wire.startup(&[("user", "anybody"), ("database", "postgres")]);
    assert_eq!(wire.receive(), request(10, b"OAUTHBEARER\0\0"));
    wire
}

fn request(kind: u32, data: &[u8]) -> Message {
    let bytes = [&b"R"[..], &u32::try_from(data.len() + 8).unwrap().to_be_bytes(), &kind.to_be_bytes(), data]
        .concat();
    Message::split(&bytes).remove(0)
}

/// Sends a first message; what comes of it.
#[track_caller]
fn begin(pgwarden: &Pgwarden, first: &[u8]) -> Wire {
    let mut wire = offered(pgwarden);
    wire.send(&Frontend::new().sasl_initial(MECHANISM, first));
    wire
}

#[track_caller]
fn log_in(pgwarden: &Pgwarden, claims: &Value) -> Wire {
    let mut wire = begin(pgwarden, &first_message(&format!("Bearer {}", token(claims))));
    // No last word of the server in between, as SCRAM has it.
    assert_eq!(wire.receive(), request(0, b""));
    wire.until_ready();
    wire
}

/// The error behind a challenge that names the issuer.
#[track_caller]
fn challenged(wire: &mut Wire) -> Fields {
    let challenge = wire.receive();
    assert_eq!((challenge.tag, &challenge.body[..4]), (b'R', &[0, 0, 0, 11][..]), "{challenge:?}");
    let told: Value = serde_json::from_slice(&challenge.body[4..]).expect("JSON");
    let document = format!("{ISSUER}/.well-known/openid-configuration");
    assert_eq!(
        told,
        json!({"status": "invalid_token", "openid-configuration": document, "scope": "openid db"})
    );
    wire.fatal(&Frontend::new().sasl(b"\x01"))
}

#[test]
fn a_token_becomes_the_context_whatever_the_users_name_is() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = taking(server).start();
        for org in [ACME, GLOBEX] {
            let mut wire = log_in(&pgwarden, &json!({"org": org}));
            assert_eq!(values(&wire.query("SELECT org()")), [org]);
            assert_eq!(values(&wire.query("SELECT DISTINCT org FROM items")), [org]);
            assert_eq!(values(&wire.query("SELECT current_user")), ["app"]);
            let claim = "SELECT current_setting('request.jwt.claims')::jsonb ->> 'org'";
            assert_eq!(values(&wire.query(claim)), [org]);
        }
        assert!(!pgwarden.stderr().contains("eyJ"), "{}", pgwarden.stderr());
    });
}

#[test]
fn other_fields_and_a_message_that_comes_on_demand_are_right_as_well() {
    let server = Server::start(versions()[0]);
    Tenants::load(&server);
    let pgwarden = taking(&server).start();
    let token = token(&json!({"org": ACME}));
    let mut wire =
        begin(&pgwarden, format!("y,,\x01host=db\x01port=1\x01auth=bearer  {token}\x01\x01").as_bytes());
    wire.until_ready();
    let mut late = offered(&pgwarden);
    late.send(&Frontend::new().message(b'p', b"OAUTHBEARER\0\xff\xff\xff\xff"));
    assert_eq!(late.receive(), request(11, b""));
    late.send(&Frontend::new().sasl(&first_message(&format!("Bearer {token}"))));
    late.until_ready();
    assert_eq!(values(&late.query("SELECT org()")), [ACME]);
}

#[test]
fn who_has_no_token_learns_where_to_get_one_and_is_no_suspect() {
    let server = Server::start(versions()[0]);
    Tenants::load(&server);
    let pgwarden = taking(&server).env("PGWARDEN_LOGIN_DELAY", "1h").start();
    for _ in 0..30 {
        let error = challenged(&mut begin(&pgwarden, &first_message("")));
        assert_eq!((error.severity(), error.code()), ("FATAL", "28000"));
        assert_eq!(error.message(), "OAuth bearer authentication failed for user \"anybody\"");
    }
    let outcome = "pgwarden_logins_total{outcome=\"discovery\"}";
    until("they are counted", || (pgwarden.metric(outcome) == Some(30.0)).then_some(()));
    assert_eq!(pgwarden.metric("pgwarden_delayed_logins_total"), Some(0.0));
    log_in(&pgwarden, &json!({"org": ACME}));
}

#[test]
fn a_token_that_is_no_good_is_refused_with_a_reason_and_the_way_to_another() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = taking(server).start();
        let expired = token(&json!({"org": ACME, "exp": seconds_from_now(-3600)}));
        let [head, body, _] = expired.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
        let unsigned = format!("{head}.{body}.AAAA");
        for (credentials, reason) in [
            (format!("Bearer {expired}"), "the token expired at"),
            (format!("Bearer {unsigned}"), "signature"),
            ("Bearer abc".into(), "The token was refused"),
            ("Bearer".into(), "it is no bearer token"),
            ("Bearer ".into(), "it is empty"),
            (format!("Basic {expired}"), "it is no bearer token"),
            (format!("Bearer {expired}!"), "characters that no bearer token has"),
            (format!("Bearer {expired} {expired}"), "characters that no bearer token has"),
        ] {
            let error = challenged(&mut begin(&pgwarden, &first_message(&credentials)));
            assert_eq!(error.code(), "28000", "{credentials}: {error}");
            assert_eq!(error.message(), "OAuth bearer authentication failed for user \"anybody\"");
            assert!(error.detail().contains(reason), "{credentials}: {error}");
            assert!(!error.to_string().contains(body) && !pgwarden.stderr().contains(body), "{error}");
        }
        let error = begin(&pgwarden, &first_message(&format!("Bearer {}", token(&json!({})))))
            .fatal(&Frontend::new());
        assert_eq!(
            (error.code(), error.message().contains("no valid tenant context")),
            ("28000", true),
            "{error}"
        );
        log_in(&pgwarden, &json!({"org": ACME}));
    });
}

#[test]
fn failures_make_the_next_attempts_wait_even_if_nobody_hears_the_end_of_them() {
    let server = Server::start(versions()[0]);
    Tenants::load(&server);
    let text = format!(
        "limits.login_failures = 2\nlimits.login_delay = \"1h\"\nlimits.login_delay_max = \"1h\"\n\
         [auth.oauth]\nissuer = \"{ISSUER}\"\nscope = \"x\"\n"
    );
    let pgwarden = taking(&server).file("pgwarden.toml", &text).env("PGWARDEN_LOGIN_DELAY", "1h").start();
    let abandoned = "pgwarden_logins_total{outcome=\"abandoned\"}";
    for gone in [1.0, 2.0, 3.0] {
        let mut wire = begin(&pgwarden, &first_message("Bearer abc"));
        wire.receive();
        drop(wire);
        until("it is noticed", || (pgwarden.metric(abandoned) == Some(gone)).then_some(()));
    }
    let mut wire = Wire::connect(pgwarden.port());
    let error = wire.fatal(&Frontend::new().startup(PROTOCOL_3_0, &[("user", "anybody")]));
    assert_eq!(error.code(), "53300", "{error}");
}

#[test]
fn malformed_messages_are_refused_like_postgresql_does() {
    let server = Server::start(versions()[0]);
    Tenants::load(&server);
    let pgwarden = taking(&server).start();
    for (first, detail) in [
        (&b""[..], "empty"),
        (b"\0", "zero byte"),
        (b"n,,\x01auth=Bearer hunter2\x01\x01\0", "zero byte"),
        (b"n,,\x01auth=Bearer \xff\xfe\x01\x01", "invalid value"),
        (b"p=tls-server-end-point,,\x01auth=Bearer hunter2\x01\x01", "no channel binding"),
        (b"n,,auth=Bearer hunter2\x01\x01", "separator is expected"),
        (b"n,,\x01auth=Bearer hunter2\x01", "does not end"),
        (b"n,,\x01auth=Bearer hunter2", "unterminated"),
        (b"n,,\x01auth=Bearer hunter2\x01\x01more", "goes on"),
        (b"n,,\x01auth=Bearer hunter2\x01auth=\x01\x01", "more than one"),
        (b"n,,\x01\x01", "does not contain an auth value"),
        (b"GET / HTTP/1.1", "flag is unknown"),
    ] {
        let error = begin(&pgwarden, first).fatal(&Frontend::new());
        assert_eq!((error.severity(), error.code()), ("FATAL", "08P01"), "{first:?}: {error}");
        assert_eq!(error.message(), "malformed OAUTHBEARER message");
        assert!(error.detail().contains(detail), "{first:?}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let error = begin(&pgwarden, b"n,a=root,\x01auth=\x01\x01").fatal(&Frontend::new());
    assert_eq!(
        (error.code(), error.message()),
        ("0A000", "client uses authorization identity, but it is not supported")
    );
    for (body, message) in [
        (
            &b"SCRAM-SHA-256\0\0\0\0\x08n,,n=,r=x"[..],
            "client selected an invalid SASL authentication mechanism",
        ),
        (b"OAUTHBEARER", "invalid SASLInitialResponse"),
        (b"OAUTHBEARER\0\0\0\0\xff", "invalid SASLInitialResponse"),
        (b"OAUTHBEARER\0\x7f\xff\xff\xffn,,", "invalid SASLInitialResponse"),
        (b"OAUTHBEARER\0\xff\xff\xff\xfen,,", "invalid SASLInitialResponse"),
        (b"OAUTHBEARER\0\xff\xff\xff\xffn,,", "invalid SASLInitialResponse"),
    ] {
        let error = offered(&pgwarden).fatal(&Frontend::new().message(b'p', body));
        assert_eq!((error.code(), error.message()), ("08P01", message), "{body:?}");
    }
    for answer in [&b""[..], b"\x01\x01", b"n,,\x01auth=\x01\x01"] {
        let mut wire = begin(&pgwarden, &first_message("Bearer abc"));
        wire.receive();
        let error = wire.fatal(&Frontend::new().sasl(answer));
        assert_eq!(error.code(), "08P01", "{answer:?}: {error}");
    }
    let error = offered(&pgwarden).fatal(&Frontend::new().query("SELECT 1"));
    assert_eq!(error.code(), "08P01", "{error}");
    log_in(&pgwarden, &json!({"org": ACME}));
}

#[test]
fn a_token_that_is_too_long_is_refused_before_it_is_looked_at() {
    let server = Server::start(versions()[0]);
    Tenants::load(&server);
    let pgwarden = taking(&server).start();
    let long = token(&json!({"org": ACME, "more": "x".repeat(20_000)}));
    let mut wire = begin(&pgwarden, &first_message(&format!("Bearer {long}")));
    wire.until_ready();
    let over =
        begin(&pgwarden, &first_message(&format!("Bearer {}", "a".repeat(70_000)))).fatal(&Frontend::new());
    assert_eq!(over.code(), "54000", "{over}");
    let text = format!("limits.token_bytes = 1024\n[auth.oauth]\nissuer = \"{ISSUER}\"\nscope = \"x\"\n");
    let short = taking(&server).file("pgwarden.toml", &text).start();
    let error = begin(&short, &first_message(&format!("Bearer {long}"))).fatal(&Frontend::new());
    assert!(error.code() == "54000" && error.message().contains("is over the limit of 1024"), "{error}");
    let mut whole = offered(&short);
    let error = whole.fatal(&Frontend::new().raw(b"p\x00\x10\x00\x00"));
    assert_eq!(error.code(), "54000", "{error}");
}

#[test]
fn from_other_machines_a_token_comes_over_tls_alone() {
    let server = Server::start(versions()[0]);
    Tenants::load(&server);
    let authority = Authority::create();
    let identity = authority.server();
    // A load balancer says where its clients come from.
    let pgwarden =
        taking(&server).tls("allow", &identity).env("PGWARDEN_PROXY_PROTOCOL", "127.0.0.1").start();
    let from = |address: [u8; 4]| {
        let mut wire = Wire::connect(pgwarden.port());
        let header =
            [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &address[..], &[127, 0, 0, 1, 0x10, 0, 0x10, 1]].concat();
        wire.send_bytes(&header);
        wire
    };
    let startup = Frontend::new().startup(PROTOCOL_3_0, &[("user", "anybody"), ("database", "postgres")]);
    let error = from([192, 0, 2, 7]).fatal(&startup);
    assert_eq!(error.code(), "28000");
    assert_eq!(error.message(), "OAuth bearer authentication requires an encrypted connection");
    assert!(error.hint().contains("sslmode=require"), "{error}");
    let mut near = from([127, 0, 0, 1]);
    near.send(&startup);
    assert_eq!(near.receive(), request(10, b"OAUTHBEARER\0\0"));
    let mut far = from([192, 0, 2, 7]);
    far.request_tls(&authority.client(None, &[]));
    far.send(&startup);
    assert_eq!(far.receive(), request(10, b"OAUTHBEARER\0\0"));
    far.send(
        &Frontend::new()
            .sasl_initial(MECHANISM, &first_message(&format!("Bearer {}", token(&json!({"org": ACME}))))),
    );
    far.until_ready();
    assert_eq!(values(&far.query("SELECT org()")), [ACME]);
}

/// Logs in with the libpq of PostgreSQL 18, whose hook for tokens has this one.
fn with_libpq(pgwarden: &Pgwarden, token: &str, parameters: &str, sql: &str) -> (String, String) {
    let libraries = Version(18).libraries();
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/drivers/python/oauth_bearer.py");
    let connection = format!(
        "host=127.0.0.1 port={} user=anybody dbname=postgres oauth_client_id=tests {parameters}",
        pgwarden.port()
    );
    let output = Command::new("python3")
        .args([program, &connection, sql])
        .env("LIBPQ", libraries.join("libpq.so.5"))
        .env("LD_LIBRARY_PATH", &libraries)
        .env("TOKEN", token)
        .output()
        .expect("python3 is installed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn libpq_18_logs_in_with_a_token_of_its_hook() {
    if !versions().contains(&Version(18)) {
        return;
    }
    for_each_version(async |server| {
        Tenants::load(server);
        let authority = Authority::create();
        let pgwarden = taking(server).tls("allow", &authority.server()).start();
        let good = token(&json!({"org": ACME}));
        let encrypted = format!("sslmode=verify-full host=localhost sslrootcert={}", authority.path());
        for (parameters, discovery) in [
            (format!("oauth_issuer={ISSUER}"), ""),
            (format!("oauth_issuer={ISSUER}/.well-known/openid-configuration"), ""),
            (format!("oauth_issuer={ISSUER} {encrypted}"), ""),
            (format!("oauth_issuer={ISSUER} require_auth=oauth {encrypted}"), discovery_line()),
        ] {
            let (out, err) = with_libpq(&pgwarden, &good, &parameters, "SELECT org()");
            assert_eq!(out, ACME, "{parameters}: {err}");
            assert!(err.contains(discovery) && err.contains("asked"), "{parameters}: {err}");
        }
        let (out, _) = with_libpq(&pgwarden, "no.good", &format!("oauth_issuer={ISSUER}"), "SELECT 1");
        assert!(out.contains("OAuth bearer authentication failed for user \"anybody\""), "{out}");
        let (out, err) = with_libpq(&pgwarden, &good, "oauth_issuer=https://another.example", "SELECT 1");
        assert!(out.contains("is incompatible with oauth_issuer"), "libpq compares: {out} {err}");
    });
}

fn discovery_line() -> &'static str {
    "asked https://issuer.example/.well-known/openid-configuration openid db"
}
