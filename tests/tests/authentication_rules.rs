//! Rules like those of `pg_hba.conf`: the first that matches decides, by database, user, address and connection, and who
//! matches none reads what PostgreSQL would say.

use std::process::{Command, Output};

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::encryption::{Way, conninfo, way};
use pgwarden_tests::tenants::{ACME, Tenants, values};
use pgwarden_tests::wire::Fields;
use pgwarden_tests::{Pgwarden, PgwardenBuilder, Server, Version, Wire, for_each_version, psql, versions};

const USERS: &str = "\"acme\" \"open sesame\"\n\"globex\" \"open sesame\"\n\"postgres\" \"secret\"\n";

/// A pgwarden with these rules, on TCP and on a unix socket in its directory.
fn ruled(server: &Server, rules: &str) -> PgwardenBuilder {
    let upstream = format!("{}?sslmode=disable", server.url());
    let file = format!("[auth]\nusers_file = \"{{dir}}/users\"\n{rules}");
    Pgwarden::builder()
        .upstream(&upstream)
        .env("PGWARDEN_LISTEN", "127.0.0.1:{port},{dir}:{port}")
        .file("users", USERS)
        .file("pgwarden.toml", &file)
        .argument("--config")
        .argument("{dir}/pgwarden.toml")
}

/// psql through the unix socket in a directory.
fn through_socket(directory: &std::path::Path, port: u16, user: &str, database: &str) -> Output {
    let url = format!("postgres://{user}@/{database}?host={}&port={port}", directory.display());
    psql(&url, &["-c", "SELECT 1"])
}

/// What a login that fails is told; `None` when it does not.
#[track_caller]
fn refusal(port: u16, user: &str, password: &str, database: &str) -> Option<Fields> {
    let mut wire = Wire::connect(port);
    let login = wire.try_log_in(password, &[("user", user), ("database", database)]);
    login.err().map(|error| error.fields())
}

/// Severity, SQLSTATE and message.
fn words(error: &Fields) -> [String; 3] {
    [error.severity(), error.code(), error.message()].map(str::to_owned)
}

fn operating_system_user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id is there");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn the_first_rule_for_database_and_user_decides() {
    for_each_version(async |server| {
        server.psql("CREATE DATABASE reports");
        let rules = r#"
            [[auth.rules]]
            database = "reports"
            user = ["acme", "globex"]
            method = "trust"
            [[auth.rules]]
            user = "globex"
            method = "reject"
            [[auth.rules]]
            database = "postgres"
            method = "scram-sha-256"
        "#;
        let pgwarden = ruled(server, rules).start();
        assert_eq!(refusal(pgwarden.port(), "acme", "", "reports"), None);
        assert_eq!(refusal(pgwarden.port(), "globex", "", "reports"), None);
        assert_eq!(refusal(pgwarden.port(), "acme", "open sesame", "postgres"), None);
        let code = |user, password, database| {
            refusal(pgwarden.port(), user, password, database).expect("a refusal").code().to_owned()
        };
        assert_eq!(code("acme", "wrong", "postgres"), "28P01");
        assert_eq!(code("globex", "open sesame", "postgres"), "28000");
        assert_eq!(code("stranger", "", "reports"), "28000");
        let refused =
            |outcome: &str| pgwarden.metric(&format!("pgwarden_logins_total{{outcome=\"{outcome}\"}}"));
        assert_eq!(refused("refused_rule"), Some(2.0));
        assert_eq!(refused("refused_authentication"), Some(1.0));
    });
}

#[test]
fn tls_and_clear_text_have_rules_of_their_own() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let rules = r#"
            [[auth.rules]]
            type = "hostssl"
            address = "127.0.0.0/8"
            method = "trust"
            [[auth.rules]]
            type = "hostnossl"
            user = "globex"
            address = "127.0.0.1"
            method = "trust"
        "#;
        let pgwarden = ruled(server, rules).tls("allow", &authority.server()).start();
        assert_eq!(way(&conninfo(&pgwarden, "sslmode=require")), Way::Encrypted);
        let Way::Refused(said) = way(&conninfo(&pgwarden, "sslmode=disable")) else { panic!("let in") };
        assert!(said.contains("user \"postgres\", database \"postgres\", no encryption"), "{said}");
        assert_eq!(refusal(pgwarden.port(), "globex", "", "postgres"), None);
    });
}

/// An IPv6 socket that takes IPv4 as well shows such clients as `::ffff:127.0.0.1`.
#[test]
fn an_ipv4_client_of_an_ipv6_socket_is_known_by_its_ipv4_address() {
    for_each_version(async |server| {
        let rules = "[[auth.rules]]\naddress = \"127.0.0.1/32\"\nmethod = \"trust\"\n";
        let pgwarden = ruled(server, rules).env("PGWARDEN_LISTEN", "*:{port}").start();
        assert_eq!(refusal(pgwarden.port(), "acme", "", "postgres"), None);
        let rules = "[[auth.rules]]\naddress = \"::/0\"\nmethod = \"scram-sha-256\"\n";
        let pgwarden = ruled(server, rules).env("PGWARDEN_LISTEN", "*:{port}").start();
        let error = refusal(pgwarden.port(), "acme", "open sesame", "postgres").expect("no rule");
        assert!(error.message().contains("host \"127.0.0.1\""), "{error}");
    });
}

