//! `pgwarden status`: what people read of a running pgwarden, where it is looked for, and how it ends.

use std::net::TcpListener;

use pgwarden_tests::tenants::Tenants;
use pgwarden_tests::tokens::Value;
use pgwarden_tests::{Exit, Frontend, Pgwarden, Signal, for_each_version, until};

/// `pgwarden status` for a running one, with these arguments.
#[track_caller]
fn status(pgwarden: &Pgwarden, arguments: &[&str]) -> Exit {
    let admin = format!("--admin=http://127.0.0.1:{}", pgwarden.admin_port());
    Pgwarden::builder().run(&[&["status", admin.as_str()], arguments].concat())
}

#[track_caller]
fn assert_ends(exit: &Exit, code: i32, says: &str) {
    assert_eq!(exit.status.code(), Some(code), "{}", exit.stderr);
    assert!(exit.stderr.contains(says), "{says:?} is not in\n{}", exit.stderr);
}

/// The words of the line that begins with `first`.
#[track_caller]
fn words<'a>(screen: &'a str, first: &str) -> Vec<&'a str> {
    let line = screen.lines().find(|line| line.split_whitespace().next() == Some(first));
    line.unwrap_or_else(|| panic!("no line {first} in\n{screen}")).split_whitespace().collect()
}

#[test]
fn it_shows_who_waits_who_is_pinned_and_who_is_in_a_transaction() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "2"));
        let (mut pinned, mut busy) = (stage.client("globex"), stage.client("acme"));
        pinned.query("LISTEN news");
        busy.query("BEGIN");
        let process = busy.rows("SELECT pg_backend_pid()")[0][0].clone().expect("a number");
        let mut waiting = stage.client("globex");
        waiting.send(&Frontend::new().query("SELECT 1"));
        let expected =
            "Clients  3 of at most 10000: 0 idle, 1 in a transaction, 1 waiting, 1 pinned, 0 logging in\n";
        let screen = until("all of them are shown", || {
            let shown = status(&stage.pgwarden, &[]);
            assert_eq!(shown.status.code(), Some(0), "{}", shown.stderr);
            Some(shown.stderr).filter(|text| text.contains(expected))
        });
        assert!(
            screen.starts_with(concat!("pgwarden ", env!("CARGO_PKG_VERSION"), ", running, up ")),
            "{screen}"
        );
        assert!(screen.contains("\nMode     enforce, transaction pooling\nReady    yes\n"), "{screen}");
        assert!(screen.contains("\nReload   none since the start\n"), "{screen}");
        assert!(screen.contains("\nWaiting  1 for a backend, the first "), "{screen}");
        // Database, login, clients, size, leased, idle, opening, closing, waiting.
        assert_eq!(
            words(&screen, "postgres")[..9],
            ["postgres", "app", "3", "2", "2", "0", "0", "0", "1"],
            "{screen}"
        );
        assert_eq!(words(&screen, "listen")[..2], ["listen", "1"], "{screen}");
        let of =
            |state: &str| screen.lines().find(|line| line.contains(state) && line.contains(" postgres "));
        assert!(of(" in a transaction ").is_some_and(|line| line.contains(&process)), "{screen}");
        assert!(of(" pinned ").is_some_and(|line| line.contains(" listen for ")), "{screen}");
        assert!(of(" waiting ").is_some_and(|line| line.trim_end().ends_with("-  -")), "{screen}");
        assert!(!screen.contains('\u{1b}'), "no colour where there is no terminal: {screen:?}");
        for name in ["acme", "globex", "news", "LISTEN"] {
            assert!(!screen.contains(name), "{name} in {screen}");
        }
    });
}

#[test]
fn json_is_what_the_admin_listener_sends() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let shown = status(&stage.pgwarden, &["--json"]);
        assert_eq!(shown.status.code(), Some(0), "{}", shown.stderr);
        let mut printed: Value = serde_json::from_str(&shown.stderr).expect("JSON");
        let mut sent: Value = serde_json::from_str(&stage.pgwarden.admin("/status").1).expect("JSON");
        for moving in ["uptime_seconds", "unready"] {
            (printed[moving], sent[moving]) = (Value::Null, Value::Null);
        }
        assert_eq!(printed, sent);
    });
}

