//! Sessions that began with a token: backends that they share, real drivers, and the time when the token expires.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, run, values};
use pgwarden_tests::tokens::{SECRET, Value, json, seconds_from_now, token};
use pgwarden_tests::wire::{Fields, tags};
use pgwarden_tests::{
    Frontend, Pgwarden, PgwardenBuilder, Server, Wire, client, for_each_version, psql, until,
};

/// A pgwarden that takes tokens and makes the tenant of the claim `org`.
#[track_caller]
fn taking(server: &Server, tell: impl FnOnce(PgwardenBuilder) -> PgwardenBuilder) -> Pgwarden {
    let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
    let builder = Tenants::builder(&upstream).file("key", SECRET);
    let builder = builder.env("PGWARDEN_AUTH", "jwt").env("PGWARDEN_JWT_KEY", "file:{dir}/key");
    tell(builder.env("PGWARDEN_CONTEXT", "app.current_org_id=claim:org, request.jwt.claims=claims")).start()
}

fn punctual(builder: PgwardenBuilder) -> PgwardenBuilder {
    let text = "[auth.jwt]\nleeway = \"0s\"\n";
    builder.config(text)
}

#[track_caller]
fn try_log_in(pgwarden: &Pgwarden, token: &str) -> Result<Wire, Fields> {
    let mut wire = Wire::connect(pgwarden.port());
    let login = wire.try_log_in(token, &[("user", "anybody"), ("database", "postgres")]);
    login.map(|_| wire).map_err(|error| error.fields())
}

#[track_caller]
fn log_in(pgwarden: &Pgwarden, claims: &Value) -> Wire {
    try_log_in(pgwarden, &token(claims)).unwrap_or_else(|error| panic!("{claims}: {error}"))
}

#[test]
fn tokens_of_two_tenants_share_a_backend_and_never_a_context() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = taking(server, |builder| builder);
        let mut both = [ACME, GLOBEX].map(|org| (org, log_in(&pgwarden, &json!({"org": org}))));
        for _ in 0..5 {
            for (org, wire) in &mut both {
                assert_eq!(values(&wire.query("SELECT org()")), [*org]);
                wire.send(&run("SELECT current_setting('request.jwt.claims')::jsonb ->> 'org'").sync());
                assert_eq!(values(&wire.until_ready()), [*org]);
                assert_eq!(values(&wire.query("SELECT DISTINCT org FROM items")), [*org]);
                wire.send(&Frontend::new().query("BEGIN; SELECT org(); SELECT 1/0"));
                assert_eq!(values(&wire.until_ready()), [*org]);
                wire.query("ROLLBACK");
            }
        }
        assert_eq!(pgwarden.metric("pgwarden_backends"), Some(1.0));
    });
}

#[test]
fn psql_and_tokio_postgres_send_a_long_token_as_their_password() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = taking(server, |builder| builder);
        let token = token(&json!({"org": ACME, "more": "x".repeat(20_000)}));
        let url = pgwarden.url("anybody", &token, "postgres");
        let output =
            psql(&url, &["-c", "SELECT org(), length(current_setting('request.jwt.claims')) > 20000"]);
        let shown = String::from_utf8_lossy(&output.stdout);
        assert_eq!(shown.trim(), format!("{ACME}|t"), "{}", String::from_utf8_lossy(&output.stderr));
        let client = client::connect(&url).await;
        assert_eq!(client::column(&client, "SELECT org()").await.expect("a row"), [Some(ACME.to_owned())]);
        let refused = psql(&pgwarden.url("anybody", "no.token.atall", "postgres"), &["-c", "SELECT 1"]);
        let error = String::from_utf8_lossy(&refused.stderr);
        assert!(error.contains("token authentication failed") && error.contains("DETAIL:"), "{error}");
    });
}

/// Waits until the context of this connection has expired: its next transaction is refused.
#[track_caller]
fn until_expired(wire: &mut Wire) -> Fields {
    until("the token expires", || {
        let answers = wire.query("SELECT org()");
        let error = answers.iter().find(|message| message.tag == b'E')?.fields();
        assert_eq!(
            (tags(&answers).as_str(), answers.last().map(pgwarden_tests::Message::status)),
            ("EZ", Some('I'))
        );
        Some(error)
    })
}

#[test]
fn when_a_token_expires_the_transaction_goes_on_and_the_next_one_is_refused() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = taking(server, |builder| punctual(builder).env("PGWARDEN_POOL_SIZE", "3"));
        let token = token(&json!({"org": "x", "exp": seconds_from_now(3)}));
        let log_in =
            || try_log_in(&pgwarden, &token).unwrap_or_else(|error| panic!("not yet expired: {error}"));
        let (mut in_block, mut idle) = (log_in(), log_in());
        in_block.query("BEGIN");
        let error = until_expired(&mut idle);
        assert_eq!((error.severity(), error.code()), ("ERROR", "28000"), "{error}");
        assert_eq!(error.message(), "the token of this connection has expired");
        assert!(error.hint().contains("fresh token") && !error.detail().is_empty(), "{error}");
        assert_eq!(values(&in_block.query("SELECT org()")), ["x"], "a transaction that has begun goes on");
        assert_eq!(error_code(&in_block.query("COMMIT")), "");
        for statement in ["SELECT org()", "BEGIN", "SELECT 1"] {
            assert_eq!(error_code(&in_block.query(statement)), "28000", "{statement}");
        }
        in_block.send(&run("SELECT org()").sync());
        assert_eq!(error_code(&in_block.until_ready()), "28000");
        let again = try_log_in(&pgwarden, &token).map(drop).expect_err("expired");
        assert!(again.detail().contains("the token expired at"), "{again}");
        assert!(!pgwarden.until_logged("login refused", 0).contains(&token));
    });
}

#[test]
fn in_shadow_an_expired_token_is_counted_and_the_statement_runs() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = taking(server, |builder| punctual(builder).env("PGWARDEN_MODE", "shadow"));
        let mut wire = log_in(&pgwarden, &json!({"org": "x", "exp": seconds_from_now(2)}));
        let sample = "pgwarden_findings_total{kind=\"context_expired\",mode=\"shadow\"}";
        until("it is counted", || {
            assert_eq!(values(&wire.query("SELECT org()")), ["x"]);
            (pgwarden.metric(sample)? > 0.0).then_some(())
        });
    });
}
