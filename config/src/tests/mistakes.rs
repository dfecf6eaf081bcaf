//! Every mistake, with the exact line that the operator reads.

use super::{TRUST, UPSTREAM, from_env, from_file, from_file_with_upstream, mistakes_with};

/// Asserts that the variables, beside upstream and `trust`, give exactly this one line.
pub(super) fn one(variables: &[(&str, &str)], line: &str) {
    assert_eq!(mistakes_with(variables), [line]);
}

/// Asserts that a file, beside upstream and `trust` in the environment, gives exactly these lines.
pub(super) fn file(text: &str, lines: &[&str]) {
    assert_eq!(from_file_with_upstream(text).unwrap_err(), lines);
}

#[test]
fn a_wrong_value_is_named_with_line_and_column() {
    file(
        "\n# a comment\n[pool]\nsize = \"many\"\n",
        &["pgwarden.toml:4:8: pool.size: \"many\" is not a number; expected an integer from 1 to 10000"],
    );
}

#[test]
fn columns_count_characters() {
    file(
        "log = { level = \"info\", format = \"é\", \"fär\" = 1 }",
        &[
            "pgwarden.toml:1:34: log.format: \"é\" is not known; expected one of pretty, json",
            "pgwarden.toml:1:39: log.fär: unknown key; expected one of level, format, account_interval",
        ],
    );
}

#[test]
fn all_mistakes_are_found_at_once_and_in_order() {
    let text = "mode = \"strict\"\n[pool]\nsize = 0\nsise = 1\nidle_timeout = \"soon\"\n[limits]\nmax_clients = -1\n";
    let variables = [("PGWARDEN_WORKERS", "none"), ("PGWARDEN_WORKER", "1")];
    let environment = super::pairs(&[&[UPSTREAM, TRUST], &variables[..]].concat());
    let loaded = crate::load(Some((std::path::Path::new("c.toml"), text)), &environment, &[], &super::Fake);
    assert_eq!(
        super::render(loaded).unwrap_err(),
        [
            "c.toml:1:8: mode: \"strict\" is not known; expected one of passthrough, shadow, enforce",
            "c.toml:3:8: pool.size: 0 is out of range; expected an integer from 1 to 10000",
            "c.toml:4:1: pool.sise: unknown key, did you mean pool.size?; \
             expected one of mode, size, pins, checkout_timeout, idle_timeout, max_lifetime, prepared_statements, reassert",
            "c.toml:5:16: pool.idle_timeout: \"soon\" is not a duration; \
             expected a duration from 1s to 604800s, like 30s, 500ms or 5min",
            "c.toml:7:15: limits.max_clients: -1 is out of range; expected an integer from 1 to 1000000",
            "PGWARDEN_WORKERS: workers: \"none\" is not a number; expected an integer from 1 to 1024 or auto",
            "PGWARDEN_WORKER: unknown variable, did you mean PGWARDEN_WORKERS?; \
             expected one of the variables in reference.toml",
        ]
    );
}

#[test]
fn what_is_not_toml_is_named_by_its_place() {
    let mistakes = from_file("listen = [\n\nmode == 1").unwrap_err();
    assert!(mistakes[0].starts_with("pgwarden.toml:"), "{mistakes:?}");
    file("[pool]\nsize = 1\nsize = 2", &["pgwarden.toml:3:1: duplicate key; expected valid TOML"]);
}

#[test]
fn the_shape_of_the_file() {
    file("pool = 5", &["pgwarden.toml:1:8: pool: is not a table; expected a section [pool]"]);
    file("[pool]\nsize = {}", &["pgwarden.toml:2:8: pool.size: is a table; expected a single value"]);
    file("mode = []", &["pgwarden.toml:1:8: mode: is a list; expected a single value"]);
    file(
        "[tsl]\ncert = 1",
        &["pgwarden.toml:1:2: tsl: unknown key; \
           expected one of listen, proxy_protocol, unix_socket_permissions, mode, workers, takeover, upstream, pool, auth, context, guard, shadow, tls, admin, log, audit, tcp, limits, databases, users, service"],
    );
}

