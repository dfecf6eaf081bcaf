//! `/status` and `pgwarden status`: what each client does, who waits and for how long, what the backends are for, and
//! nobody's name in it.

use std::net::TcpListener;

use pgwarden_tests::tenants::{ACME, ANN, GLOBEX, Tenants, error_code};
use pgwarden_tests::tokens::{Value, json};
use pgwarden_tests::{Frontend, Pgwarden, Wire, for_each_version, until};

/// `/status` as it is now.
#[track_caller]
fn status(pgwarden: &Pgwarden) -> Value {
    let (code, body) = pgwarden.admin("/status");
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// Waits until `/status` has `expected` at a JSON pointer, and returns all of it.
#[track_caller]
fn until_status(pgwarden: &Pgwarden, pointer: &str, expected: impl Into<Value>) -> Value {
    let expected = expected.into();
    let mut last = Value::Null;
    until(&format!("{pointer} is {expected}"), || {
        last = status(pgwarden);
        (last.pointer(pointer) == Some(&expected)).then(|| last.clone())
    })
}

/// The clients of the list in a state.
fn in_state<'a>(status: &'a Value, state: &str) -> Vec<&'a Value> {
    let sessions = status["sessions"].as_array().expect("a list");
    sessions.iter().filter(|session| session["state"] == state).collect()
}

fn pid(wire: &mut Wire) -> u64 {
    let rows = wire.rows("SELECT pg_backend_pid()");
    rows[0][0].as_deref().and_then(|text| text.parse().ok()).expect("a number")
}

#[test]
fn each_client_is_shown_in_its_state() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "2"));
        let (mut idle, mut busy, mut pinned) =
            (stage.client("acme"), stage.client("acme"), stage.client("globex"));
        idle.query("SELECT 1");
        pinned.query("LISTEN news");
        busy.query("BEGIN");
        let process = pid(&mut busy);
        let mut waiting = stage.client("globex");
        waiting.send(&Frontend::new().query("SELECT 1"));
        let expected = json!({
            "total": 4, "limit": 10_000, "logging_in": 0, "idle": 1, "transaction": 1, "waiting": 1, "pinned": 1,
        });
        let status = until_status(&stage.pgwarden, "/clients", expected);
        assert_eq!(in_state(&status, "transaction")[0]["server_process"], process, "{status}");
        assert_eq!(in_state(&status, "transaction")[0]["database"], "postgres", "{status}");
        let kept = in_state(&status, "pinned")[0];
        assert_eq!((&kept["pin"], kept["pin_seconds"].is_u64()), (&Value::from("listen"), true), "{status}");
        assert!(kept["server_process"].is_u64() && kept["server_process"] != process, "{status}");
        assert!(in_state(&status, "waiting")[0]["server_process"].is_null(), "{status}");
        assert!(in_state(&status, "idle")[0]["server_process"].is_null(), "{status}");
        assert_eq!(status["sessions"][0]["state"], "waiting", "who waits is first: {status}");
        assert_eq!(status["pins"][0]["reason"], "listen", "{status}");
        assert_eq!(status["pins"][0]["clients"], 1, "{status}");
        assert_eq!(status["waits"]["clients"], 1, "{status}");
        assert!(
            status["waits"]["longest_seconds"].as_f64().is_some_and(|seconds| seconds >= 0.0),
            "{status}"
        );
        drop(pinned);
        waiting.until_ready();
        busy.query("COMMIT");
        until_status(&stage.pgwarden, "/clients/idle", 3);
        until_status(&stage.pgwarden, "/pins", json!([]));
        until_status(&stage.pgwarden, "/waits", json!({"clients": 0, "longest_seconds": null}));
    });
}

#[test]
fn the_longest_wait_grows_while_somebody_waits() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut busy, mut waiting) = (stage.client("acme"), stage.client("globex"));
        busy.query("BEGIN");
        busy.query("SELECT 1");
        waiting.send(&Frontend::new().query("SELECT 1"));
        until_status(&stage.pgwarden, "/pools/0/waiting", 1);
        for pointer in ["/pools/0/longest_wait_seconds", "/waits/longest_seconds", "/sessions/0/seconds"] {
            until(&format!("{pointer} is more than a second"), || {
                let status = status(&stage.pgwarden);
                (status.pointer(pointer)?.as_f64()? >= 1.0).then_some(())
            });
        }
        waiting.cancel();
        assert_eq!(error_code(&waiting.until_ready()), "57014");
        until_status(&stage.pgwarden, "/pools/0/waiting", 0);
    });
}

#[test]
fn backends_are_shown_by_pool() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "3"));
        assert_eq!(status(&stage.pgwarden)["pools"], json!([]), "nobody has come");
        let (mut first, mut second) = (stage.client("acme"), stage.client("globex"));
        first.query("BEGIN");
        first.query("SELECT 1");
        second.query("BEGIN");
        second.query("SELECT 1");
        second.query("COMMIT");
        let status = until_status(&stage.pgwarden, "/pools/0/idle", 1);
        let pool = &status["pools"][0];
        for (field, expected) in [
            ("database", Value::from("postgres")),
            ("login", Value::from("app")),
            ("pools", Value::from(1)),
            ("size", Value::from(3)),
            ("clients", Value::from(2)),
            ("leased", Value::from(1)),
            ("opening", Value::from(0)),
            ("closing", Value::from(0)),
            ("waiting", Value::from(0)),
            ("longest_wait_seconds", Value::Null),
        ] {
            assert_eq!(pool[field], expected, "{field}: {status}");
        }
    });
}

