//! What happens to clients when the server or their backend goes away, and to the server when pgwarden does.

use pgwarden_tests::tenants::{ACME, Tenants, error_code, run, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, Message, Server, Signal, Wire, for_each_version, until};

const ASLEEP: &str = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep'";
const PID: &str = "SELECT pg_backend_pid()";

fn stage<'a>(server: &'a Server, mode: &str, size: &str) -> Tenants<'a> {
    Tenants::start_with(server, |builder| {
        builder.env("PGWARDEN_POOL_MODE", mode).env("PGWARDEN_POOL_SIZE", size)
    })
}

/// Clients whose backends all lie idle in the pool.
fn idle_clients(stage: &Tenants<'_>, count: usize) -> Vec<Wire> {
    let mut clients: Vec<Wire> = (0..count).map(|_| stage.client("acme")).collect();
    for client in &mut clients {
        client.query("BEGIN");
        client.query("SELECT org()");
    }
    clients.iter_mut().for_each(|client| drop(client.query("COMMIT")));
    let open =
        stage.server.psql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state = 'idle'");
    assert!(open.parse::<usize>().is_ok_and(|open| open >= count), "{open} backends");
    clients
}

#[track_caller]
fn last_error(messages: &[Message]) -> (String, String) {
    let error = messages.iter().rfind(|message| message.tag == b'E');
    let fields = error.unwrap_or_else(|| panic!("no error: {messages:?}")).fields();
    (fields.severity().to_owned(), fields.code().to_owned())
}

#[test]
fn a_restart_of_the_server_under_idle_backends_is_not_noticed() {
    for_each_version(async |server| {
        let stage = stage(server, "transaction", "3");
        for crash in [true, false] {
            let mut clients = idle_clients(&stage, 3);
            if crash {
                server.stop_immediate();
            } else {
                server.stop_fast();
            }
            server.start_again();
            for client in &mut clients {
                assert_eq!(values(&client.query("SELECT org()")), [ACME]);
                client.send(&run("SELECT org()").sync());
                assert_eq!(values(&client.until_ready()), [ACME]);
            }
        }
    });
}

#[test]
fn prepared_statements_survive_a_restart_of_the_server() {
    for_each_version(async |server| {
        let stage = stage(server, "transaction", "1");
        let mut acme = stage.client("acme");
        acme.send(&Frontend::new().parse("mine", "SELECT org()", &[]).sync());
        acme.until_ready();
        server.restart();
        for _ in 0..2 {
            acme.send(&Frontend::new().bind("", "mine", &[]).execute("", 0).sync());
            assert_eq!(values(&acme.until_ready()), [ACME]);
        }
    });
}

#[test]
fn a_transaction_while_the_server_is_away_is_57p03_and_the_next_login_works_when_it_is_back() {
    for_each_version(async |server| {
        let stage = stage(server, "transaction", "2");
        let mut acme = stage.client("acme");
        acme.query("SELECT 1");
        server.stop_fast();
        acme.send(&Frontend::new().query("SELECT org()"));
        assert_eq!(last_error(&acme.until_closed()), ("FATAL".into(), "57P03".into()));
        server.start_again();
        assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
    });
}

#[test]
fn an_idle_backend_that_is_terminated_is_replaced() {
    for_each_version(async |server| {
        let stage = stage(server, "transaction", "1");
        let mut acme = stage.client("acme");
        for _ in 0..5 {
            let pid = values(&acme.query(PID));
            server.terminate(&format!("pid = {}", pid[0]));
            assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
            assert_ne!(values(&acme.query(PID)), pid);
        }
    });
}

#[test]
fn a_backend_that_is_terminated_takes_its_client_along_and_nobody_else() {
    for_each_version(async |server| {
        for (round, mode) in ["transaction", "session"].into_iter().enumerate() {
            if round == 0 {
                Tenants::load(server);
            }
            let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
            let pgwarden = Tenants::builder(&upstream).env("PGWARDEN_POOL_MODE", mode).start();
            let stage = Tenants { server, pgwarden };
            // In a transaction, between two statements.
            let mut acme = stage.client("acme");
            acme.query("BEGIN");
            acme.query("INSERT INTO notes VALUES ('lost')");
            server.terminate("usename = 'app'");
            assert_eq!(last_error(&acme.until_closed()), ("FATAL".into(), "57P01".into()), "{mode}");
            // In the middle of a statement, simple and extended.
            for messages in [Frontend::new().query("SELECT pg_sleep(60)"), run("SELECT pg_sleep(60)").sync()]
            {
                let mut acme = stage.client("acme");
                acme.send(&messages);
                until("it runs", || (server.psql(ASLEEP) == "1").then_some(()));
                server.terminate("usename = 'app'");
                assert_eq!(last_error(&acme.until_closed()), ("FATAL".into(), "57P01".into()), "{mode}");
            }
            assert_eq!(
                values(&stage.client("acme").query("SELECT org()")),
                [ACME],
                "{mode}: the next client"
            );
            assert_eq!(server.psql("SELECT count(*) FROM notes"), "0");
            assert_eq!(stage.pgwarden.metric("pgwarden_desyncs_total"), Some(0.0));
        }
    });
}

