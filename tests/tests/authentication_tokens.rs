//! Logging in with a token: which are taken, which are not and why, and that nobody ever reads one.

use pgwarden_tests::tenants::{Tenants, values};
use pgwarden_tests::tokens::{Address, Algorithm, Issuer, SECRET, Value, json, jwks, seconds_from_now};
use pgwarden_tests::wire::Fields;
use pgwarden_tests::{Pgwarden, PgwardenBuilder, Server, Wire, for_each_version};

const ORG: &str = "00000000-0000-4000-8000-0000000000c0";
const USER: &str = "00000000-0000-4000-8000-0000000000c1";
const HEADER_HS256: &str = "eyJhbGciOiJIUzI1NiJ9"; // {"alg":"HS256"}

/// A pgwarden that takes tokens of a key, before a server that has the schema.
#[track_caller]
fn taking(server: &Server, key: &str, tell: impl FnOnce(PgwardenBuilder) -> PgwardenBuilder) -> Pgwarden {
    let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
    let builder = Tenants::builder(&upstream)
        .file("key", key)
        .env("PGWARDEN_AUTH", "jwt")
        .env("PGWARDEN_JWT_KEY", "file:{dir}/key")
        .env(
            "PGWARDEN_CONTEXT",
            "app.current_org_id=claim:app_metadata.org_id:uuid, app.current_user_id=claim:sub:uuid",
        );
    tell(builder).start()
}

/// Claims that are good for an hour, with others in their place.
fn claims(other: &Value) -> Value {
    let mut claims = json!({"sub": USER, "exp": seconds_from_now(3600), "app_metadata": {"org_id": ORG}});
    let other = other.as_object().expect("an object").clone();
    claims.as_object_mut().expect("an object").extend(other);
    claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    claims
}

#[track_caller]
fn try_log_in(pgwarden: &Pgwarden, token: &str) -> Result<Wire, Fields> {
    let before = pgwarden.logged("login refused");
    let mut wire = Wire::connect(pgwarden.port());
    match wire.try_log_in(token, &[("user", "anybody"), ("database", "postgres")]) {
        Ok(_) => Ok(wire),
        Err(error) => {
            assert_eq!(wire.ended(), [], "nothing comes behind {error:?}");
            let shown = error.fields().to_string();
            let log = pgwarden.until_logged("login refused", before);
            let parts = token.split('.').filter(|part| part.len() > 8);
            for secret in parts.chain([ORG, USER]) {
                assert!(!shown.contains(secret), "the error shows {secret}: {shown}");
                assert!(!log.contains(secret), "the log shows {secret}: {log}");
            }
            Err(error.fields())
        }
    }
}

#[track_caller]
fn assert_taken(pgwarden: &Pgwarden, token: &str) {
    let mut wire = try_log_in(pgwarden, token).unwrap_or_else(|error| panic!("refused: {error}"));
    assert_eq!(values(&wire.query("SELECT org() || '/' || who()")), [format!("{ORG}/{USER}")]);
    assert!(!pgwarden.stderr().contains(token.rsplit('.').next().expect("a part")), "{}", pgwarden.stderr());
}

/// The token is refused, and the detail says why.
#[track_caller]
fn assert_refused(pgwarden: &Pgwarden, token: &str, why: &str) {
    let error = try_log_in(pgwarden, token).map(drop).expect_err(why);
    let found = (error.severity(), error.code(), error.message());
    assert_eq!(found, ("FATAL", "28000", "token authentication failed for user \"anybody\""), "{error}");
    assert!(error.detail().contains(why), "{why} is not in {error}");
    assert!(error.hint().ends_with('.'), "{error}");
}

