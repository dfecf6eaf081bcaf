//! What a client acts for, and the variables that say so to the server.

use crate::value::{Kind, ValueError};
use pgwarden_auth::jwt::{ClaimPath, Claims};
use std::collections::BTreeMap;
use thiserror::Error;

/// Where a variable's value comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The tenant.
    Tenant,
    /// The user.
    User,
    /// One claim of the verified token.
    Claim(ClaimPath, String),
    /// All claims of the verified token, as JSON.
    Claims,
    /// A column of the row that was looked up.
    Column(String),
    /// A text of the configuration.
    Literal(String),
    /// The role that transactions run as.
    Role(Roles),
}

/// Who transactions run as.
#[derive(Debug, Clone)]
pub struct Roles {
    /// For whom nothing else says it.
    pub usual: String,
    /// For who has no context.
    pub anonymous: String,
    /// The claim that may name another role, parsed and as written.
    pub claim: Option<(ClaimPath, String)>,
    /// What that claim may say.
    pub allowed: Vec<String>,
}

/// A setting that pgwarden sets in every transaction.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Its name: a dotted identifier, checked when the configuration is read.
    pub name: String,
    /// Where its value comes from.
    pub source: Source,
    /// What the value has to look like.
    pub kind: Kind,
    /// The longest value taken, in bytes.
    pub limit: usize,
}

/// Who a client is, as far as its login tells.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// The tenant.
    pub tenant: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// The claims of a verified token.
    pub claims: Option<Claims>,
    /// What a look-up says besides.
    pub columns: BTreeMap<String, String>,
}

/// The values of all variables for one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// One value per variable, in the order of the configuration; empty where there is none.
    pub values: Vec<String>,
    /// Whether the values say who the client is.
    pub presence: Presence,
    /// When the context ends, in seconds since 1970.
    pub expires_at: Option<u64>,
    /// The tenants whose rows may be seen with it, as far as that is known; the first is the one that is acted for, empty
    /// where only its user is known.
    pub tenants: Vec<String>,
}

/// Whether a client has a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It has.
    Present,
    /// Its variables are set to nothing.
    Missing,
}

/// Why a login gives no valid context. It never holds a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ContextError {
    /// The token lacks a claim, or it is no text, number or boolean.
    #[error("the token has no usable claim \"{path}\" for {variable}")]
    MissingClaim {
        /// The path of the claim.
        path: String,
        /// The variable it is for.
        variable: String,
    },
    /// A value is not of the variable's kind.
    #[error("the value for {variable} {error}")]
    Value {
        /// The variable.
        variable: String,
        /// What is wrong with the value.
        error: ValueError,
    },
    /// The token names a role that the configuration does not let it name.
    #[error("the token names a role in \"{path}\" that context.roles does not list")]
    Role {
        /// The path of the claim.
        path: String,
    },
}

impl Context {
    /// Works out the values of `variables` for a client.
    ///
    /// A client of whom nothing is known gets empty values; one that is known only in part is refused.
    ///
    /// # Errors
    /// [`ContextError`] when a value is missing from a token or is not of its variable's kind.
    pub fn resolve(variables: &[Variable], identity: &Identity) -> Result<Self, ContextError> {
        let expires_at = identity.claims.as_ref().and_then(|claims| claims.expires_at);
        let known = identity.tenant.is_some() || identity.user.is_some() || identity.claims.is_some();
        let identifies =
            variables.iter().any(|variable| !matches!(variable.source, Source::Literal(_) | Source::Role(_)));
        let presence = if known || !identifies { Presence::Present } else { Presence::Missing };
        let values =
            variables.iter().map(|one| value_of(one, identity, presence)).collect::<Result<_, _>>()?;
        Ok(Self { values, presence, expires_at, tenants: identity.tenant.iter().cloned().collect() })
    }
}

impl Roles {
    fn of(&self, identity: &Identity, presence: Presence) -> Result<String, ContextError> {
        let named = match (&self.claim, &identity.claims) {
            (Some((path, written)), Some(claims)) => path.text(&claims.json).zip(Some(written)),
            _ => None,
        };
        match named {
            Some((role, _)) if self.allowed.contains(&role) => Ok(role),
            Some((_, written)) => Err(ContextError::Role { path: written.clone() }),
            None if presence == Presence::Missing => Ok(self.anonymous.clone()),
            None => Ok(self.usual.clone()),
        }
    }
}

fn value_of(variable: &Variable, identity: &Identity, presence: Presence) -> Result<String, ContextError> {
    let value = match &variable.source {
        Source::Role(roles) => Some(roles.of(identity, presence)?),
        Source::Literal(text) => Some(text.clone()),
        Source::Tenant => identity.tenant.clone(),
        Source::User => identity.user.clone(),
        Source::Column(name) => identity.columns.get(name).cloned(),
        Source::Claims => identity.claims.as_ref().map(|claims| claims.text.clone()),
        Source::Claim(path, written) => match &identity.claims {
            None => None,
            Some(claims) => Some(path.text(&claims.json).ok_or_else(|| ContextError::MissingClaim {
                path: written.clone(),
                variable: variable.name.clone(),
            })?),
        },
    };
    let Some(value) = value else { return Ok(String::new()) };
    match variable.kind.check(&value, variable.limit) {
        Ok(()) => Ok(value),
        Err(error) => Err(ContextError::Value { variable: variable.name.clone(), error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(source: Source, kind: Kind) -> Variable {
        Variable { name: "app.x".into(), source, kind, limit: 100 }
    }

    #[test]
    fn a_client_of_whom_nothing_is_known_gets_empty_values_and_keeps_literals() {
        let variables =
            [variable(Source::Tenant, Kind::Uuid), variable(Source::Literal("eu".into()), Kind::Text)];
        let context = Context::resolve(&variables, &Identity::default()).expect("context");
        assert_eq!(context.values, ["", "eu"]);
        assert_eq!(context.presence, Presence::Missing);
    }

    #[test]
    fn the_role_is_what_the_token_may_name_or_else_the_usual_one() {
        let path = ClaimPath::parse("role").expect("a path");
        let roles = Roles {
            usual: "member".into(),
            anonymous: "anon".into(),
            claim: Some((path, "role".into())),
            allowed: vec!["support".into()],
        };
        let variables = [variable(Source::Tenant, Kind::Text), variable(Source::Role(roles), Kind::Text)];
        let role_of = |claims: Option<&str>| {
            let claims = claims.map(|text| Claims {
                json: serde_json::from_str(text).expect("JSON"),
                text: text.into(),
                expires_at: None,
            });
            let context = Context::resolve(&variables, &Identity { claims, ..Identity::default() })?;
            Ok::<_, ContextError>(context.values[1].clone())
        };
        assert_eq!(role_of(None).as_deref(), Ok("anon"));
        assert_eq!(role_of(Some("{}")).as_deref(), Ok("member"));
        assert_eq!(role_of(Some(r#"{"role": "support"}"#)).as_deref(), Ok("support"));
        let refused = role_of(Some(r#"{"role": "postgres"}"#)).expect_err("not in the list");
        assert_eq!(
            refused.to_string(),
            "the token names a role in \"role\" that context.roles does not list"
        );
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused_without_being_shown() {
        let identity = Identity { tenant: Some("secret-tenant".into()), ..Identity::default() };
        let error =
            Context::resolve(&[variable(Source::Tenant, Kind::Uuid)], &identity).expect_err("not a uuid");
        assert_eq!(error.to_string(), "the value for app.x is not a uuid");
    }
}