#[test]
fn a_crash_in_the_middle_of_a_statement_ends_the_client_with_an_error() {
    for_each_version(async |server| {
        let stage = stage(server, "transaction", "1");
        let mut acme = stage.client("acme");
        acme.send(&Frontend::new().query("SELECT pg_sleep(60)"));
        until("it runs", || (server.psql(ASLEEP) == "1").then_some(()));
        server.stop_immediate();
        let (severity, code) = last_error(&acme.until_closed());
        assert_eq!(severity, "FATAL");
        assert!(["08006", "57P01", "57P02"].contains(&code.as_str()), "{code}");
        server.start_again();
        assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
        assert_eq!(stage.pgwarden.metric("pgwarden_desyncs_total"), Some(0.0));
    });
}

#[test]
fn a_client_that_dies_in_mid_query_leaves_no_query_and_no_taken_slot_behind() {
    for_each_version(async |server| {
        Tenants::load(server);
        for mode in ["transaction", "session"] {
            let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
            let pgwarden = Tenants::builder(&upstream).env("PGWARDEN_POOL_MODE", mode).start();
            let stage = Tenants { server, pgwarden };
            for messages in [
                Frontend::new().query("SELECT pg_sleep(600)"),
                run("SELECT pg_sleep(600)").sync(),
                run("SELECT pg_sleep(600)").flush(),
                Frontend::new().query("BEGIN").query("SELECT pg_sleep(600)"),
                Frontend::new().query("DO $$ BEGIN PERFORM pg_sleep(600); END $$"),
            ] {
                let mut acme = stage.client("acme");
                acme.send(&messages);
                until("it runs", || (server.psql(ASLEEP) == "1").then_some(()));
                drop(acme);
                until("it is cancelled", || (server.psql(ASLEEP) == "0").then_some(()));
                assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME], "{mode}");
            }
            until("no client is counted", || {
                (stage.pgwarden.metric("pgwarden_clients") == Some(0.0)).then_some(())
            });
        }
    });
}

#[test]
fn a_client_that_leaves_while_it_waits_for_a_backend_does_not_wait_on() {
    for_each_version(async |server| {
        let stage = stage(server, "transaction", "1");
        let waiting = |count| {
            let metric = || stage.pgwarden.metric("pgwarden_waiting_clients");
            until(&format!("{count} wait"), || (metric() == Some(count)).then_some(()));
        };
        let (mut acme, mut waiter) = (stage.client("acme"), stage.client("acme"));
        acme.query("BEGIN");
        acme.query("SELECT 1");
        waiter.send(&Frontend::new().query("INSERT INTO notes VALUES ('too late')"));
        waiting(1.0);
        drop(waiter);
        waiting(0.0);
        acme.query("COMMIT");
        assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
        assert_eq!(server.psql("SELECT count(*) FROM notes"), "0", "nobody was there to ask for it any more");
    });
}

#[test]
fn a_client_that_leaves_while_its_login_waits_for_a_backend_does_not_wait_on() {
    for_each_version(async |server| {
        let stage = stage(server, "session", "1");
        let waiting = |count| {
            let metric = || stage.pgwarden.metric("pgwarden_waiting_clients");
            until(&format!("{count} wait"), || (metric() == Some(count)).then_some(()));
        };
        let acme = stage.client("acme");
        let mut waiter = Wire::connect(stage.pgwarden.port());
        waiter.startup(&[("user", "acme"), ("database", "postgres")]);
        waiting(1.0);
        drop(waiter);
        waiting(0.0);
        drop(acme);
        assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
    });
}

/// Over and over: the backend becomes free at the moment at which the one that waits for it hangs up.
#[test]
fn a_backend_given_to_a_client_that_has_just_left_is_not_lost() {
    for_each_version(async |server| {
        let stage = stage(server, "transaction", "1");
        let mut acme = stage.client("acme");
        for round in 0..100 {
            let mut waiter = stage.client("globex");
            acme.query("BEGIN");
            acme.query("SELECT 1");
            waiter.send(&Frontend::new().query("SELECT org()"));
            if round % 2 == 0 {
                let waiting = || stage.pgwarden.metric("pgwarden_waiting_clients") == Some(1.0);
                until("it waits", || waiting().then_some(()));
            }
            let leaving = std::thread::spawn(move || drop(waiter));
            assert_eq!(acme.query("COMMIT")[0].command(), "COMMIT");
            assert_eq!(values(&acme.query("SELECT org()")), [ACME], "round {round}");
            leaving.join().expect("a client can leave");
        }
        let backends = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
        until("one backend, as before", || (server.psql(backends) == "1").then_some(()));
        until("one client, as before", || {
            (stage.pgwarden.metric("pgwarden_clients") == Some(1.0)).then_some(())
        });
        assert_eq!(stage.pgwarden.metric("pgwarden_waiting_clients"), Some(0.0));
    });
}