#[test]
fn tokens_of_every_algorithm_are_taken_with_the_issuers_key() {
    use Algorithm as A;
    for_each_version(async |server| {
        Tenants::load(server);
        let algorithms = [
            A::HS256,
            A::HS384,
            A::HS512,
            A::RS256,
            A::RS384,
            A::RS512,
            A::PS256,
            A::PS384,
            A::PS512,
            A::ES256,
        ];
        for algorithm in algorithms.into_iter().chain([A::ES384, A::EdDSA]) {
            let (issuer, other) = (Issuer::new(algorithm), Issuer::new(algorithm));
            let pgwarden = taking(server, issuer.public(), |builder| builder);
            let token = issuer.sign(&claims(&json!({})));
            assert_taken(&pgwarden, &token);
            if issuer.public() != SECRET {
                let foreign = other.sign(&claims(&json!({})));
                assert_refused(&pgwarden, &foreign, "the signature of the token is wrong");
            }
            let (signed, signature) = token.rsplit_once('.').expect("three parts");
            let other_claims = issuer.sign(&claims(&json!({"sub": ORG})));
            let (_, other_signature) = other_claims.rsplit_once('.').expect("three parts");
            assert_refused(
                &pgwarden,
                &format!("{signed}.{other_signature}"),
                "the signature of the token is wrong",
            );
            assert_refused(&pgwarden, &format!("{signed}."), "the signature of the token is wrong");
            assert_refused(
                &pgwarden,
                &format!("{signed}.{}", &signature[..8]),
                "the signature of the token is wrong",
            );
        }
    });
}

#[test]
fn a_token_without_a_signature_is_refused_whatever_it_says() {
    for_each_version(async |server| {
        Tenants::load(server);
        let issuer = Issuer::new(Algorithm::HS256);
        let pgwarden = taking(server, issuer.public(), |builder| builder);
        let token = issuer.sign(&claims(&json!({})));
        let payload = token.split('.').nth(1).expect("three parts");
        // {"alg":"none"}, {"alg":"None"}, {"alg":"NONE"}, {"alg":""}
        for header in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb25lIn0", "eyJhbGciOiJOT05FIn0", "eyJhbGciOiIifQ"]
        {
            for signature in ["", token.rsplit('.').next().expect("three parts")] {
                let why = "unknown or unsupported signature algorithm";
                assert_refused(&pgwarden, &format!("{header}.{payload}.{signature}"), why);
            }
        }
        for malformed in ["", ".", "..", payload, "a.b", "a.b.c.d", &format!("{HEADER_HS256}.{payload}")] {
            if malformed.is_empty() {
                assert!(try_log_in(&pgwarden, "").is_err(), "an empty password is no token");
                continue;
            }
            assert_refused(&pgwarden, malformed, "the token is malformed");
        }
        assert_taken(&pgwarden, &token);
    });
}

#[test]
fn a_public_key_is_never_taken_for_a_shared_secret() {
    use Algorithm as A;
    for_each_version(async |server| {
        Tenants::load(server);
        for algorithm in [A::RS256, A::ES256, A::EdDSA] {
            let issuer = Issuer::new(algorithm);
            let pgwarden = taking(server, issuer.public(), |builder| builder);
            for public in [issuer.public(), issuer.public().trim_end()] {
                let forged = Issuer::of_secret(A::HS256, public).sign(&claims(&json!({})));
                assert_refused(&pgwarden, &forged, "no key fits");
            }
            assert_taken(&pgwarden, &issuer.sign(&claims(&json!({}))));
        }
    });
}

