//! `pgwarden config`: every mistake at once with its place, flags before variables before the file, and no secret in
//! anything that is printed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output};

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::{Exit, Pgwarden, PgwardenBuilder, binary};

const UPSTREAM: &str = "postgres://app@127.0.0.1:1/postgres";
/// In every secret of these tests.
const HIDDEN: &str = "hunter2";

/// A configuration without mistakes.
fn right() -> PgwardenBuilder {
    Pgwarden::builder().upstream(UPSTREAM).env("PGWARDEN_AUTH", "trust")
}

fn with_file(builder: PgwardenBuilder, text: &str) -> PgwardenBuilder {
    builder.config(text)
}

#[track_caller]
fn check(builder: PgwardenBuilder) -> Exit {
    builder.run(&["config", "check"])
}

#[track_caller]
fn show(builder: PgwardenBuilder) -> String {
    let exit = builder.run(&["config", "show"]);
    assert_eq!(exit.status.code(), Some(0), "{}", exit.stderr);
    exit.stderr
}

#[test]
fn a_right_configuration_is_called_right() {
    let exit = check(with_file(right(), "[pool]\nsize = 7\n"));
    assert_eq!((exit.status.code(), exit.stderr.as_str()), (Some(0), "the configuration is right\n"));
}

const MISTAKES: &str = r#"mode = "strict"
[pool]
size = 0
sise = 5
idle_timeout = "soon"
[upstream]
password = "file:absent"
[tls]
cert = "absent.pem"
[limits]
max_clients = -1
[context]
variables = "app.org=literal:x, current_user=user"
"#;

#[test]
fn every_mistake_of_file_variables_and_flags_is_named_at_once_in_order() {
    let builder = with_file(right(), MISTAKES)
        .env("PGWARDEN_WORKERS", "none")
        .env("PGWARDEN_WORKER", "3")
        .env("PGWARDEN_AUTH", "gss")
        .argument("--log-format=xml");
    let exit = check(builder);
    assert_eq!(exit.status.code(), Some(64));
    let expected = [
        ("pgwarden.toml:1:8: mode: \"strict\"", "expected one of passthrough, shadow, enforce"),
        ("pgwarden.toml:3:8: pool.size: 0 is out of range", "expected an integer from 1 to 10000"),
        ("pgwarden.toml:4:1: pool.sise: unknown key", "did you mean pool.size?"),
        ("pgwarden.toml:5:16: pool.idle_timeout: \"soon\"", "expected a duration"),
        ("pgwarden.toml:7:12: upstream.password: cannot read \"absent\"", "expected a file"),
        ("pgwarden.toml:9:8: tls.cert: cannot read \"absent.pem\"", "expected a file"),
        ("pgwarden.toml:9:8: tls.key: is missing beside tls.cert", "expected certificate and key together"),
        ("pgwarden.toml:11:15: limits.max_clients: -1 is out of range", "expected an integer"),
        ("pgwarden.toml:13:13: context.variables: \"current_user\"", "expected a dotted identifier"),
        ("PGWARDEN_AUTH: auth.method: \"gss\" is not known", "expected one of trust,"),
        ("PGWARDEN_WORKERS: workers: \"none\" is not a number", "expected an integer"),
        ("PGWARDEN_WORKER: unknown variable", "did you mean PGWARDEN_WORKERS?"),
        ("--log-format: log.format: \"xml\" is not known", "expected one of pretty, json"),
    ];
    let mut lines: Vec<&str> = exit.stderr.lines().collect();
    for (beginning, rest) in expected {
        let found = lines.iter().position(|line| line.starts_with(beginning) && line.contains(rest));
        lines.remove(found.unwrap_or_else(|| panic!("no line {beginning} … {rest} in\n{}", exit.stderr)));
    }
    assert_eq!(lines, Vec::<&str>::new(), "nothing but the mistakes");
    let places = exit.stderr.lines().map(|line| match line.as_bytes()[0] {
        b'p' => 0,
        b'P' => 1,
        _ => 2,
    });
    assert!(places.is_sorted(), "the file, then the environment, then the flags:\n{}", exit.stderr);
}

#[test]
fn serve_says_the_same_as_check_and_does_not_start() {
    let builder = || with_file(right(), MISTAKES).env("PGWARDEN_WORKERS", "none");
    let exit = builder().try_start().expect_err("it cannot start");
    assert_eq!(exit.status.code(), Some(64));
    assert_eq!(exit.stderr, check(builder()).stderr);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    for (builder, name) in [
        (right().argument("--config=absent.toml"), "absent.toml"),
        (right().env("PGWARDEN_CONFIG", "{dir}/absent.toml"), "/absent.toml"),
        (right().argument("--config={dir}"), "cannot read"),
        (right().env("PGWARDEN_CONFIG", ""), "cannot read"),
    ] {
        let exit = check(builder);
        assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
        assert!(exit.stderr.contains(name), "{}", exit.stderr);
    }
}

