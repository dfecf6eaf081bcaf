//! The harness itself, against plain servers: what it promises to every other test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::Not;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::{
    Frontend, PgBouncer, Server, Version, Wire, client, for_each_version, psql, until, versions, wire,
};

#[test]
fn a_server_answers_in_the_version_asked_for() {
    for_each_version(async |server| {
        let client = server.connect().await;
        let found = client::column(&client, "SHOW server_version_num").await.expect("SHOW works");
        let number = found[0].as_deref().and_then(|number| number.parse::<u32>().ok());
        assert_eq!(number.map(|number| number / 10_000), Some(u32::from(server.version().0)));
        assert_eq!(server.psql("SELECT 1 + 1"), "2");
    });
}

#[test]
fn a_restarted_server_keeps_port_and_rows() {
    for_each_version(async |server| {
        let (url, before) = (server.url(), server.connect().await);
        before.batch_execute("CREATE TABLE kept AS SELECT 42 AS answer").await.expect("a table is made");
        server.restart();
        assert!(before.batch_execute("SELECT 1").await.is_err());
        assert_eq!(server.url(), url);
        assert_eq!(server.psql("TABLE kept"), "42");
    });
}

#[test]
fn a_crashed_server_recovers() {
    for_each_version(async |server| {
        server.psql("CREATE TABLE kept AS SELECT 42 AS answer");
        server.stop_immediate();
        assert!(client::try_connect(&server.url()).await.is_err());
        server.start_again();
        assert_eq!(server.psql("TABLE kept"), "42");
        assert!(server.log().contains("automatic recovery"));
    });
}

#[test]
fn settings_access_rules_and_the_log_are_the_tests_own() {
    for version in versions() {
        let server = Server::builder(version)
            .set("log_statement", "all")
            .set("app.motto", "it's fine")
            .access("host all guarded 127.0.0.1/32 scram-sha-256")
            .access("host all older 127.0.0.1/32 md5")
            .start();
        server.psql("CREATE ROLE guarded LOGIN PASSWORD 'open sesame'");
        server.psql("SET password_encryption = 'md5'; CREATE ROLE older LOGIN PASSWORD 'sesame'");
        assert_eq!(server.psql("SHOW app.motto"), "it's fine");
        assert!(server.log().contains("statement: SHOW app.motto"));
        for (user, password) in [("guarded", "open sesame"), ("older", "sesame")] {
            let mut wire = Wire::open(server.port(), user, password, "postgres");
            assert_eq!(wire.rows("SELECT current_user"), [[Some(user.to_owned())]]);
            let mut refused = Wire::connect(server.port());
            let error = refused.try_log_in("wrong", &[("user", user), ("database", "postgres")]);
            assert_eq!(error.expect_err("a wrong password").fields().code(), "28P01");
        }
    }
}

#[test]
fn the_protocol_can_be_spoken_by_hand() {
    for_each_version(async |server| {
        let mut wire = Wire::open(server.port(), "postgres", "", "postgres");
        assert_eq!(wire.parameter("server_encoding"), Some("UTF8"));
        let answer = wire.query("SELECT 1 AS one, NULL");
        assert_eq!(wire::tags(&answer), "TDCZ");
        assert_eq!(answer[0].columns(), ["one", "?column?"]);
        assert_eq!(answer[1].row(), [Some("1".to_owned()), None]);
        assert_eq!((answer[2].command().as_str(), answer[3].status()), ("SELECT 1", 'I'));

        let batch = Frontend::new().parse("s", "SELECT $1::int / $2::int", &[]).describe_statement("s");
        let batch = batch.bind("", "s", &[Some("6"), Some("2")]).execute("", 0).sync();
        wire.send(&batch.bind("", "s", &[Some("1"), Some("0")]).execute("", 0).sync());
        assert_eq!(wire.expect("1tT2DCZ")[4].row(), [Some("3".to_owned())]);
        // Constants are folded when Bind makes the plan: no BindComplete.
        let error = wire.expect("EZ")[0].fields();
        assert_eq!((error.severity(), error.code(), error.message()), ("ERROR", "22012", "division by zero"));
    });
}