#[test]
fn only_algorithms_of_the_list_are_taken() {
    use Algorithm as A;
    for_each_version(async |server| {
        Tenants::load(server);
        let allow = |builder: PgwardenBuilder| builder.env("PGWARDEN_JWT_ALGORITHMS", "HS512, ES256");
        let pgwarden = taking(server, SECRET, allow);
        assert_taken(&pgwarden, &Issuer::new(A::HS512).sign(&claims(&json!({}))));
        for algorithm in [A::HS256, A::HS384] {
            let token = Issuer::new(algorithm).sign(&claims(&json!({})));
            assert_refused(
                &pgwarden,
                &token,
                &format!("signed with {algorithm:?}, which is not allowed here"),
            );
        }
        let token = Issuer::new(A::ES256).sign(&claims(&json!({})));
        assert_refused(&pgwarden, &token, "no key fits");
        for wrong in ["none", "HS256, none", "hs256", "RS1"] {
            let builder = Tenants::builder("postgres://app@127.0.0.1:1/postgres").file("key", SECRET);
            let builder = builder.env("PGWARDEN_AUTH", "jwt").env("PGWARDEN_JWT_KEY", "file:{dir}/key");
            let exit = builder.env("PGWARDEN_JWT_ALGORITHMS", wrong).try_start().expect_err(wrong);
            assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
            assert!(exit.stderr.contains("PGWARDEN_JWT_ALGORITHMS"), "{}", exit.stderr);
        }
    });
}

#[test]
fn the_issuer_and_the_audience_have_to_be_the_configured_ones() {
    for_each_version(async |server| {
        Tenants::load(server);
        let issuer = Issuer::new(Algorithm::HS256);
        let pgwarden = taking(server, SECRET, |builder| {
            let builder = builder.env("PGWARDEN_JWT_ISSUER", "https://issuer.test/");
            builder.env("PGWARDEN_JWT_AUDIENCE", "app, worker")
        });
        let (iss, aud) = ("https://issuer.test/", "app");
        for audience in [json!("app"), json!("worker"), json!(["other", "app"])] {
            assert_taken(&pgwarden, &issuer.sign(&claims(&json!({"iss": iss, "aud": audience}))));
        }
        for (other, why) in [
            (json!({"aud": aud}), "no issuer (iss)"),
            (json!({"aud": aud, "iss": "https://issuer.test"}), "another issuer (iss)"),
            (json!({"aud": aud, "iss": "HTTPS://ISSUER.TEST/"}), "another issuer (iss)"),
            (json!({"aud": aud, "iss": [iss]}), "\"iss\" of the token has the wrong type"),
            (json!({"iss": iss}), "no audience (aud)"),
            (json!({"iss": iss, "aud": "ap"}), "another audience (aud)"),
            (json!({"iss": iss, "aud": []}), "another audience (aud)"),
            (json!({"iss": iss, "aud": ["other"]}), "another audience (aud)"),
            (json!({"iss": iss, "aud": ["app", 7]}), "\"aud\" of the token has the wrong type"),
            (json!({"iss": iss, "aud": {"app": true}}), "\"aud\" of the token has the wrong type"),
        ] {
            assert_refused(&pgwarden, &issuer.sign(&claims(&other)), why);
        }
    });
}

#[test]
fn times_are_checked_with_the_configured_leeway() {
    for_each_version(async |server| {
        Tenants::load(server);
        let issuer = Issuer::new(Algorithm::HS256);
        let strict = taking(server, SECRET, |builder| leeway(builder, "0s"));
        let lenient = taking(server, SECRET, |builder| leeway(builder, "2h"));
        let (before, after) = (seconds_from_now(-3600), seconds_from_now(3600));
        for (other, why) in [
            (json!({"exp": before}), "the token expired at"),
            (json!({"nbf": after}), "the token is not valid before"),
            (json!({"iat": after}), "the token was issued at"),
        ] {
            let token = issuer.sign(&claims(&other));
            assert_refused(&strict, &token, why);
            assert_taken(&lenient, &token);
        }
        for pgwarden in [&strict, &lenient] {
            let other = json!({"exp": seconds_from_now(-3 * 3600)});
            assert_refused(pgwarden, &issuer.sign(&claims(&other)), "the token expired at");
            assert_refused(pgwarden, &issuer.sign(&claims(&json!({"exp": null}))), "no expiry (exp)");
            for name in ["exp", "nbf", "iat"] {
                for wrong in [json!("4102444800"), json!([1]), json!(true)] {
                    let why = format!("\"{name}\" of the token has the wrong type");
                    assert_refused(pgwarden, &issuer.sign(&claims(&json!({name: wrong}))), &why);
                }
            }
            assert_taken(
                pgwarden,
                &issuer.sign(&claims(&json!({"nbf": before, "iat": before, "exp": after}))),
            );
            assert_taken(pgwarden, &issuer.sign(&claims(&json!({"exp": 4_102_444_800.5}))));
        }
    });
}

