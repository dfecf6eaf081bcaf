//! SIGHUP and the backends: those that were opened under other settings are closed as they become idle, and sessions
//! go on with new ones.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use pgwarden_tests::reload::{OK, TRUST, client, org, reload, rewrite, told, upstream as url, write};
use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, value, values};
use pgwarden_tests::{DEADLINE, Frontend, Pgwarden, Server, Wire, for_each_version, until};

const CLOSED: &str = "pgwarden_backends_closed_total{reason=\"reloaded\"}";

fn backend(wire: &mut Wire) -> Option<String> {
    value(&wire.query("SELECT pg_backend_pid()"))
}

fn closed(pgwarden: &Pgwarden) -> f64 {
    pgwarden.metric(CLOSED).expect("it is counted")
}

#[test]
fn after_a_change_of_the_password_old_backends_go_when_idle_and_sessions_get_new_ones() {
    for_each_version(async |server| {
        let asking =
            Server::builder(server.version()).access("host all app 127.0.0.1/32 scram-sha-256").start();
        Tenants::load(&asking);
        asking.psql("ALTER ROLE app PASSWORD 'old'");
        let more = format!("{TRUST}\nupstream.password = \"file:{{dir}}/password\"\npool.size = 2");
        let pgwarden = told(&url(&asking), &more).file("password", "old\n").start();
        let (mut idle, mut busy) = (client(&pgwarden, "acme", ""), client(&pgwarden, "globex", ""));
        busy.query("BEGIN");
        let held = backend(&mut busy);
        let shared = backend(&mut idle);
        asking.psql("ALTER ROLE app PASSWORD 'new'");
        write(&pgwarden, "password", "new\n");
        reload(&pgwarden, OK);
        until("the idle one is closed", || (closed(&pgwarden) == 1.0).then_some(()));
        assert_ne!(backend(&mut idle), shared);
        assert_eq!(org(&mut idle), [ACME]);
        assert_eq!(backend(&mut busy), held, "a transaction keeps its backend");
        assert_eq!(busy.query("COMMIT")[0].command(), "COMMIT");
        until("it is closed behind it", || (closed(&pgwarden) == 2.0).then_some(()));
        assert_eq!(org(&mut busy), [GLOBEX]);
    });
}

#[test]
fn nothing_is_closed_where_nothing_about_the_server_has_changed() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = told(&url(server), &format!("{TRUST}\npool.size = 1")).start();
        let mut acme = client(&pgwarden, "acme", "");
        let before = backend(&mut acme);
        reload(&pgwarden, OK);
        rewrite(&pgwarden, &url(server), &format!("{TRUST}\npool.size = 1\npool.idle_timeout = \"1h\""));
        reload(&pgwarden, OK);
        assert_eq!(backend(&mut acme), before);
        assert_eq!(backend(&mut client(&pgwarden, "globex", "")), before);
        assert_eq!(closed(&pgwarden), 0.0);
    });
}

#[test]
fn sessions_follow_to_another_server_between_transactions() {
    for_each_version(async |server| {
        let other = Server::start(server.version());
        for one in [server, &other] {
            Tenants::load(one);
        }
        let pgwarden = told(&url(server), TRUST).start();
        let (mut idle, mut busy) = (client(&pgwarden, "acme", ""), client(&pgwarden, "globex", ""));
        let port = |wire: &mut Wire| value(&wire.query("SELECT inet_server_port()")).expect("it has one");
        busy.query("BEGIN");
        assert_eq!(port(&mut busy), server.port().to_string());
        busy.query("DECLARE c CURSOR FOR SELECT 1");
        rewrite(&pgwarden, &url(&other), TRUST);
        reload(&pgwarden, OK);
        assert_eq!(port(&mut idle), other.port().to_string());
        assert_eq!(org(&mut idle), [ACME]);
        assert_eq!(port(&mut client(&pgwarden, "acme", "")), other.port().to_string());
        assert_eq!(port(&mut busy), server.port().to_string());
        // A cancel goes to the server that the client is on.
        busy.send(&Frontend::new().query("SELECT pg_sleep(3600)"));
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        until("it sleeps", || (server.psql(asleep) == "1").then_some(()));
        busy.cancel();
        assert_eq!(error_code(&busy.until_ready()), "57014");
        busy.query("ROLLBACK");
        assert_eq!(port(&mut busy), other.port().to_string());
        until("the first server is left", || {
            let left = server.psql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'");
            (left == "0").then_some(())
        });
    });
}

