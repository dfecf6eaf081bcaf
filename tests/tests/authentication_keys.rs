//! The keys that tokens are checked with: from a file, a variable or an address, and what happens when they change.

use std::fs;

use pgwarden_tests::tenants::{Tenants, values};
use pgwarden_tests::tokens::{Address, Algorithm, Issuer, SECRET, json, jwks, seconds_from_now};
use pgwarden_tests::wire::Fields;
use pgwarden_tests::{Exit, Pgwarden, PgwardenBuilder, Server, Wire, for_each_version, free_port, until};

/// What pgwarden is told of `server` and of a key.
fn told(server: &Server, key: &str) -> PgwardenBuilder {
    let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
    let builder = Tenants::builder(&upstream).env("PGWARDEN_AUTH", "jwt").env("PGWARDEN_JWT_KEY", key);
    builder.env("PGWARDEN_CONTEXT", "app.current_org_id=claim:org")
}

/// The same, reading the keys again every second.
fn eager(server: &Server, key: &str) -> PgwardenBuilder {
    let text = "[auth.jwt]\nrefresh = \"1s\"\n";
    told(server, key).config(text)
}

fn token(issuer: &Issuer) -> String {
    issuer.sign(&json!({"org": "x", "exp": seconds_from_now(3600)}))
}

fn try_log_in(pgwarden: &Pgwarden, issuer: &Issuer) -> Result<Wire, Fields> {
    let mut wire = Wire::connect(pgwarden.port());
    let login = wire.try_log_in(&token(issuer), &[("user", "anybody"), ("database", "postgres")]);
    login.map(|_| wire).map_err(|error| error.fields())
}

#[track_caller]
fn assert_taken(pgwarden: &Pgwarden, issuer: &Issuer) {
    let mut wire = try_log_in(pgwarden, issuer).unwrap_or_else(|error| panic!("refused: {error}"));
    assert_eq!(values(&wire.query("SELECT org()")), ["x"]);
}

#[track_caller]
fn assert_refused(pgwarden: &Pgwarden, issuer: &Issuer, why: &str) {
    let error = try_log_in(pgwarden, issuer).map(drop).expect_err(why);
    assert_eq!(error.code(), "28000", "{error}");
    assert!(error.detail().contains(why), "{why} is not in {error}");
}

#[test]
fn a_key_can_come_from_a_variable() {
    for_each_version(async |server| {
        Tenants::load(server);
        for algorithm in [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
            let issuer = Issuer::new(algorithm);
            let pgwarden = told(server, "env:TOKEN_KEY").env("TOKEN_KEY", issuer.public()).start();
            assert_taken(&pgwarden, &issuer);
            let set = jwks(&[&issuer]);
            let pgwarden = told(server, "env:TOKEN_KEY").env("TOKEN_KEY", &set).start();
            assert_taken(&pgwarden, &issuer);
        }
    });
}

#[test]
fn a_set_in_a_file_holds_keys_of_many_types_each_for_its_own_algorithm() {
    use Algorithm as A;
    for_each_version(async |server| {
        Tenants::load(server);
        let issuers = [A::HS256, A::RS256, A::PS384, A::ES256, A::ES384, A::EdDSA].map(Issuer::new);
        let set = jwks(&issuers.iter().collect::<Vec<_>>());
        let pgwarden = told(server, "file:{dir}/jwks.json").file("jwks.json", &set).start();
        for issuer in &issuers {
            assert_taken(&pgwarden, issuer);
        }
        assert_refused(&pgwarden, &Issuer::new(A::RS256), "the signature of the token is wrong");
        // The set binds this key to HS256.
        assert_refused(&pgwarden, &Issuer::of_secret(A::HS512, SECRET), "no key fits");
    });
}

#[test]
fn a_key_id_decides_among_the_keys() {
    for_each_version(async |server| {
        Tenants::load(server);
        let (one, two) =
            (Issuer::new(Algorithm::RS256).named("one"), Issuer::new(Algorithm::RS256).named("two"));
        let pgwarden = told(server, "file:{dir}/jwks.json").file("jwks.json", &jwks(&[&one, &two])).start();
        assert_taken(&pgwarden, &one);
        assert_taken(&pgwarden, &two);
        assert_refused(&pgwarden, &two.named("one"), "the signature of the token is wrong");
        assert_refused(&pgwarden, &one.named("three"), "no key fits");
    });
}

#[test]
fn rotation_at_an_address_takes_effect_by_itself() {
    for_each_version(async |server| {
        Tenants::load(server);
        let (old, new) =
            (Issuer::new(Algorithm::ES256).named("old"), Issuer::new(Algorithm::ES256).named("new"));
        let address = Address::serve(&jwks(&[&old]));
        let pgwarden = eager(server, &address.url()).start();
        assert_taken(&pgwarden, &old);
        assert_refused(&pgwarden, &new, "no key fits");
        address.change(200, &jwks(&[&old, &new]));
        until("the new key is known", || try_log_in(&pgwarden, &new).ok());
        assert_taken(&pgwarden, &old);
        address.change(200, &jwks(&[&new]));
        until("the old key is forgotten", || try_log_in(&pgwarden, &old).err());
        assert_refused(&pgwarden, &old, "no key fits");
        assert_taken(&pgwarden, &new);
    });
}