fn leeway(builder: PgwardenBuilder, leeway: &str) -> PgwardenBuilder {
    let text = format!("[auth.jwt]\nleeway = \"{leeway}\"\n");
    builder.config(&text)
}

#[test]
fn a_token_cannot_bring_its_own_key() {
    for_each_version(async |server| {
        Tenants::load(server);
        let (issuer, forger) = (Issuer::new(Algorithm::ES256), Issuer::new(Algorithm::ES256));
        let address = Address::serve(&jwks(&[&forger]));
        let pgwarden = taking(server, issuer.public(), |builder| builder);
        let forged = forger.sign_with_own_key(&claims(&json!({})), &address.url());
        assert_refused(&pgwarden, &forged, "the signature of the token is wrong");
        assert_eq!(address.requests(), 0, "nobody asks at an address out of a token");
    });
}

#[test]
fn a_critical_header_that_nobody_understands_is_refused() {
    for_each_version(async |server| {
        Tenants::load(server);
        let issuer = Issuer::new(Algorithm::HS256);
        let pgwarden = taking(server, SECRET, |builder| builder);
        let token = issuer.sign(&claims(&json!({})));
        let (_, rest) = token.split_once('.').expect("three parts");
        // {"alg":"HS256","crit":["b64"],"b64":false}
        let header = "eyJhbGciOiJIUzI1NiIsImNyaXQiOlsiYjY0Il0sImI2NCI6ZmFsc2V9";
        assert_refused(&pgwarden, &format!("{header}.{rest}"), "critical header");
    });
}

#[test]
fn the_name_of_the_user_gives_a_token_no_other_context() {
    for_each_version(async |server| {
        Tenants::load(server);
        let issuer = Issuer::new(Algorithm::HS256);
        let pgwarden = taking(server, SECRET, |builder| builder);
        let token = issuer.sign(&claims(&json!({})));
        for user in ["acme", "globex", "postgres", "app"] {
            let mut wire = Wire::open(pgwarden.port(), user, &token, "postgres");
            assert_eq!(values(&wire.query("SELECT org()")), [ORG], "{user}");
            assert_eq!(values(&wire.query("SELECT current_user")), ["app"], "{user}");
        }
    });
}

#[test]
fn not_even_the_most_talkative_log_holds_a_token_a_secret_or_a_tenant() {
    for_each_version(async |server| {
        Tenants::load(server);
        let issuer = Issuer::new(Algorithm::HS256);
        for format in ["pretty", "json"] {
            let pgwarden = taking(server, SECRET, |builder| {
                builder.env("PGWARDEN_LOG", "trace").env("PGWARDEN_LOG_FORMAT", format)
            });
            let token = issuer.sign(&claims(&json!({})));
            assert_taken(&pgwarden, &token);
            let mut wire = try_log_in(&pgwarden, &token).unwrap_or_else(|error| panic!("refused: {error}"));
            wire.query("SELECT 'statement text' FROM nowhere");
            let wrong = issuer.sign(&claims(&json!({"app_metadata": {"org_id": "garbage value"}})));
            assert!(try_log_in(&pgwarden, &wrong).is_err());
            assert!(try_log_in(&pgwarden, &format!("{token}x")).is_err());
            let log = pgwarden.stderr();
            let tokens = [&token, &wrong].into_iter().flat_map(|token| token.split('.'));
            for secret in tokens.filter(|part| *part != HEADER_HS256 && part.len() > 30).chain([
                ORG,
                USER,
                SECRET,
                "garbage value",
                "statement text",
            ]) {
                assert!(!log.contains(secret), "{secret} is in {log}");
            }
        }
    });
}