#[test]
fn an_empty_value_is_a_mistake_wherever_it_stands() {
    for (name, key) in [
        ("PGWARDEN_MODE", "mode"),
        ("PGWARDEN_CONTEXT", "context.variables"),
        ("PGWARDEN_FIXED", "context.fixed"),
    ] {
        let lines = mistakes_with(&[(name, " ")]);
        let expected = format!("{name}: {key}: is empty; expected a value, or the key left out");
        assert_eq!(lines[0], expected);
    }
}

#[test]
fn unknown_variables_get_a_suggestion() {
    one(
        &[("PGWARDEN_POOLSIZE", "5")],
        "PGWARDEN_POOLSIZE: unknown variable, did you mean PGWARDEN_POOL_SIZE?; \
         expected one of the variables in reference.toml",
    );
    one(
        &[("PGWARDEN_SOMETHING_ELSE", "5")],
        "PGWARDEN_SOMETHING_ELSE: unknown variable; expected one of the variables in reference.toml",
    );
}

#[test]
fn nothing_at_all_is_configured() {
    assert_eq!(
        from_env(&[]).unwrap_err(),
        [
            "configuration: upstream.url: is missing; \
             expected postgres://user:password@host:port/database, or PGWARDEN_UPSTREAM",
            "configuration: auth.users_file: is missing, scram-sha-256 needs it; \
             expected the path of a file with lines \"name\" \"secret\", or auth.query.user",
        ]
    );
}

#[test]
fn listen() {
    const EXPECTED: &str =
        "expected host:port, [address]:port, *:port, or the absolute path of a socket directory";
    for (text, problem) in [
        ("localhost", "\"localhost\" is not an address with a port"),
        (":6432", "\":6432\" is not an address with a port"),
        ("::1:6432", "\"::1:6432\" has no valid host"),
        ("[::x]:6432", "\"[::x]:6432\" has no valid host"),
        ("a b:6432", "\"a b:6432\" has no valid host"),
    ] {
        one(&[("PGWARDEN_LISTEN", text)], &format!("PGWARDEN_LISTEN: listen: {problem}; {EXPECTED}"));
    }
    one(
        &[("PGWARDEN_LISTEN", "localhost:99999")],
        "PGWARDEN_LISTEN: listen: \"localhost:99999\" has no valid port; expected a port from 0 to 65535",
    );
    one(
        &[("PGWARDEN_LISTEN", "localhost:1,localhost:1")],
        "PGWARDEN_LISTEN: listen: localhost:1 is given twice; expected each address once",
    );
    one(
        &[("PGWARDEN_LISTEN", &format!("/{}", "x".repeat(100)))],
        "PGWARDEN_LISTEN: listen: the socket's path is too long; expected a socket path of at most 107 bytes",
    );
    file("listen = []", &["pgwarden.toml:1:10: listen: is empty; expected at least one address"]);
    file(
        "listen = [\"/tmp\", 5]",
        &[&format!("pgwarden.toml:1:19: listen: \"5\" is not an address with a port; {EXPECTED}")],
    );
}