#[test]
fn another_login_on_the_server_serves_old_and_new_sessions() {
    for_each_version(async |server| {
        Tenants::load(server);
        server.psql("CREATE ROLE second LOGIN IN ROLE tenants");
        let pgwarden = told(&url(server), &format!("{TRUST}\npool.size = 1")).start();
        let mut before = client(&pgwarden, "acme", "");
        assert_eq!(values(&before.query("SELECT current_user")), ["app"]);
        let second = format!("{}?sslmode=disable", server.url_for("second", "", "postgres"));
        rewrite(&pgwarden, &second, &format!("{TRUST}\npool.size = 1"));
        reload(&pgwarden, OK);
        let mut after = client(&pgwarden, "globex", "");
        for _ in 0..2 {
            assert_eq!(values(&before.query("SELECT current_user || org()")), [format!("second{ACME}")]);
            assert_eq!(values(&after.query("SELECT current_user || org()")), [format!("second{GLOBEX}")]);
        }
        assert_eq!(server.psql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'second'"), "1");
    });
}

#[test]
fn who_waits_for_a_backend_gets_it_from_a_larger_pool_and_a_smaller_one_shrinks() {
    for_each_version(async |server| {
        Tenants::load(server);
        let size = |size: u32| format!("{TRUST}\npool.size = {size}");
        let pgwarden = told(&url(server), &size(1)).start();
        let (mut first, mut second) = (client(&pgwarden, "acme", ""), client(&pgwarden, "globex", ""));
        first.query("BEGIN");
        first.query("SELECT 1");
        second.send(&Frontend::new().query("BEGIN").query("SELECT org()"));
        until("it waits", || (pgwarden.metric("pgwarden_waiting_clients") == Some(1.0)).then_some(()));
        rewrite(&pgwarden, &url(server), &size(2));
        reload(&pgwarden, OK);
        second.until_ready();
        assert_eq!(values(&second.until_ready()), [GLOBEX]);
        rewrite(&pgwarden, &url(server), &size(1));
        reload(&pgwarden, OK);
        assert_eq!(pgwarden.metric("pgwarden_backends"), Some(2.0));
        second.query("COMMIT");
        until("one is closed", || (pgwarden.metric("pgwarden_backends") == Some(1.0)).then_some(()));
        second.send(&Frontend::new().query("SELECT org()"));
        until("it waits again", || (pgwarden.metric("pgwarden_waiting_clients") == Some(1.0)).then_some(()));
        first.query("COMMIT");
        assert_eq!(values(&second.until_ready()), [GLOBEX]);
    });
}

#[test]
fn sessions_with_other_variables_share_no_backend() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = told(&url(server), &format!("{TRUST}\npool.size = 1")).start();
        let mut before = client(&pgwarden, "acme", "");
        assert_eq!(org(&mut before), [ACME]);
        rewrite(&pgwarden, &url(server), TRUST);
        let file = pgwarden.directory().join("pgwarden.toml");
        let text = std::fs::read_to_string(&file).expect("it is there");
        let variables = "app.other=literal:x, app.current_org_id=tenant:uuid";
        let text = text.replace("app.current_org_id=tenant:uuid", variables);
        std::fs::write(&file, text).expect("it can be written");
        reload(&pgwarden, OK);
        let mut after = client(&pgwarden, "globex", "");
        let both = "SELECT coalesce(current_setting('app.other', true), 'none') || org()";
        for _ in 0..3 {
            assert_eq!(values(&before.query(both)), [format!("none{ACME}")]);
            assert_eq!(values(&after.query(both)), [format!("x{GLOBEX}")]);
        }
    });
}