/// `config check` with one variable more, which need not be text.
fn check_with(name: &str, value: &[u8]) -> Output {
    let mut command = Command::new(binary());
    command.env_clear().env("PGWARDEN_UPSTREAM", UPSTREAM).env("PGWARDEN_AUTH", "trust");
    command.args(["config", "check"]).env(name, OsStr::from_bytes(value)).output().expect("pgwarden runs")
}

#[test]
fn a_variable_that_is_not_text_is_a_mistake_and_not_overlooked() {
    for name in ["PGWARDEN_POOL_MODE", "PGWARDEN_MODE", "PGWARDEN_NOTHING_KNOWN", "PGWARDEN_CONFIG"] {
        let output = check_with(name, b"enforce\xff");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{name}: {said}");
        assert!(said.contains(name), "{said}");
    }
    assert_eq!(check_with("OTHER_PROGRAMS", b"\xff").status.code(), Some(0), "others may be what they want");
}

#[test]
fn contradictions_are_mistakes() {
    let context = ("PGWARDEN_CONTEXT", "app.org=tenant:uuid");
    for (variables, words) in [
        (vec![("PGWARDEN_MODE", "enforce")], "enforce has nothing to inject"),
        (vec![context], "mode: is missing"),
        (vec![("PGWARDEN_LISTEN", "0.0.0.0:1")], "trust lets everybody in"),
        (vec![("PGWARDEN_AUTH", "scram-sha-256")], "auth.users_file: is missing"),
        (vec![("PGWARDEN_AUTH", "jwt")], "auth.jwt.key: is missing"),
        (vec![("PGWARDEN_AUTH", "cert")], "cert needs TLS with client certificates"),
        (vec![("PGWARDEN_TLS_MODE", "require")], "tls.cert: is missing"),
        (vec![("PGWARDEN_ADMIN", "0.0.0.0:1")], "admin.token: is missing"),
        (vec![("PGWARDEN_LISTEN", "localhost:1,localhost:1")], "is given twice"),
        (vec![("PGWARDEN_UPSTREAM", "postgres://h?sslmode=verify-full")], "without a root certificate"),
    ] {
        let builder = variables.iter().fold(right(), |builder, (name, value)| builder.env(name, value));
        let exit = check(builder);
        assert_eq!(exit.status.code(), Some(64), "{variables:?}: {}", exit.stderr);
        assert!(exit.stderr.contains(words), "{variables:?}: {}", exit.stderr);
    }
}

/// What only the contents of other files show: `serve` refuses it, so `check` must not call it right.
#[test]
fn check_looks_into_the_files_that_serve_reads() {
    let authority = Authority::create();
    let (one, other) = (authority.server(), authority.stranger());
    let tls = |certificate: &str, key: &str| {
        let builder = right().file("cert.pem", certificate).file("key.pem", key);
        builder.env("PGWARDEN_TLS_CERT", "cert.pem").env("PGWARDEN_TLS_KEY", "key.pem")
    };
    let jwt =
        |url: &str| right().env("PGWARDEN_AUTH", "jwt").env("PGWARDEN_JWT_KEY", "file:key").upstream(url);
    let users = right().env("PGWARDEN_AUTH", "md5").env("PGWARDEN_USERS_FILE", "users.txt");
    let cases = [
        (users.file("users.txt", "\"alice\" \"a\"\nalice hunter2\n"), "users.txt"),
        (tls(&one.certificate, "no key: hunter2"), "key.pem"),
        (tls("no certificate", &one.key), "cert.pem"),
        (tls(&one.certificate, &other.key), "cert.pem"),
        (jwt(UPSTREAM).file("key", "-----BEGIN PUBLIC KEY-----\nhunter2\n-----END PUBLIC KEY-----\n"), "key"),
        (
            jwt("postgres://127.0.0.1:1/postgres").file("key", "hunter2-that-is-long-enough-for-a-secret"),
            "upstream.url",
        ),
    ];
    let mut called_right = Vec::new();
    for (number, (builder, named)) in cases.into_iter().enumerate() {
        let exit = check(builder);
        assert!(!exit.stderr.contains(HIDDEN), "{}", exit.stderr);
        if exit.status.code() != Some(64) || !exit.stderr.contains(named) {
            called_right.push(format!("{number}, which should name {named}: {}", exit.stderr.trim()));
        }
    }
    assert_eq!(called_right, Vec::<String>::new());
}

