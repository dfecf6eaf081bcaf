//! auth.query when the answer is none, or does not come: the log says why, and a client reads nothing about anybody.

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::reload::{log_in, told, upstream};
use pgwarden_tests::tenants::{Tenants, values};
use pgwarden_tests::{PgBouncer, Pgwarden, PgwardenBuilder, Relay, Server, until, versions};

fn server() -> Server {
    let server = Server::builder(versions()[0]).start();
    prepare(&server);
    server
}

fn prepare(server: &Server) {
    Tenants::load(server);
    server.psql("CREATE ROLE warden LOGIN; GRANT SELECT ON pg_authid TO warden");
    server.psql("SET password_encryption = 'scram-sha-256'; ALTER ROLE acme PASSWORD 'hunter2'");
}

fn asking(upstream: &str, more: &str) -> PgwardenBuilder {
    let text =
        format!("auth.method = \"scram-sha-256\"\n[auth.query]\nuser = \"warden\"\nttl = \"0s\"\n{more}");
    told(upstream, &text)
}

#[track_caller]
fn refused(pgwarden: &Pgwarden) -> (String, String) {
    match log_in(pgwarden, "acme", "hunter2") {
        Ok(_) => panic!("acme got in"),
        Err(error) => (error.code().to_owned(), error.message().to_owned()),
    }
}

const WRONG: &str = "password authentication failed for user \"acme\"";
const UNASKED: &str = "pgwarden could not ask the database server who may log in";
const UNREACHED: &str = "the database server cannot be reached";

#[test]
fn an_answer_that_cannot_be_used_is_named_in_the_log_and_reads_like_a_wrong_password() {
    let server = server();
    for (sql, reason) in [
        ("SELECT rolpassword FROM pg_authid WHERE rolname = $1 OR rolname = 'app'", "more than one row"),
        ("SELECT 'globex', rolpassword FROM pg_authid WHERE rolname = $1", "is not the user's name"),
        ("SELECT NULL, rolpassword FROM pg_authid WHERE rolname = $1", "is not the user's name"),
        (
            "SELECT rolname, rolpassword, 'soon' FROM pg_authid WHERE rolname = $1",
            "is not a number of seconds",
        ),
        ("SELECT 1, 2, 3, 4 WHERE $1 <> ''", "more than three"),
        ("SELECT 'SCRAM-SHA-256$hunter2' WHERE $1 <> ''", "starts like a SCRAM verifier"),
        // What is no secret at all needs no word.
        ("SELECT NULL WHERE $1 <> ''", ""),
        ("SELECT '' WHERE $1 <> ''", ""),
        ("SELECT rolpassword FROM pg_authid WHERE rolname = $1 AND false", ""),
        ("SELECT oid FROM pg_authid WHERE rolname = $1", ""),
        ("ROLLBACK /* $1 */", ""),
        ("SET application_name = $1", "-"),
    ] {
        let pgwarden = asking(&upstream(&server), &format!("sql = \"{sql}\"\n")).start();
        let (code, message) = refused(&pgwarden);
        if reason == "-" {
            assert_eq!((code.as_str(), message.as_str()), ("57P03", UNASKED), "{sql}");
            continue;
        }
        assert_eq!((code.as_str(), message.as_str()), ("28P01", WRONG), "{sql}");
        if !reason.is_empty() {
            pgwarden.until_logged(reason, 0);
        }
        assert!(!pgwarden.stderr().contains("hunter2"), "{sql}");
    }
}

#[test]
fn a_statement_that_fails_is_named_in_the_log_without_any_value() {
    let server = server();
    server.psql(
        "CREATE FUNCTION failing(name text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$ \
         BEGIN RAISE 'the secret of % is hunter2', name; END $$",
    );
    for (sql, cause) in [
        ("SELECT rolpassword FROM nowhere WHERE rolname = $1", "relation \"nowhere\" does not exist"),
        ("SELECT no such $1", "SQLSTATE 42601"),
        ("SELECT rolpassword::int FROM pg_authid WHERE rolname = $1", "SQLSTATE 22P02"),
        ("SELECT public.failing($1)", "SQLSTATE P0001"),
        ("SELECT $2::text, $1::text", "SQLSTATE"),
        ("COPY (SELECT 1 /* $1 */) TO STDOUT", "unexpected message 'H'"),
        ("SELECT 1 WHERE $1 <> ''; SELECT 2", "SQLSTATE 42601"),
        ("SELECT repeat('x', 100000) WHERE $1 <> ''", "over the limit"),
    ] {
        let pgwarden = asking(&upstream(&server), &format!("sql = \"{sql}\"\n")).start();
        for _ in 0..2 {
            let (code, message) = refused(&pgwarden);
            assert_eq!((code.as_str(), message.as_str()), ("57P03", UNASKED), "{sql}");
        }
        let log = pgwarden.until_logged("could not be looked up", 0);
        assert!(log.contains(cause), "{sql}: {cause} is not in {log}");
        assert!(!log.contains("hunter2"), "{log}");
    }
    let left = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'warden'";
    until("nothing is left of what failed", || (server.psql(left) == "0").then_some(()));
}

