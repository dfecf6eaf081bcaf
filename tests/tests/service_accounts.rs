//! What a service does is accounted for: in the log, in the status, in the metrics; and its time ends.

use std::time::{SystemTime, UNIX_EPOCH};

use pgwarden_tests::lane::{self, MIGRATIONS, accounts, enter, last_account, migrator};
use pgwarden_tests::reload;
use pgwarden_tests::tenants::{Tenants, error_code, run, values};
use pgwarden_tests::tokens::Value;
use pgwarden_tests::{Frontend, Pgwarden, Signal, Wire, for_each_version, until};

/// A second of the past, and one of the far future.
const PAST: &str = "expires = 2020-01-01T00:00:00Z";
const FUTURE: &str = "expires = 2100-01-01T00:00:00Z";

fn with(lines: &str) -> String {
    format!("{MIGRATIONS}{lines}\n")
}

#[track_caller]
fn status(pgwarden: &Pgwarden) -> Value {
    let (code, body) = pgwarden.admin("/status");
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// Waits until the one session of the status has this in a field.
#[track_caller]
fn until_session(stage: &Tenants<'_>, field: &str, expected: Value) -> Value {
    until(&format!("{field} is {expected}"), || {
        let session = status(&stage.pgwarden)["service_sessions"][0].clone();
        (session[field] == expected).then_some(session)
    })
}

#[test]
fn a_session_says_who_it_was_what_for_and_what_it_did() {
    for_each_version(async |server| {
        let stage = lane::start(server, MIGRATIONS);
        let mut service = migrator(&stage);
        service.query("BEGIN; INSERT INTO notes (name, org) SELECT name, org FROM items; COMMIT");
        service.query("CREATE TABLE public.fresh (x int)");
        service.query("SELECT 1 / 0");
        service.query("SELECT * FROM nowhere");
        service.query("DO 'BEGIN PERFORM 1; END'");
        service.send(&run("UPDATE fresh SET x = $1").sync());
        assert_eq!(error_code(&service.until_ready()), "08P01", "no parameter was bound");
        for _ in 0..3 {
            service.send(
                &Frontend::new()
                    .parse("", "SELECT count(*) FROM fresh", &[])
                    .bind("", "", &[])
                    .execute("", 0)
                    .sync(),
            );
            service.until_ready();
        }
        drop(service);
        let account = last_account(&stage.pgwarden);
        for (field, expected) in [
            ("service", "migrations"),
            ("user", "migrator"),
            ("role", "owner"),
            ("database", "postgres"),
            ("reason", "OPS-1"),
            ("commands", "BEGIN 1, COMMIT 1, CREATE TABLE 1, DO 1, INSERT 1, SELECT 3"),
            ("read", "fresh, items, nowhere"),
            ("written", "fresh, notes, public.fresh"),
        ] {
            assert_eq!(account[field], expected, "{field}: {account}");
        }
        for (field, expected) in [
            ("session", 1),
            ("transactions", 9),
            ("statements", 8),
            ("errors", 3),
            ("unread", 1),
            ("unlisted", 0),
        ] {
            assert_eq!(account[field], expected, "{field}: {account}");
        }
        assert!(
            account["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")),
            "{account}"
        );
        assert!(account["began"].as_str() <= account["ended"].as_str(), "{account}");
        let begun = accounts(&stage.pgwarden, "service session began");
        assert_eq!(
            (begun.len(), &begun[0]["reason"], &begun[0]["began"]),
            (1, &"OPS-1".into(), &account["began"])
        );
        for (metric, expected) in [
            ("sessions", 0.0),
            ("sessions_total", 1.0),
            ("transactions_total", 9.0),
            ("statements_total", 8.0),
        ] {
            let name = format!("pgwarden_service_{metric}{{service=\"migrations\"}}");
            until(&format!("{name} is {expected}"), || {
                (stage.pgwarden.metric(&name) == Some(expected)).then_some(())
            });
        }
    });
}

#[test]
fn the_status_shows_services_and_what_their_sessions_have_done_so_far() {
    for_each_version(async |server| {
        let stage = lane::start(server, &with(FUTURE));
        let mut service = migrator(&stage);
        service.query("BEGIN");
        service.query("DELETE FROM notes WHERE name IN (SELECT name FROM items)");
        let session = until_session(&stage, "written", vec!["notes"].into());
        assert_eq!(
            (&session["read"][0], &session["reason"]),
            (&"items".into(), &"OPS-1".into()),
            "{session}"
        );
        assert_eq!((&session["statements"], &session["transactions"]), (&2.into(), &0.into()), "{session}");
        assert_eq!(session["commands"]["DELETE"], 1, "{session}");
        let shown = status(&stage.pgwarden);
        let service_shown = &shown["services"][0];
        for (field, expected) in [
            ("service", Value::from("migrations")),
            ("role", Value::from("owner")),
            ("state", Value::from("open")),
            ("expires", Value::from("2100-01-01T00:00:00Z")),
            ("sessions", Value::from(1)),
            ("limit", Value::from(5)),
        ] {
            assert_eq!(service_shown[field], expected, "{field}: {shown}");
        }
        let output = std::process::Command::new(pgwarden_tests::binary())
            .args(["status", "--admin", &format!("http://127.0.0.1:{}", stage.pgwarden.admin_port())])
            .output()
            .expect("the command runs");
        let screen = String::from_utf8_lossy(&output.stdout).into_owned();
        for words in ["SERVICE", "migrations", "owner", "until 2100-01-01T00:00:00Z", "OPS-1", "127.0.0.1:"] {
            assert!(screen.contains(words), "{words}: {screen}");
        }
        drop(service);
        until("the session is gone", || {
            status(&stage.pgwarden)["service_sessions"].as_array().is_some_and(Vec::is_empty).then_some(())
        });
    });
}

