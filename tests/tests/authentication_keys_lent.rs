//! Logins to the server in the client's name without a stored password: what the client proves to pgwarden leaves keys,
//! which are good on a server that stores the same verifier.

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::reload::{OK, log_in, reload, rewrite, told, write};
use pgwarden_tests::tenants::{Tenants, values};
use pgwarden_tests::{Pgwarden, PgwardenBuilder, Server, Version, Wire, psql, until, versions};

/// A server that asks everybody but its superuser, and `app`, for SCRAM.
fn server(version: Version, method: &str) -> Server {
    let server = Server::builder(version)
        .access(&format!("host all acme,globex,warden 127.0.0.1/32 {method}"))
        .start();
    prepare(&server);
    server
}

fn prepare(server: &Server) {
    Tenants::load(server);
    server.psql("CREATE ROLE warden LOGIN; GRANT SELECT ON pg_authid TO warden");
    for (role, password) in [("acme", "secret"), ("globex", "other"), ("warden", "of warden")] {
        change_password(server, role, password, "scram-sha-256");
    }
}

fn change_password(server: &Server, role: &str, password: &str, encryption: &str) {
    server.psql(&format!(
        "SET client_min_messages = error; SET password_encryption = '{encryption}'; \
         ALTER ROLE {role} PASSWORD '{password}'"
    ));
}

/// The server without a login in its URL: each client's own.
fn upstream(server: &Server) -> String {
    format!("postgres://127.0.0.1:{}/postgres?sslmode=disable", server.port())
}

const QUERY: &str = "[auth.query]\nuser = \"warden\"\npassword = \"file:{dir}/secret\"\nttl = \"1h\"\n";

/// A pgwarden that asks the server for secrets.
fn asking(server: &Server, more: &str) -> PgwardenBuilder {
    told(&upstream(server), &format!("{more}\n{QUERY}")).file("secret", "of warden")
}