#[test]
fn a_role_that_cannot_log_in_is_named_in_the_log() {
    let server = Server::builder(versions()[0]).access("host all warden 127.0.0.1/32 scram-sha-256").start();
    prepare(&server);
    server.psql("ALTER ROLE warden PASSWORD 'of warden'");
    let wrong = asking(&upstream(&server), "password = \"file:{dir}/secret\"\n").file("secret", "hunter3");
    for (pgwarden, cause) in [
        (wrong.start(), "password authentication failed for user \"warden\""),
        (asking(&upstream(&server), "").start(), "no usable secret is known"),
        (asking(&upstream(&server), "database = \"nowhere\"\n").start(), ""),
    ] {
        assert_eq!(refused(&pgwarden), ("57P03".to_owned(), UNASKED.to_owned()));
        let log = pgwarden.until_logged("could not be looked up", 0);
        assert!(log.contains(cause) && !log.contains("hunter3"), "{log}");
    }
}

#[test]
fn an_answer_that_does_not_come_is_not_waited_for() {
    let server = server();
    let more = "timeout = \"200ms\"\nsql = \"SELECT rolpassword FROM pg_catalog.pg_authid, \
                pg_catalog.pg_advisory_xact_lock_shared(7) WHERE rolname = $1\"\n";
    let pgwarden = asking(&upstream(&server), more).start();
    let mut lock = pgwarden_tests::Wire::open(server.port(), "app", "", "postgres");
    lock.query("SELECT pg_advisory_lock(7)");
    for _ in 0..2 {
        assert_eq!(refused(&pgwarden).0, "57P03");
    }
    let left = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'warden' AND state <> 'idle'";
    until("the server has given up, too", || (server.psql(left) == "0").then_some(()));
    lock.query("SELECT pg_advisory_unlock(7)");
    until("it answers again", || log_in(&pgwarden, "acme", "hunter2").ok());
}

#[test]
fn a_server_that_is_silent_or_away_is_said_to_be_away() {
    let server = server();
    let relay = Relay::start(server.port());
    let url = upstream(&server).replace(&server.port().to_string(), &relay.port().to_string());
    let pgwarden = asking(&url, "timeout = \"300ms\"\n").start();
    until("the server answers in time", || log_in(&pgwarden, "acme", "hunter2").ok());
    relay.freeze();
    assert_eq!(refused(&pgwarden), ("57P03".to_owned(), UNREACHED.to_owned()));
    relay.thaw();
    until("it works again", || log_in(&pgwarden, "acme", "hunter2").ok());
    server.stop_immediate();
    let (code, message) = refused(&pgwarden);
    assert_eq!((code.as_str(), message.as_str()), ("57P03", UNREACHED));
    pgwarden.until_logged("could not be looked up", 0);
    server.start_again();
    until("it works again", || log_in(&pgwarden, "acme", "hunter2").ok());
}

#[test]
fn a_kept_connection_that_has_died_is_replaced_without_a_word() {
    let server = server();
    let relay = Relay::start(server.port());
    let url = upstream(&server).replace(&server.port().to_string(), &relay.port().to_string());
    let pgwarden = asking(&url, "").start();
    for _ in 0..3 {
        log_in(&pgwarden, "acme", "hunter2").expect("it is right");
        server.terminate("usename = 'warden'");
    }
    server.restart();
    log_in(&pgwarden, "acme", "hunter2").expect("it is right");
    assert_eq!(pgwarden.logged("could not be looked up"), 0, "{}", pgwarden.stderr());
}

