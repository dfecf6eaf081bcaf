//! The configuration's words for context variables, as the tenant layer's.

use crate::start_error::StartError;
use pgwarden_auth::jwt::ClaimPath;
use pgwarden_config::{RoleSettings, Settings, TokenCarrier, ValueFrom};
use pgwarden_tenant::{Kind, Permission, ROLE, Roles, Source, TokenRules, Variable};

/// The variables that the settings name.
///
/// # Errors
/// [`StartError::Variable`] when a claim path cannot be read.
pub(crate) fn variables(settings: &Settings) -> Result<Vec<Variable>, StartError> {
    // The role comes last: the values are set with the rights of the login.
    let variables = settings.context.variables.iter().map(|variable| one(variable, settings));
    variables.chain(settings.context.role.iter().map(role)).collect()
}

fn role(role: &RoleSettings) -> Result<Variable, StartError> {
    let claim = role.claim.as_ref().map(claim).transpose()?;
    let (usual, anonymous) = (role.usual.clone(), role.anonymous.clone());
    let source = Source::Role(Roles { usual, anonymous, claim, allowed: role.allowed.clone() });
    Ok(Variable { name: ROLE.to_owned(), source, kind: Kind::Text, limit: usize::MAX })
}

fn claim(path: &pgwarden_config::ClaimPath) -> Result<(ClaimPath, String), StartError> {
    let written = path.to_string();
    let path = ClaimPath::parse(&written).map_err(|error| StartError::Variable(error.to_string()))?;
    Ok((path, written))
}

fn one(variable: &pgwarden_config::Variable, settings: &Settings) -> Result<Variable, StartError> {
    let context = &settings.context;
    let source = match &variable.from {
        ValueFrom::Tenant => Source::Tenant,
        ValueFrom::User => Source::User,
        ValueFrom::Claims => Source::Claims,
        ValueFrom::Column(name) => Source::Column(name.clone()),
        ValueFrom::Literal(text) => Source::Literal(text.clone()),
        ValueFrom::Claim(path) => {
            let (path, written) = claim(path)?;
            Source::Claim(path, written)
        }
    };
    let limit = match source {
        Source::Claims => context.max_claims_bytes,
        _ => context.max_value_bytes,
    };
    let kind = match variable.kind {
        pgwarden_config::Kind::Uuid => Kind::Uuid,
        pgwarden_config::Kind::Bigint => Kind::Bigint,
        pgwarden_config::Kind::Text => Kind::Text,
    };
    Ok(Variable { name: variable.name.clone(), source, kind, limit })
}

/// How tokens may come within a session.
pub(crate) fn token_rules(settings: &Settings) -> TokenRules {
    let lookups = &settings.context.lookups;
    let permission = |carrier| match lookups.carriers.contains(&carrier) {
        true => Permission::Granted,
        false => Permission::Withheld,
    };
    TokenRules {
        set: permission(TokenCarrier::Set),
        set_config: permission(TokenCarrier::SetConfig),
        comment: permission(TokenCarrier::Comment),
        limit: lookups.max_token_bytes,
    }
}
