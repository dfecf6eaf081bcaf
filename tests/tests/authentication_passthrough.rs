//! A login that the server decides: pgwarden passes on what the two say, stores no password, and still puts the context
//! of the database user into every transaction.

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::encryption::{Way, assert_refused, way};
use pgwarden_tests::tenants::{ACME, ANN, Tenants, error_code, values};
use pgwarden_tests::wire::Fields;
use pgwarden_tests::{
    Frontend, Message, Pgwarden, PgwardenBuilder, Server, ServerBuilder, Version, Wire, psql, until, versions,
};

/// The users, each with its line of `pg_hba.conf`, and the requests that its method makes.
const USERS: [(&str, &str, &[u8]); 4] = [
    ("clear", "password", &[3, 0]),
    ("hashed", "md5", &[5, 0]),
    ("salted", "scram-sha-256", &[10, 11, 12, 0]),
    ("trusted", "trust", &[0]),
];

/// A server that asks each user in another way.
fn asking(builder: ServerBuilder) -> Server {
    let lines = USERS.map(|(user, method, _)| format!("host all {user} 127.0.0.1/32 {method}"));
    let builder = lines.iter().fold(builder, |builder, line| builder.access(line));
    let server = builder.access("host all acme,stranger,locked 127.0.0.1/32 scram-sha-256").start();
    for (user, encryption) in [
        ("clear", "scram-sha-256"),
        ("hashed", "md5"),
        ("salted", "scram-sha-256"),
        ("trusted", "scram-sha-256"),
    ] {
        let role = format!("CREATE ROLE {user} LOGIN PASSWORD 'open sesame'");
        server.psql(&format!("SET password_encryption = '{encryption}'; {role}"));
    }
    server
}

/// A pgwarden that leaves logins to the server.
fn passing(server: &Server, parameters: &str) -> PgwardenBuilder {
    let upstream = format!("postgres://localhost:{}/postgres?{parameters}", server.port());
    let builder = Pgwarden::builder().upstream(&upstream).env("PGWARDEN_AUTH", "passthrough");
    builder.env("PGWARDEN_POOL_MODE", "session")
}

/// Logs in on a port: everything up to ReadyForQuery, or the error, behind which nothing comes.
#[track_caller]
fn log_in(port: u16, user: &str, password: &str, database: &str) -> Result<(Wire, Vec<Message>), Fields> {
    let mut wire = Wire::connect(port);
    match wire.try_log_in(password, &[("user", user), ("database", database)]) {
        Ok(messages) => Ok((wire, messages)),
        Err(error) => {
            assert_eq!(wire.ended(), [], "nothing comes behind {error:?}");
            Err(error.fields())
        }
    }
}

/// Severity, SQLSTATE, message and detail of a login that fails.
#[track_caller]
fn refusal(port: u16, user: &str, password: &str, database: &str) -> [String; 4] {
    let error = log_in(port, user, password, database).expect_err("no login");
    [error.severity(), error.code(), error.message(), error.detail()].map(str::to_owned)
}

fn requests(messages: &[Message]) -> Vec<u8> {
    messages.iter().filter(|message| message.tag == b'R').map(|message| message.body[3]).collect()
}

/// How psql gets in with parameters of libpq.
fn by_psql(pgwarden: &Pgwarden, parameters: &str) -> Way {
    let url = format!("{}?{parameters}", pgwarden.url("salted", "open sesame", "postgres"));
    way(&psql(&url, &["-c", "\\conninfo"]))
}

fn plain(version: Version) -> Server {
    asking(Server::builder(version))
}

#[test]
fn the_server_asks_and_the_client_answers_as_without_pgwarden() {
    for version in versions() {
        let server = plain(version);
        let pgwarden = passing(&server, "sslmode=disable").start();
        for (user, method, expected) in USERS {
            let (mut wire, messages) =
                log_in(pgwarden.port(), user, "open sesame", "postgres").expect(method);
            assert_eq!(requests(&messages), expected, "{method}");
            assert_eq!(values(&wire.query("SELECT session_user")), [user]);
            if user != "trusted" {
                let [found, direct] =
                    [pgwarden.port(), server.port()].map(|port| refusal(port, user, "wrong", "postgres"));
                assert_eq!(found, direct, "{method}");
                assert_eq!(found[1], "28P01");
            }
        }
        let log = pgwarden.until_logged("login refused", 2);
        assert!(!log.contains("open sesame") && !log.contains("wrong"), "{log}");
        let refused = pgwarden.metric("pgwarden_logins_total{outcome=\"refused_authentication\"}");
        assert_eq!(refused, Some(3.0));
    }
}

