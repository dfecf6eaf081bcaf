//! A server that is away, goes away or comes back, and clients that vanish: errors say so, and afterwards everything
//! works again without a restart.

use std::net::{TcpListener, TcpStream};

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, run, values};
use pgwarden_tests::wire::{Fields, PROTOCOL_3_0};
use pgwarden_tests::{Frontend, Pgwarden, Server, Signal, Wire, for_each_version, free_port, until};

const LOGIN: [(&str, &str); 2] = [("user", "acme"), ("database", "postgres")];

/// The error that a login ends with.
#[track_caller]
fn refused_login(pgwarden: &Pgwarden, parameters: &[(&str, &str)]) -> Fields {
    Wire::connect(pgwarden.port()).fatal(&Frontend::new().startup(PROTOCOL_3_0, parameters))
}

#[track_caller]
fn assert_unreachable(error: &Fields) {
    assert_eq!((error.severity(), error.code()), ("FATAL", "57P03"), "{error}");
    assert_eq!(error.message(), "the database server cannot be reached");
    assert!(!error.detail().is_empty() && !error.hint().is_empty(), "{error}");
    assert!(!error.to_string().contains("127.0.0.1"), "addresses are for the log: {error}");
}

#[test]
fn a_server_that_is_away_fails_logins_and_transactions_until_it_is_back() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut idle = stage.client("acme");
        idle.rows("SELECT 1");
        let mut other = stage.client("acme");
        server.stop_fast();
        until("pgwarden sees that its backend is gone", || {
            (stage.pgwarden.metric("pgwarden_backends") == Some(0.0)).then_some(())
        });
        assert_unreachable(&idle.fatal(&Frontend::new().query("SELECT org()")));
        assert_unreachable(&other.fatal(&run("SELECT org()").sync()));
        // What the server says about itself is known; a setting that nobody had yet is not.
        let asks = [("user", "acme"), ("database", "postgres"), ("work_mem", "7MB")];
        assert_unreachable(&refused_login(&stage.pgwarden, &asks));
        assert_unreachable(&refused_login(&stage.pgwarden, &[("user", "acme"), ("database", "template1")]));
        stage.pgwarden.until_logged("no connection to the server", 0);
        assert_eq!(stage.pgwarden.admin("/readyz").0, 503);
        server.start_again();
        assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
        assert_eq!(stage.pgwarden.admin("/readyz").0, 200);
    });
}

#[test]
fn a_client_that_stays_connected_survives_a_restart_between_its_transactions() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        acme.send(
            &Frontend::new().parse("kept", "SELECT org()", &[]).bind("", "kept", &[]).execute("", 0).sync(),
        );
        assert_eq!(values(&acme.until_ready()), [ACME]);
        globex.query("SET TimeZone = 'Asia/Tokyo'");
        server.restart();
        acme.send(&Frontend::new().bind("", "kept", &[]).execute("", 0).sync());
        assert_eq!(values(&acme.until_ready()), [ACME]);
        assert_eq!(values(&globex.query("SELECT org()")), [GLOBEX]);
        assert_eq!(values(&globex.query("SHOW TimeZone")), ["Asia/Tokyo"]);
    });
}

#[test]
fn a_server_that_shuts_down_in_a_transaction_says_so_itself() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.query("BEGIN; INSERT INTO notes VALUES ('never')");
        server.stop_fast();
        let end = acme.ended();
        assert_eq!(error_code(&end), "57P01", "{end:?}");
        server.start_again();
        let mut acme = stage.client("acme");
        assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
        assert_eq!(values(&acme.query("SELECT count(*) FROM notes")), ["0"]);
    });
}

/// Kills the only server process in this state, as the kernel does when memory runs out, and waits until the server
/// has recovered: it ends all sessions for it.
fn kill_backend(server: &Server, state: &str) {
    let found =
        server.psql(&format!("SELECT pid FROM pg_stat_activity WHERE usename = 'app' AND state = '{state}'"));
    let pid = found.parse().unwrap_or_else(|_| panic!("one backend is {state}: {found:?}"));
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    let starts = || server.log().matches("ready to accept connections").count();
    let before = starts();
    rustix::process::kill_process(pid, Signal::KILL).expect("it runs");
    until("the server has recovered", || (starts() > before).then_some(()));
}

/// The error is the last thing said. The server may have said a warning of its own before.
#[track_caller]
fn assert_lost(mut wire: Wire) {
    let end = wire.ended();
    assert_eq!(error_code(&end), "08006", "{end:?}");
    let error = end.last().expect("an error").fields();
    assert_eq!(error.severity(), "FATAL", "{end:?}");
    assert_eq!(error.message(), "the connection to the database server was lost");
    assert!(error.detail().contains("not known whether"), "{error}");
    assert!(!error.hint().is_empty());
}

