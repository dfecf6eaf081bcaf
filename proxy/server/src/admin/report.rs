//! The report on the admin listener, for browsers and for programs.
//!
//! A browser brings no Authorization header, so it may log in by a form: the cookie that it gets says until when, and is
//! signed with the token, so that it dies with it. Where no token is asked for (on loopback), the address in the Host
//! header has to be one of this machine's: otherwise any web site could have its own name resolved to 127.0.0.1, and read
//! along.

use super::routes::{AdminState, json_response};
use crate::clock;
use crate::report::{self, Attempt, ReportError};
use aws_lc_rs::hmac;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use pgwarden_config::SecretText;
use pgwarden_shadow::verdict::{Moment, Report};
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// For how long a browser stays logged in, in seconds.
const SESSION: u64 = 12 * 3_600;
/// The cookie.
const COOKIE: &str = "pgwarden_report";
/// What is signed, besides the time.
const PURPOSE: &[u8] = b"pgwarden report until ";

/// `GET /report`: the page.
pub(super) async fn page(
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match made(state, query.as_deref(), &headers).await {
        Ok(report) => html(StatusCode::OK, report::page(&report)),
        Err(refused) => refused,
    }
}

/// `GET /report.json`: the same for programs.
pub(super) async fn json(
    State(state): State<AdminState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match made(state, query.as_deref(), &headers).await {
        Ok(report) => json_response(StatusCode::OK, &json!(*report)),
        Err(refused) => refused,
    }
}

/// `POST /report/login`: the token of a form for a cookie.
pub(super) async fn login(State(state): State<AdminState>, body: Bytes) -> Response {
    let token = state.token.load_full();
    let text = std::str::from_utf8(&body).unwrap_or_default();
    let brought = field(text, "token").unwrap_or_default();
    let is_right =
        token.as_deref().is_some_and(|token| brought.as_bytes().ct_eq(token.expose().as_bytes()).into());
    let Some(token) = token.filter(|_| is_right) else {
        return html(StatusCode::UNAUTHORIZED, report::login(Attempt::Wrong));
    };
    let cookie = format!(
        "{COOKIE}={}; Path=/; Max-Age={SESSION}; HttpOnly; SameSite=Strict",
        pass(&token, clock::now().saturating_add(SESSION))
    );
    let headers = [(header::SET_COOKIE, cookie), (header::LOCATION, "/report".to_owned())];
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// What a browser reads that has not logged in.
pub(super) fn asks_to_log_in() -> Response {
    html(StatusCode::UNAUTHORIZED, report::login(Attempt::First))
}

/// Whether a path is the report's, which a cookie opens.
pub(super) fn is_of(uri: &Uri) -> bool {
    matches!(uri.path(), "/report" | "/report.json")
}

/// Whether a request brings a cookie that was signed with this token and is not over.
pub(super) fn brings_cookie(headers: &HeaderMap, token: &SecretText) -> bool {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut ours = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    });
    ours.any(|value| {
        let until = value.split_once('.').and_then(|(until, _)| until.parse::<u64>().ok());
        until.is_some_and(|until| {
            until > clock::now() && value.as_bytes().ct_eq(pass(token, until).as_bytes()).into()
        })
    })
}

/// The time until which a browser is let in, signed.
fn pass(token: &SecretText, until: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(PURPOSE);
    context.update(until.to_string().as_bytes());
    let signature: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{until}.{signature}")
}

/// The report, or why there is none.
async fn made(state: AdminState, query: Option<&str>, headers: &HeaderMap) -> Result<Arc<Report>, Response> {
    if state.token.load().is_none() && !is_for_this_machine(headers) {
        let error = json!({
            "error": "the Host header names another machine",
            "hint": "Without admin.token, ask for the report by an address or as localhost.",
        });
        return Err(json_response(StatusCode::MISDIRECTED_REQUEST, &error));
    }
    let since = since(query)
        .map_err(|problem| json_response(StatusCode::BAD_REQUEST, &json!({ "error": problem })))?;
    let reports = Arc::clone(&state.reports);
    let made = tokio::task::spawn_blocking(move || reports.report(since)).await;
    match made {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(error)) => Err(unmade(&error)),
        Err(failed) => {
            Err(json_response(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": failed.to_string() })))
        }
    }
}

fn unmade(error: &ReportError) -> Response {
    let (status, error) = match error {
        ReportError::Nowhere => {
            (StatusCode::NOT_FOUND, "no audit trail is kept: audit.directory is not set".to_owned())
        }
        error => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    };
    json_response(status, &json!({ "error": error }))
}

fn since(query: Option<&str>) -> Result<Option<Moment>, String> {
    let Some(text) = query.and_then(|query| field(query, "since")).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    // To the minute, so that whoever asks again within it gets the same report.
    let read = report::since(&text, report::now().floor(Duration::from_secs(60)));
    read.map(Some)
        .ok_or_else(|| "since is no time: expected 2030-01-31, 2030-01-31T12:00:00Z, 2h or 30d".to_owned())
}

/// Whether the Host header is an address, or this machine's own name for itself. None at all is no browser's.
fn is_for_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return true };
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

fn html(status: StatusCode, page: String) -> Response {
    let policy = format!("{}; frame-ancestors 'none'", report::POLICY.as_str());
    let mut response = (status, Html(page)).into_response();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A field of a form, or of a query.
fn field(text: &str, name: &str) -> Option<String> {
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| decoded(value))
}

/// What `application/x-www-form-urlencoded` stands for.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_forms_are_decoded() {
        assert_eq!(field("a=1&token=a%2Bb+c%C3%A9", "token").as_deref(), Some("a+b cé"));
        assert_eq!(field("token=%zz", "token"), None);
        assert_eq!(field("other=1", "token"), None);
    }

    #[test]
    fn a_pass_is_good_for_its_token_and_its_time_alone() {
        let token = SecretText::new("right".to_owned());
        let bring = |value: String| {
            let mut headers = HeaderMap::new();
            let cookie = format!("other=1; {COOKIE}={value}");
            headers.insert(header::COOKIE, HeaderValue::from_str(&cookie).expect("a header"));
            headers
        };
        let later = clock::now() + 60;
        assert!(brings_cookie(&bring(pass(&token, later)), &token));
        assert!(!brings_cookie(&bring(pass(&token, later)), &SecretText::new("other".to_owned())));
        assert!(!brings_cookie(&bring(pass(&token, clock::now() - 1)), &token));
        let forged = pass(&token, later).replacen(&later.to_string(), &(later + 1).to_string(), 1);
        assert!(!brings_cookie(&bring(forged), &token));
        for value in ["", ".", "x.y", "99999999999"] {
            assert!(!brings_cookie(&bring(value.to_owned()), &token), "{value}");
        }
    }

    #[test]
    fn without_a_token_only_this_machine_is_spoken_to() {
        let is = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            is_for_this_machine(&headers)
        };
        assert!(
            ["localhost:6433", "LOCALHOST", "127.0.0.1:6433", "[::1]:6433", "10.0.0.1"].into_iter().all(is)
        );
        assert!(
            !["evil.example:6433", "localhost.evil.example", "127.0.0.1.evil.example", ""]
                .into_iter()
                .any(is)
        );
    }
}
