//! From the claims of a token to the context: paths, kinds and lengths; what is garbage never becomes a context.

use pgwarden_tests::tenants::{Tenants, run, value, values};
use pgwarden_tests::tokens::{SECRET, Value, json, seconds_from_now, token};
use pgwarden_tests::wire::Fields;
use pgwarden_tests::{Pgwarden, PgwardenBuilder, Server, Wire, for_each_version};

const ORG: &str = "00000000-0000-4000-8000-0000000000c0";

/// A pgwarden that takes tokens and makes these variables of them.
#[track_caller]
fn setting(
    server: &Server,
    variables: &str,
    tell: impl FnOnce(PgwardenBuilder) -> PgwardenBuilder,
) -> Pgwarden {
    let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
    let builder = Tenants::builder(&upstream).file("key", SECRET);
    let builder = builder.env("PGWARDEN_AUTH", "jwt").env("PGWARDEN_JWT_KEY", "file:{dir}/key");
    tell(builder.env("PGWARDEN_CONTEXT", variables)).start()
}

fn with_file(builder: PgwardenBuilder, text: &str) -> PgwardenBuilder {
    builder.config(text)
}

#[track_caller]
fn try_log_in(pgwarden: &Pgwarden, token: &str) -> Result<Wire, Fields> {
    let mut wire = Wire::connect(pgwarden.port());
    match wire.try_log_in(token, &[("user", "anybody"), ("database", "postgres")]) {
        Ok(_) => Ok(wire),
        Err(error) => {
            assert_eq!(wire.ended(), [], "nothing comes behind {error:?}");
            Err(error.fields())
        }
    }
}

#[track_caller]
fn log_in(pgwarden: &Pgwarden, claims: &Value) -> Wire {
    try_log_in(pgwarden, &token(claims)).unwrap_or_else(|error| panic!("{claims}: {error}"))
}

/// No login: the detail says why, without `secret`.
#[track_caller]
fn assert_refused(pgwarden: &Pgwarden, claims: &Value, why: &str, secret: &str) {
    let before = pgwarden.logged("login refused");
    let error = try_log_in(pgwarden, &token(claims)).map(drop).expect_err(why);
    let found = (error.severity(), error.code(), error.message());
    assert_eq!(
        found,
        ("FATAL", "28000", "no valid tenant context for user \"anybody\""),
        "{claims}: {error}"
    );
    assert_eq!(error.detail(), why, "{claims}");
    assert!(error.hint().ends_with('.'), "{error}");
    let log = pgwarden.until_logged("login refused", before);
    assert!(secret.is_empty() || !(error.to_string() + &log).contains(secret), "{error}\n{log}");
}

#[test]
fn a_claim_is_found_by_its_path() {
    for_each_version(async |server| {
        Tenants::load(server);
        let claims = json!({"app_metadata": {"org_id": ORG, "number": 42, "admin": true},
            "https://issuer.test/org": {"id": "quoted"}, "sub": "somebody"});
        for (path, expected) in [
            ("app_metadata.org_id:uuid", ORG),
            ("app_metadata.number:bigint", "42"),
            ("app_metadata.number", "42"),
            ("app_metadata.admin:text", "true"),
            ("sub", "somebody"),
            ("\"https://issuer.test/org\".id", "quoted"),
            ("\"app_metadata\".org_id:uuid", ORG),
        ] {
            let pgwarden = setting(server, &format!("app.current_org_id=claim:{path}"), |builder| builder);
            let mut wire = log_in(&pgwarden, &claims);
            assert_eq!(values(&wire.query("SELECT org()")), [expected], "{path}");
        }
    });
}