#[test]
fn a_server_that_is_lost_in_a_transaction_is_said_to_be_lost() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut in_block = stage.client("acme");
        in_block.query("BEGIN; INSERT INTO notes VALUES ('never')");
        kill_backend(server, "idle in transaction");
        assert_lost(in_block);
        assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX]);

        let mut in_query = stage.client("acme");
        in_query.send(&Frontend::new().query("SELECT pg_sleep(60)"));
        until("it runs", || {
            (server.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1")
                .then_some(())
        });
        kill_backend(server, "active");
        assert_lost(in_query);
        assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX]);
        assert_eq!(server.psql("SELECT count(*) FROM notes"), "0");
    });
}

#[test]
fn a_row_that_the_server_could_not_finish_is_not_filled_up_with_an_error() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.send(&Frontend::new().query("SELECT repeat('x', 30000000)"));
        acme.expect("T");
        let begun = acme.receive_bytes(1_000_000);
        kill_backend(server, "active");
        let rest = acme.rest();
        let of_the_row = &rest[..rest.len().min(30_000_000 + 11 - begun.len())];
        assert!(rest.len() < 30_000_000 + 11 - begun.len(), "the row was to be cut off");
        let foreign = of_the_row.iter().position(|byte| *byte != b'x');
        let foreign = foreign.map(|at| of_the_row[at..].escape_ascii().to_string());
        assert_eq!(foreign, None, "inside of the row");
    });
}

#[test]
fn a_server_that_does_not_answer_or_is_none_is_unreachable() {
    // Accepts, says nothing. Takes connections and closes them. Listens nowhere.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent_port = silent.local_addr().expect("bound").port();
    let closing = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closing_port = closing.local_addr().expect("bound").port();
    std::thread::spawn(move || closing.incoming().for_each(drop));
    for port in [silent_port, closing_port, free_port()] {
        let upstream = format!("postgres://app@127.0.0.1:{port}/postgres?sslmode=disable");
        let limit = "[upstream]\nconnect_timeout = \"500ms\"\n";
        let pgwarden = Tenants::builder(&upstream).config(limit).start();
        assert_unreachable(&refused_login(&pgwarden, &LOGIN));
        assert_eq!(pgwarden.admin("/readyz").0, 503);
        pgwarden.until_logged("no connection to the server", 0);
    }
}

#[test]
fn a_database_that_does_not_exist_is_the_clients_mistake() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let error = refused_login(&stage.pgwarden, &[("user", "acme"), ("database", "nowhere")]);
        assert_eq!((error.code(), error.message()), ("3D000", "database \"nowhere\" does not exist"));
        assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
    });
}

#[test]
fn a_client_killed_in_the_middle_of_its_query_leaves_the_backend_to_the_next() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        let insert = "INSERT INTO notes SELECT 'never' FROM pg_sleep(3600)";
        for form in [Frontend::new().query(insert), run(insert).sync()] {
            for begin in ["SELECT 1", "BEGIN"] {
                let mut acme = stage.client("acme");
                acme.query(begin);
                acme.send(&form);
                until("the statement runs", || (server.psql(asleep) == "1").then_some(()));
                drop(acme);
                let mut globex = stage.client("globex");
                assert_eq!(values(&globex.query("SELECT org()")), [GLOBEX]);
                until("nobody sleeps on", || (server.psql(asleep) == "0").then_some(()));
                assert_eq!(values(&globex.query("SELECT count(*) FROM notes")), ["0"]);
            }
        }
        assert_eq!(stage.pgwarden.metric("pgwarden_desyncs_total"), Some(0.0));
    });
}

#[test]
fn a_client_that_reads_nothing_of_a_large_result_and_goes_leaves_the_backend_to_the_next() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.send(&Frontend::new().query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)"));
        acme.expect("TD");
        drop(acme);
        assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX]);
    });
}

#[test]
fn a_client_that_stops_sending_still_reads_nothing_of_others() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.query("BEGIN; INSERT INTO notes VALUES ('never')");
        acme.close_sending();
        assert_eq!(acme.ended(), []);
        assert_eq!(values(&stage.client("globex").query("SELECT count(*) FROM notes")), ["0"]);
    });
}

#[test]
fn connections_that_say_nothing_at_all_leave_nothing() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let silent: Vec<_> = (0..50)
            .map(|_| TcpStream::connect(("127.0.0.1", stage.pgwarden.port())).expect("a connection"))
            .collect();
        assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX]);
        drop(silent);
        until("all are gone", || (stage.pgwarden.metric("pgwarden_clients") == Some(0.0)).then_some(()));
    });
}
