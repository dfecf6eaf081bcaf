//! auth.query: the server itself tells the secrets of users.

use pgwarden_tests::reload::{OK, log_in, reload, rewrite, told, upstream, write};
use pgwarden_tests::tenants::{Tenants, values};
use pgwarden_tests::wire::{Fields, PROTOCOL_3_0};
use pgwarden_tests::{
    Frontend, Pgwarden, PgwardenBuilder, Server, Version, Wire, for_each_version, psql, until, versions,
};

/// A server whose role `warden` has to prove itself, and may read what is stored for others.
#[track_caller]
fn server(version: Version) -> Server {
    let server = Server::builder(version).access("host all warden 127.0.0.1/32 scram-sha-256").start();
    prepare(&server);
    server
}

#[track_caller]
fn prepare(server: &Server) {
    Tenants::load(server);
    server.psql("CREATE ROLE warden LOGIN PASSWORD 'of warden'");
    server.psql("GRANT SELECT ON pg_authid TO warden");
    server.psql("ALTER ROLE warden SET log_statement = 'all'");
    change_password(server, "acme", "secret", "scram-sha-256");
}

fn change_password(server: &Server, role: &str, password: &str, encryption: &str) {
    server.psql(&format!(
        "SET client_min_messages = error; SET password_encryption = '{encryption}'; \
         ALTER ROLE {role} PASSWORD '{password}'"
    ));
}

/// A pgwarden that asks the server, with more in `[auth.query]`.
fn asking(server: &Server, method: &str, more: &str) -> PgwardenBuilder {
    told(&upstream(server), &query(method, more)).file("secret", "of warden\n")
}

fn query(method: &str, more: &str) -> String {
    format!(
        "auth.method = \"{method}\"\n[auth.query]\nuser = \"warden\"\npassword = \"file:{{dir}}/secret\"\n{more}"
    )
}

/// How often the server was asked.
fn questions(server: &Server) -> usize {
    server.log().matches("warden@postgres LOG:  execute <unnamed>: SELECT").count()
}

#[track_caller]
fn refused(pgwarden: &Pgwarden, user: &str, password: &str) -> Fields {
    match log_in(pgwarden, user, password) {
        Ok(_) => panic!("{user} got in"),
        Err(error) => error,
    }
}

/// Like a wrong password, whatever the cause is.
#[track_caller]
fn assert_wrong(pgwarden: &Pgwarden, user: &str, password: &str) {
    let error = refused(pgwarden, user, password);
    let message = format!("password authentication failed for user \"{user}\"");
    assert_eq!((error.severity(), error.code(), error.message()), ("FATAL", "28P01", message.as_str()));
    assert_eq!((error.detail(), error.hint()), ("", ""));
}

/// The client reads that it is not its fault, and nothing of the cause; the log has that.
#[track_caller]
fn assert_unanswered(pgwarden: &Pgwarden, message: &str, cause: &str) {
    let before = pgwarden.logged("could not be looked up");
    let error = refused(pgwarden, "acme", "secret");
    assert_eq!((error.severity(), error.code(), error.message()), ("FATAL", "57P03", message), "{error}");
    let log = pgwarden.until_logged("could not be looked up", before);
    assert!(log.contains(cause), "{cause} is not in {log}");
    assert!(!error.to_string().contains(cause), "{error}");
}

#[test]
fn every_method_checks_the_secret_that_the_server_stores() {
    for version in versions() {
        let server = server(version);
        for (method, encryption) in [
            ("scram-sha-256", "scram-sha-256"),
            ("password", "scram-sha-256"),
            ("password", "md5"),
            ("md5", "md5"),
            ("md5", "scram-sha-256"),
        ] {
            change_password(&server, "acme", "secret", encryption);
            let pgwarden = asking(&server, method, "").start();
            let mut wire = log_in(&pgwarden, "acme", "secret").expect("it is right");
            assert_eq!(values(&wire.query("SELECT name FROM items")), ["of acme"], "{method} {encryption}");
            assert_wrong(&pgwarden, "acme", "not the secret");
            assert_wrong(&pgwarden, "acme", "");
            for secret in ["secret", "of warden", "SCRAM-SHA-256$4096", "md5"] {
                assert!(!pgwarden.stderr().contains(secret), "{method}: {secret} is in the log");
            }
        }
    }
}

#[test]
fn a_rule_may_ask_the_server_too() {
    let server = server(versions()[0]);
    let rules =
        "[[auth.rules]]\nuser = \"acme\"\nmethod = \"scram-sha-256\"\n[[auth.rules]]\nmethod = \"reject\"\n";
    let text = query("", rules).replace("auth.method = \"\"\n", "");
    let pgwarden = told(&upstream(&server), &text).file("secret", "of warden").start();
    log_in(&pgwarden, "acme", "secret").expect("it is right");
    assert_wrong(&pgwarden, "acme", "no");
    assert_eq!(refused(&pgwarden, "globex", "secret").code(), "28000");
}

