//! A pgwarden that takes tokens within a session, and tokens of two tenants.

use pgwarden_tests::tenants::{ACME, ANN, BOB, GLOBEX, Tenants, values};
use pgwarden_tests::tokens::{SECRET, json, seconds_from_now, token};
use pgwarden_tests::{PgwardenBuilder, Server, Wire};

/// A stage whose clients log in without a tenant, and show tokens afterwards.
#[track_caller]
pub fn start(server: &Server) -> Tenants<'_> {
    start_with(server, |builder| builder)
}

/// The same with a pgwarden that is told something else, too.
#[track_caller]
pub fn start_with(server: &Server, tell: impl FnOnce(PgwardenBuilder) -> PgwardenBuilder) -> Tenants<'_> {
    start_configured(server, "", tell)
}

/// The same, with more in its configuration file.
#[track_caller]
pub fn start_configured<'a>(
    server: &'a Server,
    more: &str,
    tell: impl FnOnce(PgwardenBuilder) -> PgwardenBuilder,
) -> Tenants<'a> {
    Tenants::start_with(server, |builder| {
        let claims = "[context]\ntenant_claim = \"org\"\nuser_claim = \"sub\"\n[auth.jwt]\nleeway = \"0s\"\n";
        let builder = builder.file("key", SECRET).env("PGWARDEN_JWT_KEY", "file:{dir}/key");
        tell(builder.config(&format!("{claims}{more}")))
    })
}

/// A token of `acme`.
pub fn acme() -> String {
    of(ACME, ANN, 3600)
}

/// A token of `globex`.
pub fn globex() -> String {
    of(GLOBEX, BOB, 3600)
}

/// A token that counts for so many seconds from now.
pub fn of(org: &str, user: &str, seconds: i64) -> String {
    token(&json!({"org": org, "sub": user, "exp": seconds_from_now(seconds)}))
}

/// The organisations whose items a client sees.
#[track_caller]
pub fn seen(wire: &mut Wire) -> Vec<String> {
    values(&wire.query("SELECT DISTINCT org FROM items"))
}