#[test]
fn a_token_with_an_unknown_key_id_has_the_keys_read_before_their_time() {
    for_each_version(async |server| {
        Tenants::load(server);
        let (old, new) =
            (Issuer::new(Algorithm::ES256).named("old"), Issuer::new(Algorithm::ES256).named("new"));
        let address = Address::serve(&jwks(&[&old]));
        let pgwarden = told(server, &address.url()).start();
        address.change(200, &jwks(&[&old, &new]));
        until("the new key is known, long before five minutes are over", || try_log_in(&pgwarden, &new).ok());
    });
}

#[test]
fn a_session_outlives_the_key_it_came_in_with() {
    for_each_version(async |server| {
        Tenants::load(server);
        let (old, new) =
            (Issuer::new(Algorithm::ES256).named("old"), Issuer::new(Algorithm::ES256).named("new"));
        let address = Address::serve(&jwks(&[&old]));
        let pgwarden = eager(server, &address.url()).start();
        let mut wire = try_log_in(&pgwarden, &old).unwrap_or_else(|error| panic!("refused: {error}"));
        address.change(200, &jwks(&[&new]));
        until("the old key is forgotten", || try_log_in(&pgwarden, &old).err());
        assert_eq!(values(&wire.query("SELECT org()")), ["x"]);
    });
}

#[test]
fn an_address_that_fails_leaves_the_keys_in_use_and_says_so_once() {
    for_each_version(async |server| {
        Tenants::load(server);
        let issuer = Issuer::new(Algorithm::ES256);
        let address = Address::serve(&jwks(&[&issuer]));
        let pgwarden = eager(server, &format!("{}?secret=hidden", address.url())).start();
        address.change(503, "{}");
        pgwarden.until_logged("token keys cannot be read", 0);
        assert_taken(&pgwarden, &issuer);
        // An error page that comes with 200 is no key either, least of all a secret.
        address.change(200, SECRET);
        let asked = address.requests();
        until("it has been read twice", || (address.requests() >= asked + 2).then_some(()));
        assert_taken(&pgwarden, &issuer);
        assert_refused(&pgwarden, &Issuer::new(Algorithm::HS256), "no key fits");
        address.change(200, &jwks(&[&issuer]));
        let log = pgwarden.until_logged("token keys can be read again", 0);
        assert_eq!(log.matches("token keys cannot be read").count(), 1, "{log}");
        assert!(!log.contains("hidden"), "{log}");
    });
}

#[test]
fn a_key_file_that_changes_is_read_again() {
    for_each_version(async |server| {
        Tenants::load(server);
        let (old, new) = (Issuer::new(Algorithm::EdDSA), Issuer::new(Algorithm::EdDSA));
        let pgwarden = eager(server, "file:{dir}/key.pem").file("key.pem", old.public()).start();
        assert_taken(&pgwarden, &old);
        let path = pgwarden.directory().join("key.pem");
        fs::write(&path, new.public()).expect("a file can be written");
        until("the new key is known", || try_log_in(&pgwarden, &new).ok());
        assert_refused(&pgwarden, &old, "the signature of the token is wrong");
        fs::remove_file(&path).expect("a file can be removed");
        pgwarden.until_logged("token keys cannot be read", 0);
        assert_taken(&pgwarden, &new);
    });
}

#[track_caller]
fn exit(builder: PgwardenBuilder) -> Exit {
    let exit = builder.try_start().expect_err("it does not start");
    assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
    exit
}

#[test]
fn without_a_usable_key_it_does_not_start() {
    let keyed = |key: &str| {
        let builder = Tenants::builder("postgres://app@127.0.0.1:1/postgres");
        builder.env("PGWARDEN_AUTH", "jwt").env("PGWARDEN_JWT_KEY", key)
    };
    let with_file = |contents: &str| exit(keyed("file:{dir}/key").file("key", contents)).stderr;
    for (contents, why) in [
        ("", "empty"),
        ("too short a secret", "shorter than 32 bytes"),
        ("<!DOCTYPE html><html><body>not found, sorry about that</body></html>", "no key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "key"),
        ("{\"keys\": []}", "none of the keys"),
        ("{\"error\": \"not found\"}", "neither a JWK nor"),
    ] {
        let stderr = with_file(contents);
        assert!(stderr.contains(why) && stderr.contains("key"), "{contents}: {stderr}");
    }
    assert!(exit(keyed("file:{dir}/nowhere")).stderr.contains("nowhere"));
    assert!(exit(keyed("env:NOBODY_SETS_THIS")).stderr.contains("NOBODY_SETS_THIS"));
    let url = format!("http://127.0.0.1:{}/jwks.json?secret=hidden", free_port());
    let stderr = exit(keyed(&url)).stderr;
    assert!(stderr.contains("/jwks.json") && !stderr.contains("hidden"), "{stderr}");
    let secret =
        exit(Tenants::builder("postgres://app@127.0.0.1:1/postgres").env("PGWARDEN_AUTH", "jwt")).stderr;
    assert!(secret.contains("PGWARDEN_JWT_KEY") || secret.contains("auth.jwt.key"), "{secret}");
    let nobody = keyed("env:TOKEN_KEY").env("TOKEN_KEY", SECRET).upstream("postgres://127.0.0.1:1/postgres");
    let stderr = exit(nobody).stderr;
    assert!(stderr.contains("upstream.url") && !stderr.contains(SECRET), "{stderr}");
}