#[test]
fn a_claim_that_is_missing_or_no_value_is_refused() {
    for_each_version(async |server| {
        Tenants::load(server);
        let variables = "app.current_org_id=claim:app_metadata.org_id:uuid, app.region=literal:eu";
        let pgwarden = setting(server, variables, |builder| builder);
        let why = "The token has no usable claim \"app_metadata.org_id\" for app.current_org_id.";
        for claims in [
            json!({}),
            json!({"org_id": ORG}),
            json!({"app_metadata": null}),
            json!({"app_metadata": "org_id"}),
            json!({"app_metadata": [{"org_id": ORG}]}),
            json!({"app_metadata.org_id": ORG}),
            json!({"app_metadata": {"ORG_ID": ORG}}),
            json!({"user_metadata": {"org_id": ORG}}),
            json!({"app_metadata": {"org_id": null}}),
            json!({"app_metadata": {"org_id": [ORG]}}),
            json!({"app_metadata": {"org_id": {"id": ORG}}}),
            json!({"app_metadata": {"org_id": "\u{0}"}}),
            json!({"app_metadata": {"org_id": 1e300}}),
        ] {
            assert_refused(&pgwarden, &claims, why, ORG);
        }
        let refused = pgwarden.metric("pgwarden_logins_total{outcome=\"refused_context\"}");
        assert_eq!(refused, Some(13.0));
        let mut wire = log_in(&pgwarden, &json!({"app_metadata": {"org_id": ORG}}));
        assert_eq!(
            values(&wire.query("SELECT org() || current_setting('app.region')")),
            [format!("{ORG}eu")]
        );
    });
}

#[test]
fn a_value_of_another_kind_is_refused_and_never_shown() {
    for_each_version(async |server| {
        Tenants::load(server);
        let cases = [
            (
                "uuid",
                "is not a uuid",
                vec![
                    json!(""),
                    json!("not-a-uuid-7777"),
                    json!("' OR true; -- 7777"),
                    json!(7777),
                    json!("{00000000-0000-4000-8000-000000007777}"),
                    json!("00000000-0000-4000-8000-00000007777"),
                    json!("00000000-0000-4000-8000-00000000777g"),
                    json!(" 00000000-0000-4000-8000-00000000777"),
                ],
            ),
            (
                "bigint",
                "is not a bigint",
                vec![
                    json!(""),
                    json!("7777x"),
                    json!(7777.5),
                    json!("9223372036854777777"),
                    json!(" 7777"),
                    json!("0x7777"),
                    json!(true),
                    json!("7777; DROP TABLE items"),
                ],
            ),
            ("text", "is longer than 100 bytes", vec![json!("7777".repeat(26))]),
        ];
        for (kind, why, wrong) in cases {
            let pgwarden = setting(server, &format!("app.current_org_id=claim:org:{kind}"), |builder| {
                with_file(builder, "[context]\nmax_value_bytes = 100\n")
            });
            for value in wrong {
                let detail = format!("The value for app.current_org_id {why}.");
                assert_refused(&pgwarden, &json!({"org": value}), &detail, "7777");
            }
        }
    });
}

#[test]
fn a_fixed_tenant_that_is_garbage_is_found_before_anybody_logs_in() {
    let builder = Tenants::builder("postgres://app@127.0.0.1:1/postgres");
    let exit =
        builder.env("PGWARDEN_FIXED", "acme=tenant:garbage").try_start().expect_err("it does not start");
    assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
    for part in ["PGWARDEN_FIXED", "context.fixed.acme.tenant", "app.current_org_id", "uuid"] {
        assert!(exit.stderr.contains(part), "{part} is not in {}", exit.stderr);
    }
}

#[test]
fn text_travels_as_it_is() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = setting(server, "app.current_org_id=claim:org", |builder| builder);
        for text in [
            "' OR true; --",
            "\\'; DROP TABLE items; --",
            "$1",
            "é€😀",
            "a\nb\tc",
            "",
            "{\"a\":\"b\"}",
            "E'\\\\x'",
        ] {
            let mut wire = log_in(&pgwarden, &json!({"org": text}));
            for statement in ["SELECT org()", "SELECT 1; SELECT org()", "BEGIN; SELECT org(); COMMIT"] {
                assert_eq!(
                    values(&wire.query(statement)).last().map(String::as_str),
                    Some(text),
                    "{statement}"
                );
            }
            wire.send(&run("SELECT org()").sync());
            assert_eq!(values(&wire.until_ready()), [text]);
        }
    });
}