#[test]
fn upstream_urls() {
    for (url, line) in [
        ("mysql://h", "is not a PostgreSQL URL; expected postgres://user:password@host:port/database"),
        ("postgres://a,b/x", "names several hosts, which is not supported yet; expected one host"),
        ("postgres:///x", "has no valid host; expected a host name, an address, or a socket directory"),
        ("postgres://h:0", "has no valid port; expected a port from 1 to 65535"),
        ("postgres://h:+1", "has no valid port; expected a port from 1 to 65535"),
        ("postgres://h?port=x", "has no valid port; expected a port from 1 to 65535"),
        ("postgres://h:1?port=2", "gives the host or port twice; expected each once"),
        (
            "postgres://:p@h",
            "has a login without a user; expected postgres://user:password@host:port/database",
        ),
        (
            "postgres://u:a@b@h",
            "has `@` or `/` in the wrong place; expected percent-encoded user, password and database",
        ),
        (
            "postgres://u%4@h",
            "is not percent-encoded rightly; expected %XX with two hexadecimal digits, in UTF-8",
        ),
        (
            "postgres://u%00@h",
            "is not percent-encoded rightly; expected %XX with two hexadecimal digits, in UTF-8",
        ),
        (
            "postgres://h?ssl=1",
            "has an unknown parameter; expected sslmode, sslrootcert, sslcert, sslkey, channel_binding, host or port",
        ),
        (
            "postgres://h?options=-c",
            "has the parameter options, which pgwarden does not use; \
             expected sslmode, sslrootcert, sslcert, sslkey, channel_binding, host or port",
        ),
        ("postgres://h?host=g", "gives the host or port twice; expected each once"),
        ("postgres://h?sslkey=a&sslkey=b&sslcert=c", "gives sslkey twice; expected each parameter once"),
        ("postgres://h?sslkey=/a", "has one of sslcert and sslkey; expected both or none"),
        (
            "postgres://h?sslmode=allow",
            "has an unknown sslmode; expected one of disable, prefer, require, verify-ca, verify-full",
        ),
        (
            "postgres://h?sslmode=verify-full",
            "verify-full without a root certificate; expected sslrootcert in the URL, or upstream.tls.root_cert",
        ),
        ("postgres://%2Fs?sslmode=require", "there is no TLS on a unix socket; expected disable or prefer"),
        (
            "postgres://h?sslrootcert=/absent/ca",
            "cannot read \"/absent/ca\": no such file; expected a file that pgwarden may read",
        ),
    ] {
        one(&[("PGWARDEN_UPSTREAM", url)], &format!("PGWARDEN_UPSTREAM: upstream.url: {line}"));
    }
}

#[test]
fn the_upstream_section() {
    file(
        "[upstream]\npassword = \"literal\"\nconnect_timeout = \"2h\"\ntls.mode = \"verify-ca\"\ntls.cert = \"/c\"",
        &[
            "pgwarden.toml:2:12: upstream.password: a secret may not stand here itself; expected file:PATH or env:NAME",
            "pgwarden.toml:3:19: upstream.connect_timeout: \"2h\" is out of range; \
             expected a duration from 1ms to 3600s, like 30s, 500ms or 5min",
            "pgwarden.toml:4:12: upstream.tls.mode: verify-ca without a root certificate; \
             expected sslrootcert in the URL, or upstream.tls.root_cert",
            "pgwarden.toml:5:12: upstream.tls.key: is missing beside upstream.tls.cert; expected certificate and key together",
        ],
    );
    let text = "auth.method = \"trust\"\n[upstream]\nurl = \"postgres://u:p@h?sslmode=require\"\npassword = \"env:A_SECRET\"\ntls.mode = \"prefer\"";
    assert_eq!(
        from_file(text).unwrap_err(),
        [
            "pgwarden.toml:4:12: upstream.password: the URL has a password already; expected the password in one place",
            "pgwarden.toml:5:12: upstream.tls.mode: upstream.url says it already; expected it in one place",
        ]
    );
    let text = "auth.method = \"trust\"\n[upstream]\nurl = \"postgres://h\"\npassword = \"env:A_SECRET\"";
    assert_eq!(
        from_file(text).unwrap_err(),
        ["pgwarden.toml:4:12: upstream.password: a password without a user; expected a user in upstream.url"]
    );
}

#[test]
fn secrets_that_cannot_be_read() {
    for (value, line) in [
        ("file:/absent/x", "cannot read \"/absent/x\": no such file; expected a file that pgwarden may read"),
        ("file:/empty", "\"/empty\" is empty; expected a text file that holds the secret"),
        ("file:/binary", "\"/binary\" is not UTF-8 text; expected a text file that holds the secret"),
        (
            "env:NOTHING",
            "environment variable \"NOTHING\" is not set; expected a variable that holds the secret",
        ),
        (
            "env:BINARY",
            "environment variable \"BINARY\" is not UTF-8 text; expected a variable that holds the secret",
        ),
    ] {
        let text = format!("upstream.password = \"{value}\"");
        file(&text, &[&format!("pgwarden.toml:1:21: upstream.password: {line}")]);
    }
}