#[test]
fn a_running_query_can_be_cancelled() {
    for_each_version(async |server| {
        let mut wire = Wire::open(server.port(), "postgres", "", "postgres");
        wire.send(&Frontend::new().query("SELECT pg_sleep(60)"));
        let active = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        until("the query runs", || (server.psql(active) == "1").then_some(()));
        wire.cancel();
        assert_eq!(wire.until_ready()[1].fields().code(), "57014");
    });
}

#[test]
fn tls_is_spoken_with_certificates_of_the_tests_own() {
    let authority = Authority::create();
    let identity = authority.server();
    for version in versions() {
        let server = Server::builder(version)
            .tls(&identity.certificate, &identity.key)
            .file("root.crt", authority.certificate())
            .set("ssl_ca_file", "root.crt")
            .access("hostssl all certain 127.0.0.1/32 cert")
            .start();
        server.psql("CREATE ROLE certain LOGIN");
        let mut wire = Wire::connect(server.port());
        wire.request_tls(&authority.client(Some(&authority.user("certain")), &[]));
        wire.log_in("certain", "", "postgres");
        assert_eq!(
            wire.rows("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"),
            [[Some("t".to_owned())]]
        );
        let verified = format!("{}?sslmode=verify-full&sslrootcert={}", server.url(), authority.path());
        assert!(psql(&verified, &["-c", "SELECT 1"]).status.success());
        if version >= Version(17) {
            let mut direct = Wire::connect(server.port());
            direct.start_tls(&authority.client(None, &["postgresql"])).expect("PostgreSQL 17 has direct TLS");
            direct.log_in("postgres", "", "postgres");
        }
    }
}

#[tokio::test]
async fn tests_share_a_server_and_have_databases_of_their_own() {
    let version = versions()[0];
    let server = Server::shared(version);
    assert_eq!(server.port(), Server::shared(version).port());
    let (one, two) = (server.database().await, server.database().await);
    one.connect().await.batch_execute("CREATE TABLE mine ()").await.expect("a table is made");
    let elsewhere = two.connect().await.batch_execute("TABLE mine").await;
    assert_eq!(client::sqlstate(&elsewhere.expect_err("another database")), "42P01");
}

#[test]
fn pgbouncer_can_stand_in_front_of_a_server() {
    let server = Server::start(versions()[0]);
    let pgbouncer = PgBouncer::start(&server, &["postgres"]);
    let output = psql(&pgbouncer.url("postgres", "postgres"), &["-c", "SHOW port"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        server.port().to_string(),
        "{}",
        pgbouncer.log()
    );
}

/// Runs itself as a process of its own, kills that, and looks for what it left.
#[test]
fn nothing_survives_a_killed_test() {
    const ROLE: &str = "HARNESS_TEST_ROLE";
    if std::env::var(ROLE).is_ok() {
        let server = Server::start(Version(15));
        println!("\nstarted {} {}", server.process_id(), server.directory().display());
        loop {
            std::thread::park();
        }
    }
    let mut child = Command::new(std::env::current_exe().expect("this executable has a path"));
    child.args(["--exact", "nothing_survives_a_killed_test", "--nocapture"]).env(ROLE, "victim");
    let mut child = child.stdout(Stdio::piped()).spawn().expect("a test can run itself");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let started = lines.find_map(|line| Some(line.strip_prefix("started ")?.to_owned()));
    let started = started.expect("it says which server it started");
    let (postmaster, directory) = started.split_once(' ').expect("an id and a directory");
    child.kill().expect("a child can be killed");
    child.wait().expect("a child can be waited for");

    let command_line = format!("/proc/{postmaster}/cmdline");
    until("the server is gone", || {
        fs::read(&command_line).is_ok_and(|line| !line.is_empty()).not().then_some(())
    });
    drop(Server::start(Version(15)));
    assert!(!Path::new(directory).exists(), "the next test process removes what a killed one left");
}

/// Not a limit, a figure to look at: `cargo nextest run -E 'test(how_long)' --no-capture`.
#[test]
fn how_long_a_server_takes() {
    for version in versions() {
        let start = Instant::now();
        let server = Server::start(version);
        let started = start.elapsed();
        drop(server);
        println!("PostgreSQL {version}: {started:?} to start, {:?} to stop", start.elapsed() - started);
    }
}