#[test]
fn all_claims_arrive_as_one_document_of_twenty_kilobytes_and_more() {
    for_each_version(async |server| {
        Tenants::load(server);
        let variables = "request.jwt.claims=claims, app.current_org_id=claim:app_metadata.org_id:uuid";
        let pgwarden = setting(server, variables, |builder| builder);
        for size in [100, 20_000, 48_000] {
            let claims = json!({"sub": "é'\"\\\n", "app_metadata": {"org_id": ORG}, "more": "x'\\".repeat(size / 4),
                "exp": seconds_from_now(3600), "list": [1, null, {"a": 1.5}]});
            let token = token(&claims);
            let mut wire = try_log_in(&pgwarden, &token).unwrap_or_else(|error| panic!("{size}: {error}"));
            let found = value(&wire.query("SELECT current_setting('request.jwt.claims')")).expect("claims");
            assert_eq!(found.parse::<Value>().expect("JSON"), claims);
            wire.send(
                &run("SELECT current_setting('request.jwt.claims')::jsonb #>> '{app_metadata,org_id}'")
                    .sync(),
            );
            assert_eq!(values(&wire.until_ready()), [ORG]);
            assert!(!pgwarden.stderr().contains(ORG), "{}", pgwarden.stderr());
        }
    });
}

/// A token of as many bytes as there are at most, up to `length`.
fn token_of(length: usize) -> String {
    let padded = |size: usize| token(&json!({"org": "x", "padding": "x".repeat(size)}));
    let shortest = length * 3 / 4 - 200;
    let fits = (shortest..).map(padded).take_while(|token| token.len() <= length);
    fits.last().expect("the shortest fits")
}

#[test]
fn a_token_of_nearly_64_kilobytes_is_taken_and_a_longer_one_is_not() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = setting(server, "app.current_org_id=claim:org", |builder| builder);
        let longest = token_of(65_535);
        assert!(longest.len() > 65_530, "{}", longest.len());
        let mut wire = try_log_in(&pgwarden, &longest).unwrap_or_else(|error| panic!("refused: {error}"));
        assert_eq!(values(&wire.query("SELECT org()")), ["x"]);
        for length in [65_540, 66_000, 200_000] {
            let error = try_log_in(&pgwarden, &token_of(length)).map(drop).expect_err("too long");
            assert_eq!((error.severity(), error.code()), ("FATAL", "54000"), "{error}");
            assert!(error.message().contains("over the limit"), "{error}");
        }
        let short = setting(server, "app.current_org_id=claim:org", |builder| {
            with_file(builder, "[limits]\ntoken_bytes = 1024\n")
        });
        assert!(try_log_in(&short, &token_of(1024)).is_ok());
        let token = token_of(1030);
        let error = try_log_in(&short, &token).map(drop).expect_err("too long");
        let message = format!("token of {} bytes is over the limit of 1024", token.len());
        assert_eq!((error.code(), error.message()), ("54000", &*message));
    });
}

#[test]
fn claims_over_their_own_limit_are_refused() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = setting(server, "request.jwt.claims=claims", |builder| {
            with_file(builder, "[context]\nmax_claims_bytes = 1024\n")
        });
        let why = "The value for request.jwt.claims is longer than 1024 bytes.";
        assert_refused(&pgwarden, &json!({"padding": "7777".repeat(300)}), why, "7777");
        log_in(&pgwarden, &json!({"padding": "7777".repeat(200)}));
    });
}

#[test]
fn tenant_and_user_can_be_named_by_claims() {
    for_each_version(async |server| {
        Tenants::load(server);
        let variables = "app.current_org_id=tenant:uuid, app.current_user_id=user";
        let pgwarden = setting(server, variables, |builder| {
            with_file(builder, "[context]\ntenant_claim = \"app_metadata.org_id\"\nuser_claim = \"sub\"\n")
        });
        let mut wire = log_in(&pgwarden, &json!({"app_metadata": {"org_id": ORG}, "sub": "ann"}));
        assert_eq!(values(&wire.query("SELECT org() || who()")), [format!("{ORG}ann")]);
        let why = "The value for app.current_org_id is not a uuid.";
        assert_refused(&pgwarden, &json!({"app_metadata": {"org_id": "7777"}, "sub": "ann"}), why, "7777");
    });
}