#[test]
fn a_mode_is_needed_as_soon_as_there_is_a_context() {
    one(
        &[("PGWARDEN_CONTEXT", "a.b=literal:c")],
        "configuration: mode: is missing, context.variables makes it necessary; expected one of passthrough, shadow, enforce",
    );
    one(
        &[("PGWARDEN_MODE", "off")],
        "PGWARDEN_MODE: mode: \"off\" is not known; expected one of passthrough, shadow, enforce",
    );
    one(
        &[("PGWARDEN_MODE", "enforce")],
        "PGWARDEN_MODE: mode: enforce has nothing to inject; expected context.variables as well",
    );
}

#[test]
fn modes_by_database_and_user() {
    file(
        "users = 1\n[databases]\na = \"shadow\"\nb = {}\nc = { mode = \"x\", size = 1 }\nd.mode = \"enforce\"",
        &[
            "pgwarden.toml:1:9: users: is not a table; expected [users.NAME] with a mode",
            "pgwarden.toml:2:1: databases: enforce has nothing to inject; expected context.variables as well",
            "pgwarden.toml:3:5: databases.a: is not a table; expected [databases.a] with a mode",
            "pgwarden.toml:4:1: databases.b.mode: is missing; expected one of passthrough, shadow, enforce",
            "pgwarden.toml:5:14: databases.c.mode: \"x\" is not known; expected one of passthrough, shadow, enforce",
            "pgwarden.toml:5:19: databases.c.size: unknown key; expected mode",
        ],
    );
}

#[test]
fn authentication() {
    one(
        &[("PGWARDEN_AUTH", "gss")],
        "PGWARDEN_AUTH: auth.method: \"gss\" is not known; expected one of trust, password, md5, scram-sha-256, scram-sha-256-plus, cert, jwt, oauthbearer, peer, passthrough, reject",
    );
    one(
        &[("PGWARDEN_LISTEN", "/tmp,0.0.0.0:6432")],
        "PGWARDEN_AUTH: auth.method: trust lets everybody in who reaches 0.0.0.0:6432; \
         expected a loopback address or unix socket, or auth.trust_remote = true",
    );
    for method in ["password", "md5", "scram-sha-256"] {
        one(
            &[("PGWARDEN_AUTH", method)],
            &format!(
                "PGWARDEN_AUTH: auth.users_file: is missing, {method} needs it; \
                 expected the path of a file with lines \"name\" \"secret\", or auth.query.user"
            ),
        );
    }
    one(
        &[("PGWARDEN_AUTH", "md5"), ("PGWARDEN_USERS_FILE", "/absent/users")],
        "PGWARDEN_USERS_FILE: auth.users_file: cannot read \"/absent/users\": no such file; \
         expected a file that pgwarden may read",
    );
    one(
        &[("PGWARDEN_AUTH", "cert")],
        "PGWARDEN_AUTH: auth.method: cert needs TLS with client certificates; \
         expected tls.cert, tls.key and tls.client_ca as well",
    );
}

#[test]
fn trust_for_other_machines_can_be_forced() {
    let text = "listen = \"*:6432\"\nauth.trust_remote = true";
    assert!(from_file_with_upstream(text).is_ok());
}

#[test]
fn tls_towards_clients() {
    one(
        &[("PGWARDEN_TLS_MODE", "require")],
        "PGWARDEN_TLS_MODE: tls.cert: is missing, TLS needs it; expected the path of a certificate in PEM",
    );
    one(
        &[("PGWARDEN_TLS_CERT", "/c")],
        "PGWARDEN_TLS_CERT: tls.key: is missing beside tls.cert; expected certificate and key together",
    );
    one(
        &[("PGWARDEN_TLS_KEY", "/k")],
        "PGWARDEN_TLS_KEY: tls.cert: is missing beside tls.key; expected certificate and key together",
    );
    file(
        "tls.client_cert = \"verify\"",
        &["pgwarden.toml:1:19: tls.client_ca: is missing, client certificates need it; \
           expected the path of certificates in PEM"],
    );
}