#[test]
fn the_admin_listener_is_the_one_of_the_configuration() {
    for_each_version(async |server| {
        let upstream = format!("{}?sslmode=disable", server.url_for("postgres", "", "postgres"));
        let file = "admin.token = \"env:ADMIN_TOKEN\"";
        let running = Pgwarden::builder()
            .upstream(&upstream)
            .env("PGWARDEN_AUTH", "trust")
            .env("ADMIN_TOKEN", "right")
            .file("pgwarden.toml", file)
            .argument("--config=pgwarden.toml")
            .start();
        let asking = |token: &str| {
            Pgwarden::builder()
                .upstream(&upstream)
                .env("PGWARDEN_AUTH", "trust")
                .env("PGWARDEN_ADMIN", &format!("127.0.0.1:{}", running.admin_port()))
                .env("ADMIN_TOKEN", token)
                .file("pgwarden.toml", file)
        };
        let exit = asking("right").env("PGWARDEN_CONFIG", "pgwarden.toml").run(&["status"]);
        assert_ends(&exit, 0, ", running, up ");
        let exit = asking("right").run(&["status", "--config", "pgwarden.toml"]);
        assert_ends(&exit, 0, ", running, up ");
        let exit = asking("wrong").run(&["status", "--config", "pgwarden.toml"]);
        assert_ends(&exit, 77, "demands a token, and has another one");
        assert!(!exit.stderr.contains("wrong"), "{}", exit.stderr);
        let exit = asking("right").run(&["status"]);
        assert_ends(&exit, 77, "demands a token, and none is configured here");
        let admin = format!("127.0.0.1:{}", running.admin_port());
        let exit = asking("right").run(&["status", "--admin", &admin, "--token", "env:ADMIN_TOKEN"]);
        assert_ends(&exit, 0, ", running, up ");
        let exit = asking("right").run(&["status", "--admin", &admin, "--token", "right"]);
        assert_ends(&exit, 64, "expected file:PATH or env:NAME");
        assert!(!exit.stderr.contains("right"), "{}", exit.stderr);
        let exit = asking("right").env("PGWARDEN_ADMIN", "off").run(&["status"]);
        assert_ends(&exit, 69, "admin.listen is off");
        let exit = asking("right").env("PGWARDEN_MODE", "strict").run(&["status"]);
        assert_ends(&exit, 64, "PGWARDEN_MODE");
    });
}

#[test]
fn when_nothing_answers_it_says_so_and_fails() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = nobody.local_addr().expect("an address").to_string();
    drop(nobody);
    for arguments in [&["status", "--admin", &address][..], &["status", "--watch", "--admin", &address]] {
        let exit = Pgwarden::builder().run(arguments);
        assert_ends(&exit, 69, &format!("pgwarden: nothing answers at {address}: "));
        assert!(exit.stderr.contains("Is pgwarden running there"), "{}", exit.stderr);
    }
    let exit = Pgwarden::builder().run(&["status", "--admin", "https://127.0.0.1:1"]);
    assert_ends(&exit, 64, "expected http://host:port or host:port");
    let exit = Pgwarden::builder().run(&["status", "--admin", &address, "--watch", "0"]);
    assert_ends(&exit, 2, "expected seconds from 0.1 to 3600");
}

#[test]
fn watching_goes_on_when_pgwarden_is_away_until_a_signal_ends_it() {
    for_each_version(async |server| {
        Tenants::load(server);
        let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
        for signal in [Signal::INT, Signal::TERM] {
            let stage = Tenants { server, pgwarden: Tenants::builder(&upstream).start() };
            let admin = format!("--admin=127.0.0.1:{}", stage.pgwarden.admin_port());
            let watching = Pgwarden::builder().start_command(&["status", "--watch", "0.1", &admin]);
            watching.until_logged(", running, up ", 2);
            let mut acme = stage.client("acme");
            acme.query("BEGIN");
            acme.query("SELECT 1");
            watching.until_logged(" 1 in a transaction, ", 0);
            drop(stage);
            watching.until_logged("pgwarden: nothing answers at ", 1);
            watching.signal(signal);
            assert_eq!(watching.wait_exit().code(), Some(0), "{}", watching.stderr());
            assert!(!watching.stderr().contains('\u{1b}'), "no terminal, no cursor");
        }
    });
}

#[test]
fn watching_as_json_is_one_object_on_each_line() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let admin = format!("--admin=127.0.0.1:{}", stage.pgwarden.admin_port());
        let watching = Pgwarden::builder().start_command(&["status", "--json", "--watch=0.1", &admin]);
        watching.until_logged("\n", 2);
        watching.signal(Signal::INT);
        assert_eq!(watching.wait_exit().code(), Some(0));
        for line in watching.stderr().lines() {
            let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(object["state"], "running");
        }
    });
}