#[test]
fn what_the_server_says_of_a_login_reaches_the_client() {
    for version in versions() {
        let server = plain(version);
        server.psql(
            "SET password_encryption = 'scram-sha-256'; CREATE ROLE locked NOLOGIN PASSWORD 'open sesame'",
        );
        let pgwarden = passing(&server, "sslmode=disable").start();
        for (user, code) in [("stranger", "28P01"), ("locked", "28000")] {
            let [found, direct] =
                [pgwarden.port(), server.port()].map(|port| refusal(port, user, "open sesame", "postgres"));
            assert_eq!(found, direct);
            assert_eq!(found[1], code, "{found:?}");
        }
        // Errors behind the login read as with every other method.
        let [found, direct] =
            [pgwarden.port(), server.port()].map(|port| refusal(port, "salted", "open sesame", "nowhere"));
        assert_eq!(found[..3], direct[..3]);
        assert_eq!(found[1], "3D000");
    }
}

#[test]
fn a_new_password_is_good_at_once_and_the_old_one_is_not() {
    for version in versions() {
        let server = plain(version);
        let pgwarden = passing(&server, "sslmode=disable").start();
        for (old, new) in [("open sesame", "second"), ("second", "third")] {
            assert!(log_in(pgwarden.port(), "salted", old, "postgres").is_ok());
            server.psql(&format!("ALTER ROLE salted PASSWORD '{new}'"));
            assert_eq!(refusal(pgwarden.port(), "salted", old, "postgres")[1], "28P01");
            assert!(log_in(pgwarden.port(), "salted", new, "postgres").is_ok());
        }
    }
}

#[test]
fn the_context_is_that_of_the_database_user() {
    for version in versions() {
        let server = plain(version);
        Tenants::load(&server);
        server.psql("SET password_encryption = 'scram-sha-256'; ALTER ROLE acme PASSWORD 'open sesame'");
        server.psql("ALTER ROLE acme RESET ALL");
        let pgwarden = passing(&server, "sslmode=disable")
            .env("PGWARDEN_MODE", "enforce")
            .env("PGWARDEN_CONTEXT", "app.current_org_id=tenant:uuid")
            .env("PGWARDEN_FIXED", &format!("acme=tenant:{ACME};user:{ANN}"))
            .start();
        let (mut wire, _) = log_in(pgwarden.port(), "acme", "open sesame", "postgres").expect("acme");
        assert_eq!(values(&wire.query("SELECT name FROM items")), ["of acme"]);
        assert_eq!(error_code(&wire.query("SET app.current_org_id = 'x'")), "42501");
        let (mut other, _) = log_in(pgwarden.port(), "salted", "open sesame", "postgres").expect("salted");
        assert_eq!(error_code(&other.query("SELECT name FROM items")), "42501", "it has no context");
    }
}

#[test]
fn settings_cancels_and_the_process_id_are_those_of_the_clients_own_backend() {
    for version in versions() {
        let server = plain(version);
        let pgwarden = passing(&server, "sslmode=disable").start();
        let mut wire = Wire::connect(pgwarden.port());
        let parameters = [
            ("user", "salted"),
            ("database", "postgres"),
            ("application_name", "mine"),
            ("DateStyle", "German"),
        ];
        wire.try_log_in("open sesame", &parameters).expect("a login");
        assert_eq!(values(&wire.query("SHOW application_name")), ["mine"]);
        assert_eq!(wire.parameter("DateStyle"), Some("German, DMY"));
        assert_eq!(values(&wire.query("SELECT pg_backend_pid()")), [wire.key.0.to_string()]);
        wire.send(&Frontend::new().query("SELECT pg_sleep(60)"));
        let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        until("the query runs", || (server.psql(sleeping) == "1").then_some(()));
        wire.cancel();
        assert_eq!(error_code(&wire.until_ready()), "57014");
    }
}

/// A stranger who is asked for a password and says nothing keeps nobody out.
#[test]
fn only_who_was_let_in_counts_in_the_pool() {
    for version in versions() {
        let server = plain(version);
        let builder = passing(&server, "sslmode=disable").env("PGWARDEN_POOL_SIZE", "1");
        let file = "[pool]\ncheckout_timeout = \"50ms\"\n";
        let builder = builder.file("c.toml", file).argument("--config").argument("{dir}/c.toml");
        let pgwarden = builder.start();
        let mut silent: Vec<Wire> = (0..3).map(|_| Wire::connect(pgwarden.port())).collect();
        for wire in &mut silent {
            wire.startup(&[("user", "salted"), ("database", "postgres")]);
            wire.expect("R");
        }
        let (mut first, _) = log_in(pgwarden.port(), "salted", "open sesame", "postgres").expect("a place");
        assert_eq!(refusal(pgwarden.port(), "salted", "open sesame", "postgres")[1], "53300");
        assert_eq!(values(&first.query("SELECT 1")), ["1"]);
        drop(first);
        until("there is a place again", || log_in(pgwarden.port(), "salted", "open sesame", "postgres").ok());
    }
}