#[test]
fn a_session_of_its_own_backend_is_idle_between_transactions() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_MODE", "session"));
        let mut acme = stage.client("acme");
        let process = pid(&mut acme);
        let status = until_status(&stage.pgwarden, "/sessions/0/state", "idle");
        assert_eq!(status["sessions"][0]["server_process"], process, "{status}");
        assert_eq!(status["pools"][0]["leased"], 1, "{status}");
        assert_eq!(status["pool_mode"], "session", "{status}");
        acme.query("BEGIN");
        until_status(&stage.pgwarden, "/sessions/0/state", "transaction");
        acme.query("COMMIT");
        until_status(&stage.pgwarden, "/sessions/0/state", "idle");
        until("transactions count although the backend stays", || {
            (stage.pgwarden.metric("pgwarden_transactions_total") == Some(2.0)).then_some(())
        });
        until("so do injections", || {
            let count =
                |form| stage.pgwarden.metric(&format!("pgwarden_injections_total{{form=\"{form}\"}}"));
            (count("front")? + count("text")? == 1.0).then_some(())
        });
    });
}

#[test]
fn the_process_says_what_it_is_and_that_it_drains() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        acme.query("SELECT 1");
        let before = status(&stage.pgwarden);
        assert_eq!(before["version"], env!("CARGO_PKG_VERSION"), "{before}");
        assert_eq!((&before["mode"], &before["pool_mode"]), (&"enforce".into(), &"transaction".into()));
        assert_eq!(before["state"], "running", "{before}");
        assert!(before["uptime_seconds"].is_u64() && before["last_reload"].is_null(), "{before}");
        stage.pgwarden.signal(pgwarden_tests::Signal::TERM);
        until_status(&stage.pgwarden, "/unready", json!(["draining"]));
        let draining = until_status(&stage.pgwarden, "/state", "draining");
        assert_eq!(draining["clients"]["transaction"], 1, "{draining}");
        acme.query("COMMIT");
        assert_eq!(stage.pgwarden.wait_exit().code(), Some(0));
    });
}

#[test]
fn nobody_is_named_whatever_they_do() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "2"));
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        acme.query("LISTEN a_channel");
        globex.query("BEGIN");
        globex.query("SELECT 'a statement', org()");
        let mut waiting = stage.client("acme");
        waiting.send(&Frontend::new().query("SELECT 'a statement'"));
        until_status(&stage.pgwarden, "/clients/waiting", 1);
        let (_, body) = stage.pgwarden.admin("/status");
        for secret in [ACME, ANN, GLOBEX, "acme", "globex", "a statement", "a_channel", "current_org_id"] {
            assert!(!body.contains(secret), "{secret} in {body}");
        }
    });
}

/// Where every client has its own login on the server, the login is a client's name.
#[test]
fn logins_that_are_names_of_clients_are_counted_together() {
    for_each_version(async |server| {
        Tenants::load(server);
        let upstream = format!("postgres://127.0.0.1:{}/postgres?sslmode=disable", server.port());
        let pgwarden = Tenants::builder(&upstream).start();
        let open = |user| Wire::open(pgwarden.port(), user, "", "postgres");
        let (mut acme, mut globex) = (open("acme"), open("globex"));
        acme.query("SELECT 1");
        globex.query("SELECT 1");
        let status = until_status(&pgwarden, "/pools/0/idle", 2);
        let pool = &status["pools"][0];
        assert!(pool["login"].is_null(), "{status}");
        assert_eq!((&pool["pools"], &pool["size"], &pool["clients"]), (&2.into(), &2.into(), &2.into()));
        let body = status.to_string();
        assert!(!body.contains("acme") && !body.contains("globex"), "{body}");
    });
}

#[test]
fn a_backend_that_is_being_opened_is_shown_and_so_is_the_client_that_logs_in() {
    // It takes connections, and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = mute.local_addr().expect("an address").port();
    let upstream = format!("postgres://app@127.0.0.1:{port}/postgres?sslmode=disable");
    let pgwarden = Tenants::builder(&upstream).start();
    let mut acme = Wire::connect(pgwarden.port());
    acme.startup(&[("user", "acme"), ("database", "postgres")]);
    let status = until_status(&pgwarden, "/pools/0/opening", 1);
    assert_eq!(status["clients"]["logging_in"], 1, "{status}");
    assert_eq!(
        (&status["pools"][0]["idle"], &status["pools"][0]["leased"]),
        (&0.into(), &0.into()),
        "{status}"
    );
    assert_eq!(status["sessions"], json!([]), "{status}");
}

/// The statement catches the cancel that follows its client's farewell, so its connection stays for some seconds.
#[test]
fn a_connection_whose_statement_does_not_end_is_shown_as_closing() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.send(&Frontend::new().query(
            "DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$",
        ));
        let sleeping =
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep'";
        until("it sleeps", || (server.psql(sleeping).trim() == "1").then_some(()));
        drop(acme);
        let status = until_status(&stage.pgwarden, "/pools/0/closing", 1);
        assert_eq!(status["pools"][0]["waiting"], 0, "{status}");
        stage.server.terminate("usename = 'app'");
        until_status(&stage.pgwarden, "/pools", json!([]));
    });
}
