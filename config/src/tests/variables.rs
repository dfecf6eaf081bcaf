//! Each environment variable does what its row in the contract says.

use std::path::PathBuf;
use std::time::Duration;

use super::{TRUST, UPSTREAM, from_env, with};
use crate::{
    Admin, ClientCert, Endpoint, Identity, KeySource, LogFormat, Method, Mode, PinPolicy, PoolMode, TlsMode,
    UpstreamTlsMode,
};

#[test]
fn the_upstream_and_trust_suffice() {
    let settings = from_env(&[UPSTREAM, TRUST]).unwrap();
    assert_eq!(settings.listen, [Endpoint::Tcp("127.0.0.1".into(), 6432)]);
    assert_eq!(settings.mode, Mode::Passthrough);
    assert_eq!(settings.admin, Some(Admin { host: "127.0.0.1".into(), port: 6433, token: None }));
    assert_eq!(settings.upstream.endpoint, Endpoint::Tcp("db".into(), 5432));
}

#[test]
fn listen_takes_addresses_and_socket_directories() {
    let listen = "localhost:1, [::1]:2, 127.0.0.1:0, /run/pgwarden, /tmp:7000";
    let unix = |directory: &str, port| Endpoint::Unix { directory: directory.into(), port };
    assert_eq!(
        with(&[("PGWARDEN_LISTEN", listen)]).listen,
        [
            Endpoint::Tcp("localhost".into(), 1),
            Endpoint::Tcp("::1".into(), 2),
            Endpoint::Tcp("127.0.0.1".into(), 0),
            unix("/run/pgwarden", 6432),
            unix("/tmp", 7000),
        ]
    );
    let path = unix("/tmp", 7000).socket_path();
    assert_eq!(path, Some(PathBuf::from("/tmp/.s.PGSQL.7000")));
}

#[test]
fn listen_on_every_address_is_a_star() {
    let variables = [("PGWARDEN_LISTEN", "*:6432"), ("PGWARDEN_AUTH", "md5"), ("PGWARDEN_USERS_FILE", "/u")];
    let settings = with(&variables);
    assert_eq!(settings.listen, [Endpoint::Tcp("*".into(), 6432)]);
    assert!(!settings.listen[0].is_local());
}

#[test]
fn upstream_is_taken_apart_and_decoded() {
    let url = "postgresql://us%40er:p%3Aw%2F@[::1]:5433/my%20db?sslmode=verify-full&sslrootcert=/ca&sslcert=/c&sslkey=/k";
    let upstream = with(&[("PGWARDEN_UPSTREAM", url)]).upstream;
    assert_eq!(upstream.endpoint, Endpoint::Tcp("::1".into(), 5433));
    assert_eq!(upstream.user.as_deref(), Some("us@er"));
    assert_eq!(upstream.password.unwrap().expose(), "p:w/");
    assert_eq!(upstream.database.as_deref(), Some("my db"));
    assert_eq!(upstream.tls.mode, UpstreamTlsMode::VerifyFull);
    assert_eq!(upstream.tls.root_cert, Some("/ca".into()));
    assert_eq!(upstream.tls.identity, Some(Identity { cert: "/c".into(), key: "/k".into() }));
}

#[test]
fn upstream_may_be_a_unix_socket_without_tls() {
    for url in ["postgres://%2Frun%2Fpg:5433/app", "postgres:///app?host=/run/pg&port=5433"] {
        let upstream = with(&[("PGWARDEN_UPSTREAM", url)]).upstream;
        assert_eq!(upstream.endpoint, Endpoint::Unix { directory: "/run/pg".into(), port: 5433 });
        assert_eq!(upstream.tls.mode, UpstreamTlsMode::Disable);
        assert_eq!(upstream.user, None);
    }
}

#[test]
fn mode_is_one_of_three() {
    for (word, mode) in [("passthrough", Mode::Passthrough), ("shadow", Mode::Shadow)] {
        assert_eq!(with(&[("PGWARDEN_MODE", word)]).mode, mode);
    }
    let enforce = [("PGWARDEN_MODE", "enforce"), ("PGWARDEN_CONTEXT", "a.b=literal:c")];
    assert_eq!(with(&enforce).mode, Mode::Enforce);
}

#[test]
fn pool_mode_size_and_pins() {
    let pool =
        with(&[("PGWARDEN_POOL_MODE", "session"), ("PGWARDEN_POOL_SIZE", "7"), ("PGWARDEN_PINS", "refuse")])
            .pool;
    assert_eq!((pool.mode, pool.size, pool.pins), (PoolMode::Session, 7, PinPolicy::Refuse));
}