/// Asks on one connection and on new ones, until `done`.
fn keep_asking(pgwarden: &Pgwarden, user: &str, done: &AtomicBool) {
    let expected = if user == "acme" { ACME } else { GLOBEX };
    let (start, mut lasting) = (Instant::now(), client(pgwarden, user, ""));
    while !done.load(Ordering::Relaxed) && start.elapsed() < DEADLINE {
        assert_eq!(org(&mut lasting), [expected]);
        assert_eq!(org(&mut client(pgwarden, user, "")), [expected]);
    }
}

#[test]
fn nobody_notices_reloads_while_statements_run() {
    for_each_version(async |server| {
        Tenants::load(server);
        let size = |size: u32| format!("{TRUST}\npool.size = {size}");
        let pgwarden = told(&url(server), &size(2)).start();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for user in ["acme", "globex", "acme", "globex"] {
                let (pgwarden, done) = (&pgwarden, &done);
                scope.spawn(move || keep_asking(pgwarden, user, done));
            }
            for round in 0..10 {
                // The one server under two addresses, so that each reload replaces every backend.
                let host = if round % 2 == 0 { "localhost" } else { "127.0.0.1" };
                rewrite(&pgwarden, &url(server).replace("127.0.0.1", host), &size(1 + round % 3));
                reload(&pgwarden, OK);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(closed(&pgwarden) > 0.0);
        assert_eq!(pgwarden.metric("pgwarden_desyncs_total"), Some(0.0));
    });
}

#[test]
fn more_and_fewer_backends_of_all_pools_together_take_effect_at_once() {
    for_each_version(async |server| {
        Tenants::load(server);
        server.psql("CREATE DATABASE other");
        let most = |most: u32| format!("{TRUST}\nupstream.max_backends = {most}");
        let pgwarden = told(&url(server), &most(2)).start();
        let open = |database: &str| Wire::open(pgwarden.port(), "acme", "", database);
        // Whoever comes first to a database waits for a backend before it is let in.
        let mut other = open("other");
        let (mut one, mut two) = (open("postgres"), open("postgres"));
        for wire in [&mut one, &mut two] {
            wire.query("BEGIN");
            assert_eq!(org(wire), [ACME]);
        }
        other.send(&Frontend::new().query("BEGIN").query("SELECT current_database()"));
        until("it waits", || (pgwarden.metric("pgwarden_waiting_clients") == Some(1.0)).then_some(()));
        rewrite(&pgwarden, &url(server), &most(3));
        reload(&pgwarden, OK);
        other.until_ready();
        assert_eq!(values(&other.until_ready()), ["other"]);
        assert_eq!(pgwarden.metric("pgwarden_backends"), Some(3.0));
        rewrite(&pgwarden, &url(server), &most(1));
        reload(&pgwarden, OK);
        one.query("COMMIT");
        other.query("COMMIT");
        until("two are closed", || (pgwarden.metric("pgwarden_backends") == Some(1.0)).then_some(()));
        other.send(&Frontend::new().query("SELECT current_database()"));
        until("it waits again", || (pgwarden.metric("pgwarden_waiting_clients") == Some(1.0)).then_some(()));
        two.query("COMMIT");
        assert_eq!(values(&other.until_ready()), ["other"]);
    });
}

#[test]
fn a_pool_that_may_be_larger_gets_what_idles_in_another() {
    for_each_version(async |server| {
        Tenants::load(server);
        server.psql("CREATE DATABASE other");
        let size = |size: u32| format!("{TRUST}\nupstream.max_backends = 2\npool.size = {size}");
        let pgwarden = told(&url(server), &size(1)).start();
        let open = |database: &str| Wire::open(pgwarden.port(), "acme", "", database);
        let (mut busy, mut waiting, mut other) = (open("postgres"), open("postgres"), open("other"));
        other.query("SELECT 1");
        busy.query("BEGIN");
        assert_eq!(org(&mut busy), [ACME]);
        waiting.send(&Frontend::new().query("SELECT org()"));
        until("it waits", || (pgwarden.metric("pgwarden_waiting_clients") == Some(1.0)).then_some(()));
        rewrite(&pgwarden, &url(server), &size(2));
        reload(&pgwarden, OK);
        assert_eq!(values(&waiting.until_ready()), [ACME]);
    });
}
