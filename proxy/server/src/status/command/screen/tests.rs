use super::*;
use crate::status::Report;
use serde_json::json;

fn report() -> Report {
    let pool = json!({
        "database": "shop", "login": "app", "pools": 1, "size": 20, "clients": 3, "leased": 2, "idle": 1, "opening": 0,
        "closing": 0, "waiting": 1, "longest_wait_seconds": 2.34,
    });
    let session = |id: u64, state: &str, process: Option<u32>| {
        json!({
            "id": id, "database": "shop", "state": state, "seconds": 65, "server_process": process,
            "pin": (state == "pinned").then_some("listen"), "pin_seconds": (state == "pinned").then_some(7_200),
        })
    };
    serde_json::from_value(json!({
        "version": "1.2.3", "uptime_seconds": 90_061, "state": "running", "unready": [], "mode": "enforce",
        "pool_mode": "transaction", "last_reload": null,
        "clients": {
            "total": 4, "limit": 100, "logging_in": 0, "idle": 1, "transaction": 1, "waiting": 1, "pinned": 1,
        },
        "waits": {"clients": 1, "longest_seconds": 2.34},
        "pools": [pool],
        "pins": [{"reason": "listen", "clients": 1, "longest_seconds": 7_200}],
        "sessions": [
            session(4, "waiting", None), session(2, "transaction", Some(4_711)), session(3, "pinned", Some(12)),
            session(1, "idle", None),
        ],
    }))
    .unwrap()
}

const SCREEN: &str = "\
pgwarden 1.2.3, running, up 1 d 1 h
Mode     enforce, transaction pooling
Ready    yes
Reload   none since the start
Clients  4 of at most 100: 1 idle, 1 in a transaction, 1 waiting, 1 pinned, 0 logging in
Waiting  1 for a backend, the first 2.3 s

DATABASE  LOGIN  CLIENTS  SIZE  LEASED  IDLE  OPENING  CLOSING  WAITING  LONGEST WAIT
shop      app          3    20       2     1        0        0        1         2.3 s

PIN     CLIENTS  LONGEST
listen        1      2 h

CLIENT  DATABASE  STATE                   FOR  SERVER PROCESS  PIN
     4  shop      waiting           1 min 5 s               -  -
     2  shop      in a transaction  1 min 5 s            4711  -
     3  shop      pinned            1 min 5 s              12  listen for 2 h
";

#[test]
fn the_screen_is_plain_and_aligned() {
    let shown = render(&report(), Paint::Plain);
    assert_eq!(shown, SCREEN, "\n{shown}");
}

#[test]
fn a_terminal_sees_the_same_words() {
    let painted = render(&report(), Paint::Terminal);
    assert!(painted.contains("\u{1b}[1m") && painted.contains("\u{1b}[33m"), "{painted}");
    let bare =
        ["\u{1b}[1m", "\u{1b}[33m", "\u{1b}[0m"].iter().fold(painted, |text, code| text.replace(code, ""));
    assert_eq!(bare, SCREEN);
}

#[test]
fn a_pgwarden_that_nobody_uses_has_a_short_screen() {
    let idle = Report { state: "running".to_owned(), ..Report::default() };
    let shown = render(&idle, Paint::Plain);
    assert_eq!(shown.lines().count(), 6, "{shown}");
    assert!(shown.contains("Waiting  nobody\n"), "{shown}");
}

#[test]
fn more_clients_than_fit_are_counted() {
    let mut crowded = report();
    crowded.sessions = vec![crowded.sessions[1].clone(); 100];
    crowded.clients.transaction = 1_000;
    let shown = render(&crowded, Paint::Plain);
    assert!(shown.ends_with("… and 982 more\n"), "{shown}");
    assert!(shown.lines().count() < 40, "one screen: {shown}");
}

#[test]
fn logins_that_are_names_are_a_number() {
    let mut unnamed = report();
    unnamed.pools[0].login = None;
    unnamed.pools[0].pools = 12;
    assert!(render(&unnamed, Paint::Plain).contains("shop      (12 logins) "));
}

#[test]
fn why_it_is_not_ready_and_how_a_reload_ended_are_said() {
    let mut troubled = report();
    troubled.unready = vec!["draining".to_owned(), "upstream_unreachable".to_owned()];
    troubled.last_reload = Some(crate::status::LastReload { seconds_ago: 61, outcome: "ok".to_owned() });
    let shown = render(&troubled, Paint::Plain);
    assert!(shown.contains("Ready    no: draining, upstream_unreachable\n"), "{shown}");
    assert!(shown.contains("Reload   ok, 1 min 1 s ago\n"), "{shown}");
}

#[test]
fn times_have_at_most_two_units() {
    for (seconds, text) in [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3_600, "1 h"),
        (3_661, "1 h 1 min"),
        (86_400, "1 d"),
        (90_061, "1 d 1 h"),
    ] {
        assert_eq!(duration(seconds), text);
    }
    assert_eq!(
        (wait(Some(0.04)), wait(Some(9.94)), wait(Some(75.0))),
        ("0.0 s".into(), "9.9 s".into(), "1 min 15 s".into())
    );
}

#[test]
fn services_and_their_sessions_are_shown() {
    let mut busy = report();
    let service = json!({
        "service": "migrations", "role": "owner", "state": "open", "expires": "2030-01-31T23:59:59Z", "sessions": 1,
        "limit": 5, "sessions_total": 3, "transactions": 40, "statements": 120, "errors": 1,
    });
    let session = json!({
        "session": 3, "service": "migrations", "user": "migrator", "database": "shop", "client": "192.0.2.7:4711",
        "reason": "OPS-1\u{1b}[2J", "began": "2030-01-31T20:00:00Z", "seconds": 65, "transactions": 4,
        "statements": 12, "commands": {"SELECT": 12}, "errors": 0, "read": ["a", "b"], "written": ["c"],
        "unlisted": 0, "unread": 0,
    });
    busy.services = vec![serde_json::from_value(service).unwrap()];
    busy.service_sessions = vec![serde_json::from_value(session).unwrap()];
    let shown = render(&busy, Paint::Plain);
    let expected = "
SERVICE     ROLE   STATE                            SESSIONS  AT MOST  SO FAR  TRANSACTIONS  STATEMENTS  ERRORS
migrations  owner  open until 2030-01-31T23:59:59Z         1        5       3            40         120       1

SESSION  SERVICE     USER      FROM            REASON           FOR  STATEMENTS  TABLES READ  WRITTEN
      3  migrations  migrator  192.0.2.7:4711  OPS-1\u{fffd}[2J  1 min 5 s          12            2        1
";
    assert!(shown.contains(expected), "\n{shown}");
}