/// A server whose own pg_hba.conf says what the rules of the test say.
fn with_access(version: Version, authority: &Authority, lines: &str) -> Server {
    let identity = authority.server();
    let fallback = "host all postgres 127.0.0.1/32 trust\nlocal all postgres trust\n";
    let builder = Server::builder(version).tls(&identity.certificate, &identity.key);
    builder.file("pg_hba.conf", &format!("{lines}{fallback}")).start()
}

#[test]
fn who_matches_no_rule_or_is_rejected_reads_the_servers_own_words() {
    for version in versions() {
        let authority = Authority::create();
        let server =
            with_access(version, &authority, "host all eve 127.0.0.1/32 reject\nlocal all eve reject\n");
        let rules = r#"
            [[auth.rules]]
            user = "eve"
            method = "reject"
            [[auth.rules]]
            user = "postgres"
            method = "scram-sha-256"
        "#;
        let pgwarden = ruled(&server, rules).tls("allow", &authority.server()).start();
        for user in ["eve", "stranger", "with \"quotes\""] {
            let [expected, found] = [server.port(), pgwarden.port()].map(|port| {
                let mut encrypted = Wire::connect(port);
                encrypted.request_tls(&authority.client(None, &[]));
                let parameters = [("user", user), ("database", "d")];
                let error = encrypted.try_log_in("", &parameters).expect_err("no rule").fields();
                [words(&error), words(&refusal(port, user, "", "d").expect("no rule"))]
            });
            assert_eq!(found, expected, "{user}");
            let [expected, found] =
                [(server.directory(), server.port()), (pgwarden.directory(), pgwarden.port())].map(
                    |(place, port)| {
                        let output = through_socket(place, port, "stranger", "d");
                        String::from_utf8_lossy(&output.stderr).lines().next().and_then(|line| {
                            line.split_once("FATAL:").map(|(_, words)| words.trim().to_owned())
                        })
                    },
                );
            assert_eq!(found, expected);
            assert!(found.is_some_and(|words| words.contains("host \"[local]\"")));
        }
    }
}

#[test]
fn a_client_of_a_unix_socket_is_whom_the_operating_system_says() {
    for version in versions() {
        let authority = Authority::create();
        let server = with_access(version, &authority, "local all app peer\n");
        server.psql("CREATE ROLE app LOGIN");
        let pgwarden = ruled(&server, "[[auth.rules]]\ntype = \"local\"\nmethod = \"peer\"\n").start();
        let (place, port) = (pgwarden.directory(), pgwarden.port());
        let own = through_socket(place, port, &operating_system_user(), "postgres");
        assert!(own.status.success(), "{}", String::from_utf8_lossy(&own.stderr));
        let said = |output: Output| {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            text.split_once("FATAL:").map_or(text.clone(), |(_, words)| words.trim().to_owned())
        };
        let expected = said(through_socket(server.directory(), server.port(), "app", "postgres"));
        assert_eq!(said(through_socket(place, port, "app", "postgres")), expected);
        assert!(expected.contains("Peer authentication failed for user \"app\""), "{expected}");
        let over_tcp = refusal(port, &operating_system_user(), "", "postgres").expect("no rule");
        assert_eq!(over_tcp.code(), "28000");
    }
}

/// The context is that of the user whom the rule's method has verified.
#[test]
fn contexts_by_user_go_with_any_method() {
    for_each_version(async |server| {
        Tenants::load(server);
        let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
        let file = r#"
            mode = "enforce"
            [context]
            variables = "app.current_org_id=tenant:uuid, app.current_user_id=user:uuid"
            [context.fixed.acme]
            tenant = "00000000-0000-4000-8000-00000000000a"
            user = "00000000-0000-4000-8000-0000000000a1"
            [auth]
            users_file = "{dir}/users"
            [[auth.rules]]
            user = "acme"
            method = "md5"
        "#;
        let builder = Pgwarden::builder().upstream(&upstream).file("users", USERS).file("c.toml", file);
        let pgwarden = builder.argument("--config").argument("{dir}/c.toml").start();
        let mut wire = Wire::open(pgwarden.port(), "acme", "open sesame", "postgres");
        assert_eq!(values(&wire.query("SELECT org()")), [ACME]);
        assert_eq!(
            refusal(pgwarden.port(), "globex", "open sesame", "postgres").expect("no rule").code(),
            "28000"
        );
    });
}

#[test]
fn mistakes_in_rules_are_named_by_config_check() {
    let rules =
        "[[auth.rules]]\nmethod = \"scram-sha-256\"\n[[auth.rules]]\nuser = \"eve\"\nmethod = \"reject\"\n";
    let file = format!("[auth]\nusers_file = \"{{dir}}/users\"\n{rules}");
    let builder = Pgwarden::builder().upstream("postgres://app@127.0.0.1:1/postgres").file("users", USERS);
    let builder = builder.file("c.toml", &file).argument("--config").argument("{dir}/c.toml");
    let exit = builder.run(&["config", "check"]);
    assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
    let expected =
        "c.toml:5:1: auth.rules: no client gets to this rule, because the one of line 3 takes them all";
    assert!(exit.stderr.contains(expected), "{}", exit.stderr);
}