/// The same through `serve`: refused with 64 and named, without the contents.
#[test]
fn serve_refuses_files_that_it_cannot_use_and_shows_nothing_of_them() {
    let authority = Authority::create();
    let (one, other) = (authority.server(), authority.stranger());
    let tls = |certificate: &str, key: &str| {
        let builder = right().file("cert.pem", certificate).file("key.pem", key);
        builder.env("PGWARDEN_TLS_CERT", "cert.pem").env("PGWARDEN_TLS_KEY", "key.pem")
    };
    let jwt =
        |url: &str| right().env("PGWARDEN_AUTH", "jwt").env("PGWARDEN_JWT_KEY", "file:key").upstream(url);
    let users = |text| {
        let builder = right().env("PGWARDEN_AUTH", "md5").env("PGWARDEN_USERS_FILE", "users.txt");
        builder.file("users.txt", text)
    };
    for (builder, named) in [
        (users("\"alice\" \"a\"\nalice hunter2\n"), "users.txt: line 2"),
        (users("\"alice\" \"hunter2\n"), "users.txt: line 1"),
        (tls(&one.certificate, "no key: hunter2"), "key.pem"),
        (tls("no certificate: hunter2", &one.key), "cert.pem"),
        (tls(&one.certificate, &other.key), "cert.pem"),
        (jwt(UPSTREAM).file("key", "-----BEGIN PUBLIC KEY-----\nhunter2\n-----END PUBLIC KEY-----\n"), "key"),
        (
            jwt("postgres://127.0.0.1:1/postgres").file("key", "hunter2-that-is-long-enough-for-a-secret"),
            "upstream.url",
        ),
    ] {
        let exit = builder.try_start().expect_err("it cannot start");
        assert_eq!(exit.status.code(), Some(64), "{named}: {}", exit.stderr);
        assert!(exit.stderr.contains(named), "{named}: {}", exit.stderr);
        assert!(!exit.stderr.contains(HIDDEN), "{}", exit.stderr);
    }
}

#[test]
fn flags_go_before_variables_and_variables_before_the_file() {
    let size = |builder: PgwardenBuilder| {
        let shown = show(builder);
        let line = shown.lines().find_map(|line| line.strip_prefix("size = "));
        line.unwrap_or_else(|| panic!("no size in {shown}")).to_owned()
    };
    let file = || with_file(right(), "pool.size = 11\n");
    assert_eq!(size(right()), "20");
    assert_eq!(size(file()), "11");
    assert_eq!(size(right().env("PGWARDEN_POOL_SIZE", "12")), "12");
    assert_eq!(size(file().env("PGWARDEN_POOL_SIZE", "12")), "12");
    assert_eq!(size(file().env("PGWARDEN_POOL_SIZE", "12").argument("--pool-size=13")), "13");
    assert_eq!(size(file().argument("--pool-size").argument("13")), "13");
    let two = right().file("one.toml", "pool.size = 1").file("two.toml", "pool.size = 2");
    assert_eq!(size(two.env("PGWARDEN_CONFIG", "one.toml").argument("--config=two.toml")), "2");
}

