//! What the admin listener answers.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use pgwarden_config::SecretText;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::readiness::{Degraded, Readiness, Unready};
use super::report;
use crate::hold::{Holds, LONGEST};
use crate::meters::Meters;
use crate::report::Live;
use crate::status::Source;

/// The longest body of a request: a token.
const BODY_BYTES: usize = 16 * 1024;

/// Prometheus' text form.
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the admin listener shows, and to whom.
#[derive(Debug, Clone)]
pub(crate) struct AdminState {
    /// What `/metrics` shows.
    pub(crate) meters: Arc<Meters>,
    /// What `/readyz` shows.
    pub(crate) readiness: Arc<Readiness>,
    /// What `/hold` holds.
    pub(crate) holds: Arc<Holds>,
    /// What `/status` shows.
    pub(crate) status: Arc<dyn Source>,
    /// What `/report` shows.
    pub(crate) reports: Arc<Live>,
    /// What a caller must bring for everything but `/healthz`; a reload may change it.
    pub(crate) token: Arc<ArcSwapOption<SecretText>>,
}

/// The routes, with the check of the token around all but `/healthz`, and the form that asks for it.
pub(crate) fn router(state: AdminState) -> Router {
    let authorized = middleware::from_fn_with_state(state.clone(), authorize);
    Router::new()
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/report", get(report::page))
        .route("/report.json", get(report::json))
        .route("/hold", post(hold).delete(release))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(authorized)
        .route("/healthz", get(healthy).fallback(method_not_allowed))
        .route("/report/login", post(report::login).fallback(method_not_allowed))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(state)
}

async fn healthy() -> &'static str {
    "ok\n"
}

async fn ready(State(state): State<AdminState>) -> Response {
    let reasons: Vec<_> = state.readiness.reasons().map(Unready::label).collect();
    match reasons.is_empty() {
        true => {
            let degraded: Vec<_> = state.readiness.degraded().map(Degraded::label).into_iter().collect();
            let word = if degraded.is_empty() { "ready" } else { "degraded" };
            json_response(StatusCode::OK, &json!({ "status": word, "reasons": degraded }))
        }
        false => json_response(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "status": "unready", "reasons": reasons }),
        ),
    }
}

async fn metrics(State(state): State<AdminState>) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TEXT)], state.meters.render()).into_response()
}

async fn status(State(state): State<AdminState>) -> Response {
    json_response(StatusCode::OK, &json!(state.status.report()))
}

/// Holds the traffic of a database: `POST /hold?database=…&milliseconds=…`. Answers with the server processes that sessions
/// have at the moment.
async fn hold(State(state): State<AdminState>, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    let milliseconds = parameter(query, "milliseconds").and_then(|text| text.parse().ok());
    let duration = milliseconds.map(Duration::from_millis).filter(|duration| *duration <= LONGEST);
    let (Some(database), Some(duration)) = (parameter(query, "database"), duration) else {
        let expected = format!("expected database, and milliseconds up to {}", LONGEST.as_millis());
        return json_response(StatusCode::BAD_REQUEST, &json!({ "error": expected }));
    };
    state.holds.begin(&database, duration);
    tracing::info!(database, milliseconds = duration.as_millis(), "traffic is held");
    let processes = state.status.processes(&database);
    json_response(StatusCode::OK, &json!({ "held": database, "processes": processes }))
}

/// Lets it flow again: `DELETE /hold?database=…`.
async fn release(State(state): State<AdminState>, uri: Uri) -> Response {
    let Some(database) = parameter(uri.query().unwrap_or_default(), "database") else {
        return json_response(StatusCode::BAD_REQUEST, &json!({ "error": "expected database" }));
    };
    state.holds.end(&database);
    json_response(StatusCode::OK, &json!({ "released": database }))
}

/// A parameter of a query, as it is meant; none where it is missing or no text.
fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(digit()? * 16 + digit()?);
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

async fn not_found() -> Response {
    json_response(StatusCode::NOT_FOUND, &json!({ "error": "not found" }))
}

async fn method_not_allowed() -> Response {
    json_response(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": "method not allowed" }))
}

async fn authorize(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    let Some(token) = state.token.load_full() else { return next.run(request).await };
    let is_report = report::is_of(request.uri());
    let is_known = is_report && report::brings_cookie(request.headers(), &token);
    if is_known || brings(request.headers(), &token) {
        return next.run(request).await;
    }
    let accepted = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if is_report && accepted.is_some_and(|accepted| accepted.contains("text/html")) {
        return report::asks_to_log_in();
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    let body = json_response(StatusCode::UNAUTHORIZED, &json!({ "error": "a bearer token is required" }));
    (challenge, body).into_response()
}

/// Whether the request carries `token`; the time it takes says nothing but its length.
fn brings(headers: &HeaderMap, token: &SecretText) -> bool {
    let value = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let Some((scheme, brought)) = value.and_then(|value| value.split_at_checked("Bearer ".len())) else {
        return false;
    };
    scheme.eq_ignore_ascii_case(b"Bearer ") && brought.ct_eq(token.expose().as_bytes()).into()
}

pub(super) fn json_response(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}