#[test]
fn admin_log_and_workers() {
    one(
        &[("PGWARDEN_ADMIN", "*:9000")],
        "PGWARDEN_ADMIN: admin.token: is missing, other machines reach the admin listener; expected file:PATH or env:NAME",
    );
    one(
        &[("PGWARDEN_ADMIN", "on")],
        "PGWARDEN_ADMIN: admin.listen: \"on\" is not an address with a port; expected host:port or off",
    );
    one(
        &[("PGWARDEN_ADMIN", "/tmp")],
        "PGWARDEN_ADMIN: admin.listen: is a socket directory; expected host:port or off",
    );
    one(
        &[("PGWARDEN_LOG", "info,=debug")],
        "PGWARDEN_LOG: log.level: \"=debug\" is not a level; \
         expected off, error, warn, info, debug or trace, or target=level, with commas between",
    );
    one(
        &[("PGWARDEN_DRAIN_TIMEOUT", "99999999999999999999h")],
        "PGWARDEN_DRAIN_TIMEOUT: limits.drain_timeout: \"99999999999999999999h\" is not a duration; \
         expected a duration from 0s to 86400s, like 30s, 500ms or 5min",
    );
    file(
        "limits.token_bytes = \"1TB\"",
        &["pgwarden.toml:1:22: limits.token_bytes: \"1TB\" is not a size; \
           expected a size from 64 to 65535 bytes, like 8192 or 16MiB"],
    );
}

#[test]
fn a_takeover_needs_a_path_that_a_socket_can_have() {
    assert!(from_file_with_upstream("takeover = \"/run/pgwarden/takeover\"").is_ok());
    for path in ["t", "./t", "/run/", &format!("/{}", "x".repeat(95))] {
        one(
            &[("PGWARDEN_TAKEOVER", path)],
            "PGWARDEN_TAKEOVER: takeover: is no path for a socket; expected an absolute path of less than 96 bytes",
        );
    }
}

#[test]
fn permissions_are_four_octal_digits() {
    for (mode, bits) in [("\"0777\"", 0o777), ("\"0000\"", 0), ("\"0660\"", 0o660), ("0o660", 0o660)] {
        let settings = from_file_with_upstream(&format!("unix_socket_permissions = {mode}")).unwrap();
        assert_eq!(settings.unix_socket_permissions, Some(bits));
    }
    for (written, shown) in [("\"777\"", "777"), ("770", "770"), ("\"0888\"", "0888"), ("\"1777\"", "1777")] {
        let line = format!(
            "pgwarden.toml:1:27: unix_socket_permissions: \"{shown}\" is no file mode; \
             expected \"0000\" to \"0777\", in octal"
        );
        file(&format!("unix_socket_permissions = {written}"), &[&line]);
    }
}

#[test]
fn keepalive_is_a_time_or_off() {
    let tcp = |text: &str| from_file_with_upstream(text).unwrap().tcp;
    assert_eq!(tcp("tcp.keepalive_idle = \"off\"").keepalive, None);
    assert_eq!(tcp("tcp.user_timeout = \"90s\"").user_timeout, Some(std::time::Duration::from_secs(90)));
    file(
        "tcp.keepalive_idle = \"10ms\"\ntcp.keepalive_count = 0\n",
        &[
            "pgwarden.toml:1:22: tcp.keepalive_idle: \"10ms\" is out of range; \
             expected a duration from 1s to 32767s, like 30s, 500ms or 5min",
            "pgwarden.toml:2:23: tcp.keepalive_count: 0 is out of range; expected an integer from 1 to 127",
        ],
    );
}

#[test]
fn the_guard() {
    one(
        &[("PGWARDEN_GUARD", "deny")],
        "PGWARDEN_GUARD: guard.mode: \"deny\" is not known; expected one of reject, record, off",
    );
    one(
        &[("PGWARDEN_GUARD_FUNCTIONS", "a.b.c")],
        "PGWARDEN_GUARD_FUNCTIONS: guard.functions: \"a.b.c\" is no function; expected name or schema.name, without quotes",
    );
}