#[test]
fn every_variable_has_a_flag_and_both_say_the_same() {
    let authority = Authority::create();
    let identity = authority.server();
    for (flag, value, shown) in [
        ("listen", "127.0.0.1:7001", "listen = [\"127.0.0.1:7001\"]"),
        ("upstream", "postgres://u@h:7002/d", "url = \"postgres://u@h:7002/d\""),
        ("mode", "shadow", "mode = \"shadow\""),
        ("pool-mode", "session", "mode = \"session\""),
        ("pool-size", "7003", "size = 7003"),
        ("pins", "refuse", "pins = \"refuse\""),
        ("auth", "password", "method = \"password\""),
        ("users-file", "users.txt", "users_file = \"users.txt\""),
        ("auth-query-user", "warden", "user = \"warden\""),
        ("auth-query-password", "file:key", "password = \"[hidden]\""),
        ("auth-query", "SELECT $1", "sql = \"SELECT $1\""),
        ("jwt-key", "file:key", "key = \"file:key\""),
        ("jwt-issuer", "me", "issuer = \"me\""),
        ("jwt-audience", "you", "audience = [\"you\"]"),
        ("jwt-algorithms", "HS384", "algorithms = [\"HS384\"]"),
        ("context", "app.org=literal:x", "app.org"),
        ("fixed", "alice=tenant:7004", "7004"),
        ("tls-cert", "{dir}/cert.pem", "/cert.pem\""),
        ("tls-key", "{dir}/key.pem", "/key.pem\""),
        ("tls-client-ca", "{dir}/ca.pem", "/ca.pem\""),
        ("tls-mode", "require", "mode = \"require\""),
        ("admin", "127.0.0.1:7005", "listen = \"127.0.0.1:7005\""),
        ("workers", "3", "workers = 3"),
        ("log", "debug", "level = \"debug\""),
        ("log-format", "json", "format = \"json\""),
        ("drain-timeout", "17s", "drain_timeout = \"17s\""),
    ] {
        let base = || {
            let builder = Pgwarden::builder().file("users.txt", "\"a\" \"b\"\n").file("key", &"k".repeat(64));
            let builder = builder.file("cert.pem", &identity.certificate).file("key.pem", &identity.key);
            let builder = builder.file("ca.pem", authority.certificate());
            let file = format!(
                "mode = \"passthrough\"\nupstream.url = \"{UPSTREAM}\"\nauth.method = \"jwt\"\n\
                 auth.users_file = \"./users.txt\"\nauth.jwt.key = \"file:./key\"\n\
                 auth.query.user = \"asker\"\ntls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n"
            );
            with_file(builder, &file)
        };
        assert!(!show(base()).contains(shown), "{flag}: it shows {shown} anyway");
        let by_flag = show(base().argument(&format!("--{flag}={value}")));
        assert!(by_flag.contains(shown), "--{flag}={value}: no {shown} in {by_flag}");
        let variable = format!("PGWARDEN_{}", flag.to_uppercase().replace('-', "_"));
        let by_variable = show(base().env(&variable, value));
        assert!(by_variable.contains(shown), "{variable}={value}: no {shown} in {by_variable}");
    }
}

#[test]
fn the_reference_is_printed_as_it_stands_in_the_repository() {
    let exit = Pgwarden::builder().run(&["config", "reference"]);
    assert_eq!(exit.status.code(), Some(0));
    assert_eq!(exit.stderr, include_str!("../../config/reference.toml"));
}

#[test]
fn what_show_prints_is_a_configuration_that_shows_the_same() {
    let right = right().env("PGWARDEN_MODE", "enforce").env("PGWARDEN_FIXED", "alice=tenant:1;user:2");
    let first = show(right.env("PGWARDEN_CONTEXT", "app.org=tenant:bigint, app.region=literal:'it''s, a'"));
    assert_eq!(show(with_file(Pgwarden::builder(), &first)), first);
}

#[test]
fn no_secret_is_printed_by_show_check_or_a_mistake() {
    let secrets = || {
        let file = "upstream.url = \"postgres://app@127.0.0.1:1/postgres\"\nupstream.password = \"file:password\"\n\
                    admin.token = \"env:ADMIN\"\nauth.method = \"jwt\"\nauth.jwt.key = \"env:KEY\"\n";
        with_file(Pgwarden::builder(), file)
            .file("password", "hunter2-password")
            .env("ADMIN", "hunter2-admin")
            .env("KEY", "hunter2-key-that-is-long-enough-for-a-secret")
    };
    let in_the_url = || right().upstream("postgres://app:hunter2@127.0.0.1:1/postgres");
    for builder in [secrets, in_the_url] {
        let shown = show(builder());
        assert!(shown.contains("[hidden]") && !shown.contains(HIDDEN), "{shown}");
        for mistake in ["--pool-size=none", "--upstream=postgres://app:hunter2@h:x", "--mode=enforce"] {
            let exit = check(builder().argument(mistake));
            assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
            assert!(!exit.stderr.contains(HIDDEN), "{}", exit.stderr);
        }
    }
    for (variable, value) in [
        ("PGWARDEN_PASSWORD", "hunter2"),
        ("PGWARDEN_UPSTREAM", "hunter2"),
        ("PGWARDEN_UPSTREAM", "postgres://app:hunter2@"),
        ("PGWARDEN_JWT_KEY", "hunter2"),
        ("PGWARDEN_JWT_KEY", "https://a:hunter2@issuer.example/"),
        ("PGWARDEN_UPSTREAM", "postgres://app:hunter2@h?password=hunter2"),
    ] {
        let exit = check(right().env("PGWARDEN_AUTH", "jwt").env(variable, value));
        assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
        assert!(!exit.stderr.contains(HIDDEN), "{variable}={value}: {}", exit.stderr);
    }
}
