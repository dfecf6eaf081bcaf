//! Verified claims, and paths into them.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::TokenError;

/// Above this, a 64-bit float cannot hold every integer.
const EXACT_FLOAT_LIMIT: f64 = 9_007_199_254_740_992.0;

/// The claims of a token whose signature and policy checks passed.
#[derive(Clone, PartialEq)]
pub struct Claims {
    /// The claims; always an object. Of a name that appears twice the last value counts, as in
    /// PostgreSQL's `jsonb`.
    pub json: Value,
    /// The claims as they stand in the token, decoded from base64 and otherwise untouched.
    ///
    /// A JSON text holds no zero byte; one that is written as `\u0000` stays written like that, and
    /// PostgreSQL's `jsonb` will refuse it.
    pub text: String,
    /// `exp` in seconds since 1970; the leeway of the policy is *not* added.
    pub expires_at: Option<u64>,
}

/// A path to a claim: names separated by dots, and a name that holds dots in double quotes
/// (`app_metadata.org_id`, `"https://example.com/org".id`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClaimPath {
    names: Vec<String>,
}

/// Why a text is no path to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimPathError {
    /// There is nothing between two dots, or nothing at all.
    #[error("a name in the claim path is empty")]
    EmptyName,
    /// A quoted name does not end, or goes on after its closing quote.
    #[error("a quoted name in the claim path is not closed properly")]
    Quote,
}

impl Claims {
    /// The value at a path; none if the path leads nowhere or is no path.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Value> {
        ClaimPath::parse(path).ok()?.find(&self.json)
    }

    /// The value at a path, as text that a setting can hold; see [`ClaimPath::text`].
    #[must_use]
    pub fn text_at(&self, path: &str) -> Option<String> {
        ClaimPath::parse(path).ok()?.text(&self.json)
    }

    /// Reads the payload of a token, which must be a JSON object.
    pub(super) fn parse(text: String) -> Result<Claims, TokenError> {
        let json: Value =
            serde_json::from_str(&text).map_err(|_| TokenError::Malformed("the claims are no JSON"))?;
        if !json.is_object() {
            return Err(TokenError::Malformed("the claims are no JSON object"));
        }
        let expires_at = numeric_date(&json, "exp")?;
        Ok(Claims { json, text, expires_at })
    }
}

impl ClaimPath {
    /// Reads a path.
    ///
    /// # Errors
    /// [`ClaimPathError`], see its variants.
    pub fn parse(text: &str) -> Result<ClaimPath, ClaimPathError> {
        let mut names = Vec::new();
        let mut rest = text;
        loop {
            let (name, after) = match rest.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or(ClaimPathError::Quote)?,
                None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
            };
            if name.is_empty() {
                return Err(ClaimPathError::EmptyName);
            }
            names.push(name.to_owned());
            if after.is_empty() {
                return Ok(ClaimPath { names });
            }
            rest = after.strip_prefix('.').ok_or(ClaimPathError::Quote)?;
        }
    }

    /// Follows the path through nested objects.
    #[must_use]
    pub fn find<'a>(&self, json: &'a Value) -> Option<&'a Value> {
        self.names.iter().try_fold(json, |value, name| value.as_object()?.get(name))
    }

    /// Follows the path and reads the value as text.
    ///
    /// A string is taken as it is, a number or a boolean in its JSON form. Null, arrays and objects
    /// have no text; nor has a string with a zero byte, which no PostgreSQL value can hold, nor a
    /// number so large that it lost digits (two different tenants could become one).
    #[must_use]
    pub fn text(&self, json: &Value) -> Option<String> {
        match self.find(json)? {
            Value::String(text) => (!text.contains('\0')).then(|| text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Number(number) => is_exact(number).then(|| number.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// A `NumericDate` of RFC 7519 in whole seconds, cut to what a `u64` holds.
pub(super) fn numeric_date(json: &Value, claim: &'static str) -> Result<Option<u64>, TokenError> {
    let Some(value) = json.get(claim) else {
        return Ok(None);
    };
    let Value::Number(number) = value else {
        return Err(TokenError::ClaimType { claim });
    };
    if let Some(seconds) = number.as_u64() {
        return Ok(Some(seconds));
    }
    let seconds = number.as_f64().ok_or(TokenError::ClaimType { claim })?;
    if seconds < 0.0 {
        return Ok(Some(0));
    }
    Ok(Some(Duration::try_from_secs_f64(seconds).map_or(u64::MAX, |duration| duration.as_secs())))
}

fn is_exact(number: &serde_json::Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|value| value.abs() < EXACT_FLOAT_LIMIT)
}