/// What the server stores for some users, as lines of a users file.
fn stored(server: &Server, users: &[&str]) -> String {
    let line = |user: &&str| {
        let secret = server.psql(&format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'"));
        format!("\"{user}\" \"{secret}\"\n")
    };
    users.iter().map(line).collect()
}

#[track_caller]
fn assert_serves(wire: &mut Wire, user: &str) {
    assert_eq!(values(&wire.query("SELECT current_user")), [user]);
    assert_eq!(values(&wire.query("SELECT name FROM items")), [format!("of {user}")]);
}

#[test]
fn the_proof_of_a_client_logs_in_to_the_server_too() {
    for version in versions() {
        let server = server(version, "scram-sha-256");
        for pooling in ["transaction", "session"] {
            for method in ["scram-sha-256", "md5", "password"] {
                let more = format!("pool.mode = \"{pooling}\"\nauth.method = \"{method}\"");
                let users = stored(&server, &["acme", "globex"]);
                let with_file =
                    told(&upstream(&server), &format!("{more}\nauth.users_file = \"{{dir}}/users\"\n"));
                for pgwarden in [with_file.file("users", &users).start(), asking(&server, &more).start()] {
                    let mut acme = log_in(&pgwarden, "acme", "secret").expect("it is right");
                    let mut globex = log_in(&pgwarden, "globex", "other").expect("it is right");
                    assert_serves(&mut acme, "acme");
                    assert_serves(&mut globex, "globex");
                    let error = log_in(&pgwarden, "acme", "other").map(drop).expect_err("it is another's");
                    assert_eq!(error.code(), "28P01");
                    assert_eq!(pgwarden.logged("no connection"), 0, "{}", pgwarden.stderr());
                }
            }
        }
    }
}

#[test]
fn psql_needs_no_password_but_its_own() {
    for version in versions() {
        let server = server(version, "scram-sha-256");
        let pgwarden = asking(&server, "").start();
        let output = psql(&pgwarden.url("acme", "secret", "postgres"), &["-c", "SELECT current_user"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "acme", "{output:?}");
    }
}

#[test]
fn a_secret_that_the_server_tells_answers_its_md5_and_its_cleartext_requests() {
    for version in versions() {
        let server = server(version, "md5");
        change_password(&server, "acme", "secret", "md5");
        for method in ["md5", "password"] {
            let pgwarden = asking(&server, &format!("auth.method = \"{method}\"")).start();
            assert_serves(&mut log_in(&pgwarden, "acme", "secret").expect("it is right"), "acme");
        }
        // A function may know passwords in clear text; SCRAM towards the client is derived from one, and no key lent.
        change_password(&server, "acme", "secret", "scram-sha-256");
        let clear = format!("{QUERY}sql = \"SELECT 'secret' WHERE $1 = 'acme'\"\n");
        let pgwarden = told(&upstream(&server), &clear).file("secret", "of warden").start();
        assert_serves(&mut log_in(&pgwarden, "acme", "secret").expect("it is right"), "acme");
    }
}

#[test]
fn a_password_in_the_users_file_goes_on_being_the_one_that_counts() {
    let server = server(versions()[0], "scram-sha-256");
    let text = "auth.method = \"scram-sha-256\"\nauth.users_file = \"{dir}/users\"\n";
    let pgwarden = told(&upstream(&server), text).file("users", "\"acme\" \"secret\"\n").start();
    assert_serves(&mut log_in(&pgwarden, "acme", "secret").expect("it is right"), "acme");
}

#[test]
fn keys_log_in_bound_to_the_connection_where_that_is_demanded() {
    for version in versions() {
        let authority = Authority::create();
        let identity = authority.server();
        let server = Server::builder(version)
            .tls(&identity.certificate, &identity.key)
            .set("password_encryption", "scram-sha-256")
            .access("hostssl all acme,warden 127.0.0.1/32 scram-sha-256")
            .access("hostnossl all acme,warden 127.0.0.1/32 reject")
            .start();
        prepare(&server);
        let url = format!(
            "postgres://localhost:{}/postgres?sslmode=verify-full&sslrootcert={}&channel_binding=require",
            server.port(),
            authority.path()
        );
        let pgwarden = told(&url, QUERY).file("secret", "of warden").start();
        let mut wire = log_in(&pgwarden, "acme", "secret").expect("it is right");
        assert_serves(&mut wire, "acme");
        let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert_eq!(values(&wire.query(encrypted)), ["t"]);
    }
}

#[test]
fn a_login_may_be_bound_on_both_sides() {
    for version in versions() {
        let authority = Authority::create();
        let identity = authority.server();
        let server = Server::builder(version)
            .tls(&identity.certificate, &identity.key)
            .set("password_encryption", "scram-sha-256")
            .access("hostssl all acme,warden 127.0.0.1/32 scram-sha-256")
            .start();
        prepare(&server);
        let url = format!(
            "postgres://localhost:{}/postgres?sslmode=verify-full&sslrootcert={}&channel_binding=require",
            server.port(),
            authority.path()
        );
        let text = format!("auth.method = \"scram-sha-256-plus\"\ntls.client_cert = \"none\"\n{QUERY}");
        let pgwarden =
            told(&url, &text).file("secret", "of warden").tls("require", &authority.server()).start();
        let client = |password: &str, binding: &str| {
            let url = pgwarden.url("acme", password, "postgres").replace("127.0.0.1", "localhost");
            let url = format!(
                "{url}?sslmode=verify-full&sslrootcert={}&channel_binding={binding}",
                authority.path()
            );
            let output = psql(&url, &["-c", "SELECT current_user"]);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            (String::from_utf8_lossy(&output.stdout).trim().to_owned(), error)
        };
        assert_eq!(client("secret", "require"), ("acme".to_owned(), String::new()));
        assert!(client("wrong", "require").1.contains("password authentication failed"));
        assert!(client("secret", "disable").1.contains("SASL"), "there is nothing else on offer");
    }
}

/// Failed logins of a role, as the server has logged them.
fn failures(server: &Server, role: &str) -> usize {
    server.log().matches(&format!("password authentication failed for user \"{role}\"")).count()
}

fn close_backends(server: &Server, pgwarden: &Pgwarden) {
    server.terminate("usename IN ('acme', 'globex')");
    until("its backends are gone", || (pgwarden.metric("pgwarden_backends") == Some(0.0)).then_some(()));
}

#[test]
fn keys_that_the_server_no_longer_takes_are_dropped_until_the_next_login() {
    for version in versions() {
        let server = server(version, "scram-sha-256");
        let pgwarden = asking(&server, "").start();
        let client = || log_in(&pgwarden, "acme", "secret").expect("it is right");
        let (mut first, mut second, mut third) = (client(), client(), client());
        assert_serves(&mut first, "acme");
        change_password(&server, "acme", "another", "scram-sha-256");
        assert_serves(&mut first, "acme");
        close_backends(&server, &pgwarden);
        for wire in [&mut first, &mut second] {
            let error = wire.fatal(&pgwarden_tests::Frontend::new().query("SELECT 1"));
            assert_eq!(error.code(), "28P01", "{error}");
            assert_eq!(error.message(), "password authentication failed for user \"acme\"");
            assert!(error.detail().contains("no longer takes the password"), "{error}");
            assert!(error.hint().contains("Log in again"), "{error}");
        }
        assert_eq!(failures(&server, "acme"), 1, "the server is not asked twice with the same keys");
        // What the server has told before is forgotten with them, an hour before its time.
        let error = log_in(&pgwarden, "acme", "secret").map(drop).expect_err("it is the old one");
        assert_eq!((error.code(), error.detail()), ("28P01", ""));
        let mut renewed = log_in(&pgwarden, "acme", "another").expect("it is the new one");
        assert_serves(&mut renewed, "acme");
        assert_serves(&mut third, "acme");
        assert_eq!(failures(&server, "acme"), 1);
        assert_eq!(pgwarden.admin("/readyz").0, 200, "the server is there");
    }
}

#[test]
fn a_stale_verifier_in_the_users_file_lets_nobody_in_to_the_server() {
    let server = server(versions()[0], "scram-sha-256");
    let users = stored(&server, &["acme"]);
    let text = "auth.method = \"scram-sha-256\"\nauth.users_file = \"{dir}/users\"\n";
    let pgwarden = told(&upstream(&server), text).file("users", &users).start();
    // The same password with another salt: other keys.
    change_password(&server, "acme", "secret", "scram-sha-256");
    for tried in 1..=2 {
        let error = log_in(&pgwarden, "acme", "secret").map(drop).expect_err("the server refuses it");
        assert_eq!(error.code(), "28P01", "{error}");
        assert!(error.detail().contains("no longer takes the password"), "{error}");
        assert_eq!(failures(&server, "acme"), tried, "each login tries its own keys");
    }
    write(&pgwarden, "users", &stored(&server, &["acme"]));
    reload(&pgwarden, OK);
    assert_serves(&mut log_in(&pgwarden, "acme", "secret").expect("it is right"), "acme");
    assert_eq!(pgwarden.logged("SCRAM-SHA-256$"), 0);
}

#[test]
fn keys_outlive_a_reload() {
    let server = server(versions()[0], "scram-sha-256");
    let pgwarden = asking(&server, "").start();
    let mut wire = log_in(&pgwarden, "acme", "secret").expect("it is right");
    rewrite(&pgwarden, &upstream(&server), &format!("pool.size = 3\n{QUERY}"));
    reload(&pgwarden, OK);
    close_backends(&server, &pgwarden);
    assert_serves(&mut wire, "acme");
    let mut again = log_in(&pgwarden, "acme", "secret").expect("it is right");
    assert_serves(&mut again, "acme");
}

#[test]
fn a_process_that_takes_over_learns_keys_from_the_logins_that_come_to_it() {
    let server = server(versions()[0], "scram-sha-256");
    let taking = "takeover = \"{before}/takeover\"\n";
    let old = asking(&server, taking).start();
    let mut before = log_in(&old, "acme", "secret").expect("it is right");
    before.query("BEGIN");
    let new = asking(&server, taking).in_place_of(&old).start_unasked();
    new.until_logged("taken over from the process before", 0);
    assert_serves(&mut before, "acme");
    let mut after = log_in(&new, "acme", "secret").expect("it is right");
    assert_serves(&mut after, "acme");
    before.query("COMMIT");
}

#[test]
fn one_login_for_all_lends_nothing() {
    let server = server(versions()[0], "scram-sha-256");
    let url = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
    let pgwarden = told(&url, QUERY).file("secret", "of warden").start();
    let mut wire = log_in(&pgwarden, "acme", "secret").expect("it is right");
    assert_eq!(values(&wire.query("SELECT current_user")), ["app"]);
    change_password(&server, "acme", "another", "scram-sha-256");
    server.terminate("usename = 'app'");
    until("its backend is gone", || (pgwarden.metric("pgwarden_backends") == Some(0.0)).then_some(()));
    assert_eq!(values(&wire.query("SELECT current_user")), ["app"]);
}
