//! Client certificates: whom they let in, and which never get through the handshake.

use pgwarden_tests::certificates::{Authority, Identity};
use pgwarden_tests::encryption::{Way, assert_refused, before, conninfo, way};
use pgwarden_tests::{Pgwarden, Server, Wire, for_each_version, until};

/// pgwarden that asks for certificates of `authority`.
fn verifying(server: &Server, method: &str, authority: &Authority) -> Pgwarden {
    let builder = before(server).env("PGWARDEN_AUTH", method);
    builder.tls("allow", &authority.server()).client_authority(authority.certificate()).start()
}

fn with_certificate(mode: &str, shown: &Identity) -> String {
    format!("sslmode={mode}&sslcert={}&sslkey={}", shown.certificate_path, shown.key_path)
}

#[test]
fn a_certificate_maps_its_common_name_to_the_user() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = verifying(server, "cert", &authority);
        let (postgres, somebody) = (authority.user("postgres"), authority.user("somebody"));
        let in_by = |parameters: &str| way(&conninfo(&pgwarden, parameters));
        assert_eq!(in_by(&with_certificate("require", &postgres)), Way::Encrypted);

        let other = in_by(&with_certificate("require", &somebody));
        assert_refused(&other, "certificate authentication failed for user \"postgres\"", "another name");
        let needed = "connection requires a valid client certificate";
        assert_refused(&in_by("sslmode=require&sslcert=/none"), needed, "no certificate");
        assert_refused(&in_by("sslmode=disable"), needed, "in clear");
        for error in [("somebody", "28000"), ("Postgres", "28000"), ("postgres ", "28000")] {
            let mut wire = Wire::connect(pgwarden.port());
            wire.request_tls(&authority.client(Some(&postgres), &[]));
            let refused = wire.try_log_in("", &[("user", error.0), ("database", "postgres")]);
            assert_eq!(refused.expect_err("another user").fields().code(), error.1, "{}", error.0);
        }
    });
}

#[test]
fn a_certificate_that_is_not_trusted_never_gets_through_the_handshake() {
    for_each_version(async |server| {
        let (authority, other) = (Authority::create(), Authority::create());
        for method in ["cert", "trust"] {
            let pgwarden = verifying(server, method, &authority);
            let untrusted = [
                (other.user("postgres"), "BadSignature"),
                (authority.expired_user("postgres"), "certificate expired"),
            ];
            for (number, (shown, reason)) in untrusted.iter().enumerate() {
                let found = way(&conninfo(&pgwarden, &with_certificate("require", shown)));
                assert!(matches!(found, Way::Refused(_)), "{method}, {reason}: {found:?}");
                let failed =
                    || pgwarden.stderr().lines().filter(|line| line.contains("TLS handshake failed")).count();
                until("the failure is in the log", || (failed() == number + 1).then_some(()));
                let log = pgwarden.stderr();
                let line = log.lines().rfind(|line| line.contains("TLS handshake failed"));
                assert!(line.is_some_and(|line| line.contains(reason)), "{method}, {reason}: {log}");
            }
            assert_eq!(pgwarden.metric("pgwarden_logins_total{outcome=\"accepted\"}"), Some(0.0));
        }
    });
}

#[test]
fn a_certificate_is_required_of_everybody_who_uses_tls_whatever_the_method_is() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let somebody = authority.user("somebody");
        for method in ["trust", "password", "md5", "scram-sha-256"] {
            let builder = before(server).env("PGWARDEN_AUTH", method);
            let builder = builder.file("users.txt", "\"postgres\" \"secret\"\n");
            let builder = builder.env("PGWARDEN_USERS_FILE", "users.txt").tls("allow", &authority.server());
            let pgwarden = builder.client_authority(authority.certificate()).start();
            let parameters = [("user", "postgres"), ("database", "postgres")];

            let mut without = Wire::connect(pgwarden.port());
            without.request_tls(&authority.client(None, &[]));
            let refused = without.try_log_in("secret", &parameters).expect_err("no certificate").fields();
            let found = (refused.severity(), refused.code(), refused.message());
            let expected = ("FATAL", "28000", "connection requires a valid client certificate");
            assert_eq!(found, expected, "{method}: {refused}");
            assert_eq!(
                pgwarden.metric("pgwarden_logins_total{outcome=\"refused_authentication\"}"),
                Some(1.0)
            );

            let mut with = Wire::connect(pgwarden.port());
            with.request_tls(&authority.client(Some(&somebody), &[]));
            with.log_in("postgres", "secret", "postgres");
            assert_eq!(with.rows("SELECT 1"), [[Some("1".to_owned())]], "{method}");

            let mut in_clear = Wire::connect(pgwarden.port());
            in_clear.log_in("postgres", "secret", "postgres");
            assert_eq!(in_clear.rows("SELECT 1"), [[Some("1".to_owned())]], "{method}: tls.mode lets it");
        }
    });
}

#[test]
fn a_certificate_that_nobody_asked_for_means_nothing() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let indifferent = before(server).tls("allow", &authority.server()).start();
        let unknown = Authority::create().user("somebody");
        let mut wire = Wire::connect(indifferent.port());
        wire.request_tls(&authority.client(Some(&unknown), &[]));
        wire.log_in("postgres", "", "postgres");
        assert_eq!(wire.rows("SELECT 1"), [[Some("1".to_owned())]]);
    });
}