#[test]
fn a_killed_pgwarden_leaves_no_transaction_open() {
    for_each_version(async |server| {
        for mode in ["transaction", "session"] {
            if mode == "transaction" {
                Tenants::load(server);
            }
            let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
            let pgwarden = Tenants::builder(&upstream).env("PGWARDEN_POOL_MODE", mode).start();
            let stage = Tenants { server, pgwarden };
            let mut acme = stage.client("acme");
            acme.query("BEGIN");
            acme.query("INSERT INTO notes VALUES ('lost')");
            acme.query("LOCK TABLE notes IN ACCESS EXCLUSIVE MODE");
            stage.pgwarden.signal(Signal::KILL);
            stage.pgwarden.wait_exit();
            acme.until_closed();
            let backends = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
            until("the backends end", || (server.psql(backends) == "0").then_some(()));
            assert_eq!(server.psql("SELECT count(*) FROM notes"), "0");
        }
    });
}

#[test]
fn in_session_pooling_the_key_carries_the_servers_process_id_and_a_secret_of_pgwardens_own() {
    for_each_version(async |server| {
        let stage = stage(server, "session", "2");
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        for wire in [&mut acme, &mut globex] {
            let pid = wire.key.0.to_string();
            assert_eq!(values(&wire.query(PID)), [pid.as_str()]);
            let known =
                format!("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND pid = {pid}");
            assert_eq!(server.psql(&known), "1");
        }
        assert_ne!(acme.key.0, globex.key.0);
        // The server takes no cancel with that secret: it is pgwarden's, for pgwarden.
        let mut blocker = Wire::open(server.port(), "postgres", "", "postgres");
        blocker.query("SELECT pg_advisory_lock(7)");
        acme.send(&Frontend::new().query("SELECT pg_advisory_xact_lock(7)"));
        let blocked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        until("it runs", || (server.psql(blocked) == "1").then_some(()));
        let mut other = Wire::connect(server.port());
        other.send(&Frontend::new().cancel(acme.key.0, &acme.key.1));
        other.until_closed();
        blocker.query("SELECT pg_advisory_unlock(7)");
        assert_eq!(error_code(&acme.until_ready()), "");
    });
}

#[test]
fn in_session_pooling_nothing_of_a_client_reaches_the_next_one() {
    for_each_version(async |server| {
        let stage = stage(server, "session", "1");
        let mut acme = stage.client("acme");
        for sql in [
            "CREATE TEMP TABLE mine AS SELECT 1",
            "SET work_mem = '7MB'",
            "SET TimeZone = 'Europe/Rome'",
            "PREPARE mine AS SELECT 1",
            "LISTEN news",
            "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
            "SELECT pg_advisory_lock(1)",
            "SELECT poison('left behind')",
            "BEGIN",
        ] {
            assert_eq!(error_code(&acme.query(sql)), "", "{sql}");
        }
        let pid = acme.key.0;
        drop(acme);
        let mut next = stage.client("nobody");
        assert_ne!(next.key.0, pid);
        assert_eq!(tags(&next.query("SELECT org()")), "TDCZ");
        assert_eq!(values(&next.query("SELECT org()")), [""]);
        assert_eq!(values(&next.query("SHOW work_mem")), ["4MB"]);
        assert_eq!(values(&next.query("SHOW TimeZone")), ["UTC"]);
        assert_eq!(
            values(&next.query("SELECT count(*) FROM pg_prepared_statements WHERE name = 'mine'")),
            ["0"]
        );
        assert_eq!(values(&next.query("SELECT count(*) FROM pg_listening_channels()")), ["0"]);
        assert_eq!(values(&next.query("SELECT count(*) FROM pg_cursors WHERE name = 'mine'")), ["0"]);
        assert_eq!(values(&next.query("SELECT pg_try_advisory_lock(1)")), ["t"]);
        assert_eq!(values(&next.query("SELECT to_regclass('pg_temp.mine') IS NULL")), ["t"]);
    });
}

#[test]
fn a_client_that_says_goodbye_in_a_block_leaves_no_complaint_in_the_servers_log() {
    for_each_version(async |server| {
        Tenants::load(server);
        let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
        for mode in ["transaction", "session"] {
            let pgwarden = Tenants::builder(&upstream).env("PGWARDEN_POOL_MODE", mode).start();
            let stage = Tenants { server, pgwarden };
            let mark = stage.mark();
            let mut acme = stage.client("acme");
            acme.query("BEGIN");
            assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
            acme.send(&Frontend::new().terminate());
            until("the backend is gone", || {
                (stage.pgwarden.metric("pgwarden_backends") == Some(0.0)).then_some(())
            });
            until("the server is rid of it", || {
                let left = server.psql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'");
                (left == "0").then_some(())
            });
            let log = &server.log()[mark..];
            assert!(!log.contains("unexpected EOF"), "{mode}: {log}");
        }
    });
}