#[test]
fn the_connections_of_strangers_end_with_them() {
    for version in versions() {
        let server = plain(version);
        let pgwarden = passing(&server, "sslmode=disable").start();
        let mut wire = Wire::connect(pgwarden.port());
        wire.startup(&[("user", "salted"), ("database", "postgres")]);
        wire.expect("R");
        drop(wire);
        until("pgwarden has noticed", || {
            let abandoned = pgwarden.metric("pgwarden_logins_total{outcome=\"abandoned\"}");
            (abandoned == Some(1.0)).then_some(())
        });
        assert_eq!(pgwarden.metric("pgwarden_backends"), Some(0.0));
    }
}

/// libpq remarks that a server with TLS does not offer to be bound to it; this one need not know.
#[test]
fn scram_passes_where_one_of_the_connections_is_encrypted() {
    for version in versions() {
        let authority = Authority::create();
        let identity = authority.server();
        let clear = plain(version);
        let pgwarden = passing(&clear, "sslmode=disable").tls("allow", &identity).start();
        assert_eq!(by_psql(&pgwarden, "sslmode=require&channel_binding=prefer"), Way::Encrypted);
        let encrypted = asking(Server::builder(version).tls(&identity.certificate, &identity.key));
        let pgwarden = passing(&encrypted, "sslmode=require").tls("allow", &identity).start();
        assert_eq!(by_psql(&pgwarden, "sslmode=disable"), Way::Clear);
        assert_eq!(by_psql(&pgwarden, "sslmode=require&channel_binding=disable"), Way::Encrypted);
        let both = by_psql(&pgwarden, "sslmode=require&channel_binding=prefer");
        assert_refused(&both, "Connect with channel_binding=disable.", "TLS on both sides");
        let demanded = by_psql(&pgwarden, "sslmode=require&channel_binding=require");
        assert_refused(&demanded, "channel binding is required", "require");
    }
}

#[test]
fn a_rule_may_leave_some_users_to_the_server() {
    for version in versions() {
        let server = plain(version);
        let upstream = format!("{}?sslmode=disable", server.url());
        let file = r#"
            [pool]
            mode = "session"
            [auth]
            users_file = "{dir}/users"
            [[auth.rules]]
            user = "salted"
            method = "passthrough"
            [[auth.rules]]
            method = "scram-sha-256"
        "#;
        let builder = Pgwarden::builder().upstream(&upstream).file("c.toml", file);
        let builder = builder.file("users", "\"salted\" \"another\"\n\"known\" \"secret\"\n");
        let pgwarden = builder.argument("--config").argument("{dir}/c.toml").start();
        let (mut own, _) =
            log_in(pgwarden.port(), "salted", "open sesame", "postgres").expect("the server's");
        assert_eq!(values(&own.query("SELECT session_user")), ["salted"]);
        assert_eq!(refusal(pgwarden.port(), "salted", "another", "postgres")[1], "28P01");
        let (mut shared, _) = log_in(pgwarden.port(), "known", "secret", "postgres").expect("pgwarden's");
        assert_eq!(values(&shared.query("SELECT session_user")), ["postgres"]);
    }
}

#[test]
fn it_is_refused_where_backends_are_shared() {
    let check = |variables: &[(&str, &str)], url: &str| {
        let builder = Pgwarden::builder().upstream(url).env("PGWARDEN_AUTH", "passthrough");
        let builder = variables.iter().fold(builder, |builder, (name, value)| builder.env(name, value));
        builder.run(&["config", "check"])
    };
    let session = [("PGWARDEN_POOL_MODE", "session")];
    assert!(check(&session, "postgres://h").status.success());
    for (variables, url, expected) in [
        (&[][..], "postgres://h", "passthrough needs a connection to the server for each client"),
        (&[("PGWARDEN_POOL_MODE", "transaction")], "postgres://h", "expected pool.mode = \"session\""),
        (&session, "postgres://h?channel_binding=require", "passthrough cannot be bound"),
    ] {
        let exit = check(variables, url);
        assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
        assert!(exit.stderr.contains(expected), "{}", exit.stderr);
    }
}

#[test]
fn a_client_that_the_server_lets_in_is_not_named_in_the_status() {
    for version in versions() {
        let server = plain(version);
        let pgwarden = passing(&server, "sslmode=disable");
        let url = format!("postgres://trusted@localhost:{}/postgres?sslmode=disable", server.port());
        let pgwarden = pgwarden.upstream(&url).start();
        let [_salted, _trusted] = ["salted", "trusted"]
            .map(|user| log_in(pgwarden.port(), user, "open sesame", "postgres").expect("a login").0);
        let status = pgwarden.admin("/status").1;
        let logins: Vec<_> = status.match_indices("\"login\":").collect();
        assert!(logins.len() == 2 && !status.contains("salted"), "{status}");
        assert!(status.contains("\"login\":\"trusted\"") && status.contains("\"login\":null"), "{status}");
    }
}