#[test]
fn the_question_is_asked_over_tls_and_bound_to_it_where_that_is_demanded() {
    let authority = Authority::create();
    let identity = authority.server();
    let server = Server::builder(versions()[0])
        .tls(&identity.certificate, &identity.key)
        .set("password_encryption", "scram-sha-256")
        .access("hostssl all app,warden 127.0.0.1/32 scram-sha-256")
        .access("hostnossl all app,warden 127.0.0.1/32 reject")
        .start();
    prepare(&server);
    server.psql("ALTER ROLE warden PASSWORD 'of warden'; ALTER ROLE app PASSWORD 'of app'");
    let upstream = format!(
        "postgres://app:of%20app@localhost:{}/postgres?sslmode=verify-full&sslrootcert={}&channel_binding=require",
        server.port(),
        authority.path()
    );
    let pgwarden =
        asking(&upstream, "password = \"file:{dir}/secret\"\n").file("secret", "of warden").start();
    let mut wire = log_in(&pgwarden, "acme", "hunter2").expect("it is right");
    assert_eq!(values(&wire.query("SELECT name FROM items")), ["of acme"]);
    let encrypted =
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'warden'";
    assert_eq!(server.psql(encrypted), "t");
}

#[test]
fn the_question_may_pass_a_transaction_pooler() {
    let server = server();
    server.psql("CREATE SCHEMA evil; CREATE TABLE evil.pg_authid (rolname text, rolpassword text)");
    let bouncer = PgBouncer::start(&server, &["app", "warden"]);
    let more = "sql = \"SELECT rolpassword FROM pg_authid WHERE rolname = $1\"\n";
    let text = format!(
        "upstream.downstream_pooler = \"transaction\"\npool.pins = \"refuse\"\nauth.method = \
                        \"scram-sha-256\"\n[auth.query]\nuser = \"warden\"\nttl = \"0s\"\n{more}"
    );
    let url = format!("{}?sslmode=disable", bouncer.url("app", "postgres"));
    let pgwarden = told(&url, &text).start();
    log_in(&pgwarden, "acme", "hunter2").expect("it is right");
    // What somebody leaves behind in the pooler changes nothing.
    let mut left = pgwarden_tests::Wire::open(bouncer.port(), "warden", "", "postgres");
    left.query("SET search_path = evil, pg_catalog");
    for _ in 0..3 {
        log_in(&pgwarden, "acme", "hunter2").expect("it is right");
    }
}

/// A server that lets everybody in and answers each batch with these bytes, again and again.
fn hostile(answer: &'static [u8], times: usize) -> u16 {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut heard = [0; 8192];
                // AuthenticationOk and ReadyForQuery; then a question about the login, with no row for an answer.
                for said in [&b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I"[..], b"Z\0\0\0\x05I"] {
                    let _ = stream.read(&mut heard)?;
                    stream.write_all(said)?;
                }
                let _ = stream.read(&mut heard)?;
                (0..times).try_for_each(|_| stream.write_all(answer))
            });
        }
    });
    port
}

#[test]
fn nothing_that_a_hostile_server_answers_lets_anybody_in() {
    for (answer, times) in [
        // More rows than were asked for, without end.
        (&b"D\0\0\0\x0e\0\x01\0\0\0\x04abcd"[..], 10_000),
        (b"N\0\0\0\x04", 100_000),
        (b"E\0\0\0\x05\0Z\0\0\0\x05I", 1),
        (b"E\0\0\0\x04Z\0\0\0\x05E", 1),
        (b"Z\0\0\0\x05T", 1),
        (b"Z\0\0\0\x04", 1),
        (b"D\x7f\xff\xff\xff", 1),
        (b"D\0\0\0\0", 1),
        (b"D\0\0\0\x0a\x7f\xff\x7f\xff\xff\xff", 1),
        (b"T\0\0\0\x06\0\0", 1),
        (b"R\0\0\0\x08\0\0\0\0", 1),
        (b"\0\0\0\0\0\0", 1),
        (b"", 1),
    ] {
        let url = format!("postgres://app@127.0.0.1:{}/postgres?sslmode=disable", hostile(answer, times));
        let pgwarden = asking(&url, "timeout = \"2s\"\n").start();
        assert_eq!(refused(&pgwarden).0, "57P03", "{answer:?}");
        assert_eq!(pgwarden.admin("/healthz").0, 200, "{answer:?}");
    }
}