#[test]
fn every_method_of_authentication() {
    let file = ("PGWARDEN_USERS_FILE", "/etc/users.txt");
    for (word, method) in
        [("password", Method::Password), ("md5", Method::Md5), ("scram-sha-256", Method::ScramSha256)]
    {
        let auth = with(&[("PGWARDEN_AUTH", word), file]).auth;
        assert_eq!((auth.method, auth.users_file), (method, Some("/etc/users.txt".into())));
    }
    let auth = with(&[
        ("PGWARDEN_AUTH", "cert"),
        ("PGWARDEN_TLS_CERT", "/c"),
        ("PGWARDEN_TLS_KEY", "/k"),
        ("PGWARDEN_TLS_CLIENT_CA", "/ca"),
    ])
    .auth;
    assert_eq!(auth.method, Method::Cert);
}

#[test]
fn tokens_with_key_issuer_audience_and_algorithms() {
    let jwt = with(&[
        ("PGWARDEN_AUTH", "jwt"),
        ("PGWARDEN_JWT_KEY", "env:APP_SECRET"),
        ("PGWARDEN_JWT_ISSUER", "https://issuer"),
        ("PGWARDEN_JWT_AUDIENCE", "one, two"),
        ("PGWARDEN_JWT_ALGORITHMS", "RS256,EdDSA"),
    ])
    .auth
    .jwt
    .unwrap();
    assert!(matches!(jwt.key, KeySource::Literal(secret) if secret.expose() == "hunter2-from-env"));
    assert_eq!(jwt.issuer.as_deref(), Some("https://issuer"));
    assert_eq!(jwt.audience, ["one", "two"]);
    assert_eq!(jwt.algorithms, ["RS256", "EdDSA"]);
    assert_eq!((jwt.refresh, jwt.leeway), (Duration::from_secs(300), Duration::from_secs(30)));
}

#[test]
fn the_key_of_tokens_may_be_a_file_or_an_address() {
    for (key, source) in [
        ("file:/etc/key.pem", KeySource::File("/etc/key.pem".into())),
        ("https://issuer/jwks.json", KeySource::Url("https://issuer/jwks.json".into())),
    ] {
        let jwt = with(&[("PGWARDEN_AUTH", "jwt"), ("PGWARDEN_JWT_KEY", key)]).auth.jwt;
        assert_eq!(jwt.unwrap().key, source);
    }
}

#[test]
fn tls_with_and_without_client_certificates() {
    let files = [("PGWARDEN_TLS_CERT", "/c"), ("PGWARDEN_TLS_KEY", "/k")];
    let tls = with(&files).tls;
    assert_eq!(tls.mode, TlsMode::Allow);
    assert_eq!(tls.identity, Some(Identity { cert: "/c".into(), key: "/k".into() }));
    assert_eq!(tls.client_cert, ClientCert::None);
    let more = [("PGWARDEN_TLS_MODE", "require"), ("PGWARDEN_TLS_CLIENT_CA", "/ca")];
    let tls = with(&[files, more].concat()).tls;
    assert_eq!(tls.mode, TlsMode::Require);
    assert_eq!(tls.client_cert, ClientCert::Verify { ca: "/ca".into() });
}

#[test]
fn admin_moves_or_goes_away() {
    assert_eq!(with(&[("PGWARDEN_ADMIN", "off")]).admin, None);
    let admin = with(&[("PGWARDEN_ADMIN", "localhost:9000")]).admin.unwrap();
    assert_eq!((admin.host.as_str(), admin.port), ("localhost", 9000));
}

#[test]
fn workers_log_and_drain() {
    let settings = with(&[
        ("PGWARDEN_WORKERS", "3"),
        ("PGWARDEN_LOG", "warn,pgwarden_session=debug"),
        ("PGWARDEN_LOG_FORMAT", "json"),
        ("PGWARDEN_DRAIN_TIMEOUT", "1500ms"),
        ("PGWARDEN_CONFIG", "/ignored/here"),
    ]);
    assert_eq!(settings.workers.get(), 3);
    assert_eq!(settings.log.level, "warn,pgwarden_session=debug");
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.limits.drain_timeout, Duration::from_millis(1500));
}

#[test]
fn what_kubernetes_adds_for_a_service_of_our_name_is_no_mistake() {
    with(&[
        ("PGWARDEN_SERVICE_HOST", "10.0.0.1"),
        ("PGWARDEN_SERVICE_PORT", "6432"),
        ("PGWARDEN_SERVICE_PORT_POSTGRES", "6432"),
        ("PGWARDEN_PORT", "tcp://10.0.0.1:6432"),
        ("PGWARDEN_PORT_6432_TCP", "tcp://10.0.0.1:6432"),
        ("PGWARDEN_ADMIN_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("UNRELATED", "x"),
    ]);
}

#[test]
fn a_variable_that_the_configuration_refers_to_may_have_our_prefix() {
    with(&[
        ("PGWARDEN_AUTH", "jwt"),
        ("PGWARDEN_JWT_KEY", "env:PGWARDEN_OWN_SECRET"),
        ("PGWARDEN_OWN_SECRET", "x"),
    ]);
}