#[test]
fn psql_logs_in_by_scram_with_what_the_server_stores() {
    for_each_version(async |shared| {
        prepare(shared);
        let pgwarden = asking(shared, "scram-sha-256", "").start();
        let output = psql(&pgwarden.url("acme", "secret", "postgres"), &["-c", "SELECT name FROM items"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "of acme", "{output:?}");
        let output = psql(&pgwarden.url("acme", "wrong", "postgres"), &["-c", "SELECT 1"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("password authentication failed for user \"acme\""), "{error}");
    });
}

/// CVE-2025-2291 (an expired password was good), CVE-2015-6817 (an unknown user became another).
#[test]
fn who_may_not_log_in_reads_the_same_as_who_does_not_know_the_password() {
    for version in versions() {
        let server = server(version);
        for role in ["sleeping", "expired", "finite", "endless", "silent", "mighty", "unbound"] {
            server.psql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'"));
        }
        server.psql("ALTER ROLE sleeping NOLOGIN; ALTER ROLE silent PASSWORD NULL");
        server.psql("ALTER ROLE mighty SUPERUSER; ALTER ROLE unbound BYPASSRLS");
        server.psql("ALTER ROLE expired VALID UNTIL '2001-01-01'; ALTER ROLE endless VALID UNTIL 'infinity'");
        server.psql("ALTER ROLE finite VALID UNTIL '2900-01-01'");
        let long = "x".repeat(63);
        server.psql(&format!("CREATE ROLE {long} LOGIN PASSWORD 'secret'"));
        for method in ["scram-sha-256", "password", "md5"] {
            let pgwarden = asking(&server, method, "ttl = \"0s\"\nunknown_ttl = \"0s\"\n").start();
            for user in
                ["sleeping", "expired", "silent", "mighty", "unbound", "nobody", &format!("{long}y"), "ACME"]
            {
                assert_wrong(&pgwarden, user, "secret");
            }
            for user in ["finite", "endless", &long] {
                log_in(&pgwarden, user, "secret").unwrap_or_else(|error| panic!("{method}, {user}: {error}"));
            }
            server.psql("ALTER ROLE endless VALID UNTIL '2001-01-01'");
            assert_wrong(&pgwarden, "endless", "secret");
            server.psql("ALTER ROLE endless VALID UNTIL 'infinity'");
            assert_eq!(pgwarden.logged("cannot be used"), 0, "{}", pgwarden.stderr());
        }
    }
}

#[test]
fn an_unknown_user_is_given_a_salt_that_stays_the_same() {
    let server = server(versions()[0]);
    let pgwarden = asking(&server, "scram-sha-256", "ttl = \"0s\"\nunknown_ttl = \"0s\"\n").start();
    let challenge = |user: &str| {
        let mut wire = Wire::connect(pgwarden.port());
        wire.startup(&[("user", user), ("database", "postgres")]);
        wire.receive();
        wire.send(&Frontend::new().sasl_initial("SCRAM-SHA-256", b"n,,n=,r=abc"));
        let text = String::from_utf8_lossy(&wire.receive().body).into_owned();
        text.split_once(",s=").expect("a challenge has a salt").1.to_owned()
    };
    for user in ["acme", "nobody", "globex"] {
        let salt = challenge(user);
        assert_eq!(challenge(user), salt, "{user}");
        assert!(salt.ends_with("i=4096"), "{user}: {salt}");
    }
    assert_ne!(challenge("nobody"), challenge("somebody"));
}

const FUNCTION: &str = "
    CREATE SCHEMA lookup; GRANT USAGE ON SCHEMA lookup TO asker;
    CREATE FUNCTION lookup.secret(name text, OUT usename name, OUT passwd text) RETURNS SETOF record
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
    $$ SELECT a.rolname, a.rolpassword FROM pg_catalog.pg_authid a WHERE a.rolname = $1 AND a.rolcanlogin $$;
    REVOKE ALL ON FUNCTION lookup.secret FROM PUBLIC; GRANT EXECUTE ON FUNCTION lookup.secret TO asker;
";

#[test]
fn a_function_answers_for_a_role_that_may_read_nothing() {
    for version in versions() {
        let server = server(version);
        server.psql("CREATE ROLE asker LOGIN");
        server.psql(FUNCTION);
        let text =
            "auth.method = \"scram-sha-256\"\n[auth.query]\nuser = \"asker\"\ndatabase = \"postgres\"\n";
        let plain = told(&upstream(&server), text).start();
        assert_unanswered(
            &plain,
            "pgwarden could not ask the database server who may log in",
            "permission denied for table pg_authid (SQLSTATE 42501)",
        );
        let text = format!("{text}sql = \"SELECT * FROM lookup.secret($1)\"\n");
        let pgwarden = told(&upstream(&server), &text).start();
        log_in(&pgwarden, "acme", "secret").expect("it is right");
        assert_wrong(&pgwarden, "acme", "wrong");
        assert_wrong(&pgwarden, "nobody", "secret");
    }
}

/// CVE-2025-12819: a client's search_path decided what the names of the query meant.
#[test]
fn neither_a_client_nor_a_role_decides_what_the_names_of_the_query_mean() {
    for version in versions() {
        let server = server(version);
        server.psql(
            "CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC; \
             CREATE TABLE evil.pg_authid (rolname text, rolpassword text); GRANT SELECT ON evil.pg_authid TO PUBLIC; \
             INSERT INTO evil.pg_authid VALUES ('acme', 'of evil'), ('nobody', 'of evil'); \
             ALTER ROLE warden SET search_path = evil, pg_catalog; \
             ALTER DATABASE postgres SET search_path = evil, pg_catalog",
        );
        let more = "sql = \"SELECT rolpassword FROM pg_authid WHERE rolname = $1\"\nttl = \"0s\"\n";
        let pgwarden = asking(&server, "scram-sha-256", more).start();
        for parameters in
            [&[][..], &[("search_path", "evil, pg_catalog")], &[("options", "-c search_path=evil")]]
        {
            for (user, password, is_right) in
                [("acme", "secret", true), ("acme", "of evil", false), ("nobody", "of evil", false)]
            {
                let startup = [&[("user", user), ("database", "postgres")], parameters].concat();
                let mut wire = Wire::connect(pgwarden.port());
                let login = wire.try_log_in(password, &startup).map_err(|error| error.fields());
                assert_eq!(login.is_ok(), is_right, "{user} {parameters:?}");
            }
        }
    }
}

#[test]
fn a_name_reaches_the_server_as_a_value_only() {
    let server = server(versions()[0]);
    let odd = "x'; DROP TABLE notes; --\"$1";
    server.psql(&format!("CREATE ROLE \"{}\" LOGIN PASSWORD 'secret'", odd.replace('"', "\"\"")));
    let pgwarden = asking(&server, "scram-sha-256", "").start();
    log_in(&pgwarden, odd, "secret").expect("it is right");
    assert_wrong(&pgwarden, "y' OR true --", "secret");
    let log = server.log();
    let ran: Vec<&str> = log.lines().filter(|line| line.contains("warden@postgres LOG:  ")).collect();
    assert!(ran.iter().any(|line| line.contains("FROM pg_catalog.pg_authid WHERE rolname = $1")), "{ran:#?}");
    assert!(!ran.iter().any(|line| line.contains("DROP") || line.contains("OR true")), "{ran:#?}");
    assert_eq!(server.psql("SELECT count(*) FROM notes"), "0");
}

#[test]
fn an_answer_is_used_again_for_a_while_and_many_wait_for_one() {
    for version in versions() {
        let server = server(version);
        let more = "ttl = \"1h\"\nunknown_ttl = \"1h\"\nsql = \"SELECT rolpassword FROM pg_catalog.pg_authid, \
                    pg_catalog.pg_advisory_xact_lock_shared(7) WHERE rolname = $1\"\n";
        let pgwarden = asking(&server, "scram-sha-256", more).start();
        let mut lock = Wire::open(server.port(), "app", "", "postgres");
        lock.query("SELECT pg_advisory_lock(7)");
        let mut waiting: Vec<Wire> = (0..6)
            .map(|_| {
                let mut wire = Wire::connect(pgwarden.port());
                wire.startup(&[("user", "acme"), ("database", "postgres")]);
                wire
            })
            .collect();
        std::thread::scope(|scope| {
            for wire in &mut waiting {
                scope.spawn(move || wire.authenticate("acme", "secret").expect("it is right"));
            }
            let sql =
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'warden' AND wait_event_type = 'Lock'";
            until("somebody asks", || (server.psql(sql) != "0").then_some(()));
            lock.query("SELECT pg_advisory_unlock(7)");
        });
        for _ in 0..3 {
            log_in(&pgwarden, "acme", "secret").expect("it is right");
            assert_wrong(&pgwarden, "nobody", "secret");
        }
        assert_eq!(questions(&server), 2, "one about each");
        for outcome in ["found", "unknown"] {
            let counted = pgwarden.metric(&format!("pgwarden_secret_lookups_total{{outcome=\"{outcome}\"}}"));
            assert_eq!(counted, Some(1.0), "{outcome}");
        }
    }
}

#[test]
fn an_answer_is_no_longer_good_than_the_server_says() {
    let server = server(versions()[0]);
    for (seconds, asked) in [("1e-9", 3), ("NULL", 1), ("1e300", 1)] {
        let more = format!(
            "ttl = \"1h\"\nsql = \"SELECT rolname, rolpassword, {seconds} FROM pg_catalog.pg_authid WHERE rolname = $1\"\n"
        );
        let pgwarden = asking(&server, "scram-sha-256", &more).start();
        let before = questions(&server);
        for _ in 0..3 {
            log_in(&pgwarden, "acme", "secret").expect("it is right");
        }
        assert_eq!(questions(&server) - before, asked, "{seconds}");
    }
}

#[test]
fn a_changed_password_is_noticed_by_the_login_that_fails() {
    for version in versions() {
        let server = server(version);
        for method in ["scram-sha-256", "password", "md5"] {
            change_password(&server, "acme", "secret", "scram-sha-256");
            let pgwarden = asking(&server, method, "ttl = \"1h\"\nunknown_ttl = \"1ms\"\n").start();
            log_in(&pgwarden, "acme", "secret").expect("it is right");
            change_password(&server, "acme", "another", "scram-sha-256");
            assert_wrong(&pgwarden, "acme", "another");
            until("the other password is right", || log_in(&pgwarden, "acme", "another").ok());
            assert_wrong(&pgwarden, "acme", "secret");
            assert_wrong(&pgwarden, "brandnew", "secret");
            server.psql("CREATE ROLE brandnew LOGIN PASSWORD 'secret'");
            until("the new role gets in", || log_in(&pgwarden, "brandnew", "secret").ok());
            server.psql("DROP ROLE brandnew");
        }
    }
}

#[test]
fn the_users_file_goes_first_even_for_whom_it_names_without_a_secret() {
    let server = server(versions()[0]);
    server.psql("CREATE ROLE locked LOGIN PASSWORD 'secret'; CREATE ROLE filed LOGIN PASSWORD 'secret'");
    let text = query("scram-sha-256", "");
    let text = format!("auth.users_file = \"{{dir}}/users\"\n{text}");
    let users = "\"locked\" \"\"\n\"filed\" \"of the file\"\n";
    let pgwarden = told(&upstream(&server), &text).file("secret", "of warden").file("users", users).start();
    log_in(&pgwarden, "acme", "secret").expect("the server knows it");
    log_in(&pgwarden, "filed", "of the file").expect("the file knows it");
    assert_wrong(&pgwarden, "filed", "secret");
    assert_wrong(&pgwarden, "locked", "secret");
    assert_eq!(questions(&server), 1);
}

#[test]
fn a_reload_brings_another_query_into_force_and_forgets_what_was_found() {
    let server = server(versions()[0]);
    let remembering = query("scram-sha-256", "ttl = \"1h\"\nunknown_ttl = \"1h\"\n");
    let pgwarden = told(&upstream(&server), &remembering).file("secret", "of warden").start();
    let mut wire = log_in(&pgwarden, "acme", "secret").expect("it is right");
    change_password(&server, "acme", "another", "scram-sha-256");
    change_password(&server, "warden", "of another", "scram-sha-256");
    server.terminate("usename = 'warden'");
    write(&pgwarden, "secret", "of another\n");
    reload(&pgwarden, OK);
    log_in(&pgwarden, "acme", "another").expect("it is asked for anew");
    rewrite(&pgwarden, &upstream(&server), &query("scram-sha-256", "sql = \"SELECT NULL WHERE $1 = ''\"\n"));
    reload(&pgwarden, OK);
    assert_wrong(&pgwarden, "acme", "another");
    assert_eq!(values(&wire.query("SELECT name FROM items")), ["of acme"], "a session stays");
}

#[test]
fn a_half_finished_login_leaves_nothing_behind() {
    let server = server(versions()[0]);
    let more = "sql = \"SELECT rolpassword FROM pg_catalog.pg_authid, \
                pg_catalog.pg_advisory_xact_lock_shared(7) WHERE rolname = $1\"\nttl = \"0s\"\n";
    let pgwarden = asking(&server, "md5", more).start();
    let mut lock = Wire::open(server.port(), "app", "", "postgres");
    lock.query("SELECT pg_advisory_lock(7)");
    let startup = Frontend::new().startup(PROTOCOL_3_0, &[("user", "acme"), ("database", "postgres")]);
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'warden' AND wait_event_type = 'Lock'";
    for _ in 0..3 {
        let mut wire = Wire::connect(pgwarden.port());
        wire.send(&startup);
        until("it is asked", || (server.psql(waiting) != "0").then_some(()));
        drop(wire);
    }
    lock.query("SELECT pg_advisory_unlock(7)");
    log_in(&pgwarden, "acme", "secret").expect("it is right");
    until("nobody else is there", || (pgwarden.metric("pgwarden_clients") == Some(0.0)).then_some(()));
}
