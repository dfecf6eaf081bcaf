//! From an identity to the values of the context variables.

use crate::identity::Variables;
use pgwarden_auth::jwt::{ClaimPath, Claims};
use pgwarden_config::ContextSettings;
use pgwarden_session::{Carrier, Refusal};
use pgwarden_tenant::{Context, Denial, Grant, Identity, Offence, Variable};
use std::sync::Arc;

/// What the claims of a verified token say.
pub(super) fn of_claims(settings: &ContextSettings, claims: Claims) -> Identity {
    let claim = |path: &Option<pgwarden_config::ClaimPath>| {
        let path = ClaimPath::parse(&path.as_ref()?.to_string()).ok()?;
        path.text(&claims.json)
    };
    let (tenant, user) = (claim(&settings.tenant_claim), claim(&settings.user_claim));
    Identity { tenant, user, claims: Some(claims), ..Identity::default() }
}

/// The context of an identity that is known for certain; a token counts for `leeway` seconds longer than it says.
///
/// # Errors
/// [`Denial`] when a claim is missing or a value is not of its kind.
pub(super) fn of(variables: &[Variable], identity: &Identity, leeway: u64) -> Result<Context, Denial> {
    let mut context = Context::resolve(variables, identity).map_err(|error| {
        let refusal = Refusal::new(
            "28000",
            "no valid tenant context",
            format!("{error}.").replacen("the ", "The ", 1),
            "The token or the configuration has to be put right; the value itself is not shown.",
        );
        Denial { offence: Offence::ContextDenied, refusal }
    })?;
    context.expires_at = context.expires_at.map(|end| end.saturating_add(leeway));
    Ok(context)
}

/// The context as it travels; `None` when no variable is configured.
pub(super) fn carrier(variables: &Variables, context: &Context) -> Option<Arc<Carrier>> {
    (!variables.is_empty()).then(|| Arc::new(variables.encode(&context.values)))
}

/// The context of services: nobody's, and no role.
#[derive(Debug)]
pub(crate) struct Nobody {
    /// The settings that pgwarden sets for them, that of the seal included.
    pub(crate) names: Arc<[String]>,
    /// Their values.
    pub(crate) blank: Arc<Grant>,
}

impl Nobody {
    /// What services get where clients get these variables.
    pub(crate) fn of(variables: &Variables) -> Self {
        let variables = variables.without_role();
        Self { names: variables.names(), blank: Arc::new(blank(&variables)) }
    }
}

/// The grant of who has shown nothing: every variable that would say who it is, is empty.
pub(crate) fn blank(variables: &Variables) -> Grant {
    let nobody = Context::resolve(variables, &Identity::default());
    // Of nobody, nothing can be wrong but a text of the configuration.
    let context = nobody.unwrap_or_else(|_| Context {
        values: vec![String::new(); variables.len()],
        presence: pgwarden_tenant::Presence::Missing,
        expires_at: None,
        tenants: Vec::new(),
    });
    let carrier = carrier(variables, &context);
    Grant::lasting(context, carrier)
}