#[test]
fn a_session_that_goes_on_is_logged_again_and_again() {
    for_each_version(async |server| {
        let stage = lane::start(server, &with("[log]\naccount_interval = \"1s\""));
        let mut service = migrator(&stage);
        service.query("SELECT * FROM items");
        let twice = until("it is logged twice", || {
            let lines = accounts(&stage.pgwarden, "service session goes on");
            let told = lines.iter().filter(|line| line["read"] == "items" && line["ended"].is_null()).count();
            (told >= 2).then_some(lines)
        });
        assert!(twice.iter().all(|line| line["service"] == "migrations"), "{twice:?}");
    });
}

#[test]
fn the_account_of_a_session_is_in_the_log_when_pgwarden_stops() {
    for_each_version(async |server| {
        let stage = lane::start(server, &with("[limits]\ndrain_timeout = \"1ms\""));
        let mut service = migrator(&stage);
        service.query("BEGIN");
        service.query("SELECT * FROM items");
        stage.pgwarden.signal(Signal::TERM);
        assert!(stage.pgwarden.wait_exit().success());
        let ended = accounts(&stage.pgwarden, "service session ended");
        assert_eq!((ended.len(), &ended[0]["read"]), (1, &"items".into()), "{ended:?}");
    });
}

#[test]
fn statements_of_tenants_are_in_no_account() {
    for_each_version(async |server| {
        let stage = lane::start(server, MIGRATIONS);
        stage.client("acme").query("SELECT * FROM items");
        assert_eq!(status(&stage.pgwarden)["service_sessions"], Value::Array(Vec::new()));
        assert_eq!(
            stage.pgwarden.metric("pgwarden_service_statements_total{service=\"migrations\"}"),
            Some(0.0)
        );
        assert_eq!(stage.pgwarden.logged("service session"), 0);
    });
}

/// The session's connection ends with this error.
#[track_caller]
fn assert_dismissed(wire: &mut Wire) {
    let last = wire.until_closed();
    assert_eq!(error_code(&last), "28000", "{last:?}");
    let error = last.last().expect("an error").fields();
    assert_eq!((error.severity(), error.message()), ("FATAL", "service \"migrations\" has ended"));
}

#[test]
fn a_service_that_has_expired_lets_nobody_in_and_its_sessions_end_behind_their_transaction() {
    for_each_version(async |server| {
        let stage = lane::start(server, &with(FUTURE));
        let (mut idle, mut busy) = (migrator(&stage), migrator(&stage));
        busy.query("BEGIN; INSERT INTO notes VALUES ('kept')");
        lane::reload(&stage, &with(PAST));
        assert_dismissed(&mut idle);
        let error = enter(&stage.pgwarden, "migrator", "OPS-1").expect_err("it is refused");
        assert_eq!((error.code(), error.message()), ("28000", "service \"migrations\" has ended"));
        assert_eq!(error_code(&busy.query("INSERT INTO notes VALUES ('kept')")), "");
        busy.send(&Frontend::new().query("COMMIT"));
        assert_eq!(error_code(&busy.until_ready()), "");
        assert_dismissed(&mut busy);
        assert_eq!(server.psql("SELECT count(*) FROM notes WHERE name = 'kept'"), "2");
        assert_eq!(status(&stage.pgwarden)["services"][0]["state"], "expired");
        lane::reload(&stage, &with(FUTURE));
        migrator(&stage);
    });
}

#[test]
fn a_session_ends_at_the_moment_that_its_service_does() {
    for_each_version(async |server| {
        let stage = lane::start(server, MIGRATIONS);
        let mut service = migrator(&stage);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let soon = server.psql(&format!(
            "SELECT to_char(to_timestamp({}) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
            now + 2
        ));
        lane::reload(&stage, &with(&format!("expires = {soon}")));
        assert_dismissed(&mut service);
        let later = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        assert!(later >= now + 2, "{later} is before {now} + 2");
    });
}

#[test]
fn a_reload_adds_services_and_takes_them_away() {
    for_each_version(async |server| {
        let stage = lane::start(server, "");
        assert_eq!(values(&stage.client("migrator").query("SELECT current_user")), ["app"]);
        lane::reload(&stage, MIGRATIONS);
        let mut service = migrator(&stage);
        assert_eq!(values(&service.query("SELECT current_user")), ["owner"]);
        lane::reload(&stage, &with("max_sessions = 3\nreason = \"none\""));
        assert_eq!(values(&service.query("SELECT current_user")), ["owner"], "it is the same service");
        server.psql("CREATE ROLE other LOGIN");
        lane::reload(&stage, &MIGRATIONS.replace("owner", "other"));
        assert_dismissed(&mut service);
        let mut service = migrator(&stage);
        assert_eq!(values(&service.query("SELECT current_user")), ["other"]);
        lane::reload(&stage, "");
        assert_dismissed(&mut service);
        assert_eq!(values(&stage.client("migrator").query("SELECT current_user")), ["app"]);
        assert_eq!(status(&stage.pgwarden)["services"], Value::Array(Vec::new()));
        reload::rewrite(&stage.pgwarden, &reload::upstream(server), "[service.x]\nuser = \"x\"");
        reload::reload(&stage.pgwarden, reload::FAILED);
    });
}
