//! What a client acts for: its identity becomes a context, and the context a carrier.

use crate::app::App;
use crate::login::Denied;
use crate::login::authenticate::Shown;
use crate::meters::LoginOutcome;
use pgwarden_auth::jwt::{ClaimPath, Claims};
use pgwarden_session::{Carrier, Refusal, Sealer};
use pgwarden_tenant::{Context, Identity, Mode, Warden, encode, encode_sealed};
use std::sync::Arc;

/// Works out a client's context and who watches over it.
///
/// # Errors
/// [`Denied`] with 28000 when a claim is missing or a value is not of its kind.
pub(super) fn identify(user: &str, shown: Shown, mode: Mode, app: &Arc<App>) -> Result<Warden, Denied> {
    let claims = match shown {
        Shown::Token(claims) => Some(claims),
        Shown::Name | Shown::LeftToServer => None,
    };
    let identity = identity(user, claims, app);
    let mut context = Context::resolve(&app.variables, &identity).map_err(|error| {
        let refusal = Refusal::new(
            "28000",
            format!("no valid tenant context for user \"{user}\""),
            format!("{error}.").replacen("the ", "The ", 1),
            "The token or the configuration has to be put right; the value itself is not shown.",
        );
        Denied::Refused(refusal, LoginOutcome::RefusedContext)
    })?;
    context.expires_at = context.expires_at.map(|end| end.saturating_add(app.tokens.policy.leeway_seconds));
    let names: Vec<&str> = app.variables.iter().map(|variable| variable.name.as_str()).collect();
    let carrier = (!names.is_empty()).then(|| Arc::new(carrier(&names, &context.values, app)));
    Ok(Warden::new((mode, app.missing()), context, carrier, &app.tenancy))
}

/// The context as it travels, sealed where the settings say so.
fn carrier(names: &[&str], values: &[String], app: &App) -> Carrier {
    match (&app.sealing, &app.settings.context.seal) {
        (Some(sealing), Some(seal)) => {
            let sealer: Arc<dyn Sealer> = Arc::<crate::seal::Sealing>::clone(sealing);
            encode_sealed(names, values, &seal.variable, sealer)
        }
        _ => encode(names, values),
    }
}

/// The token where there is one: nothing has verified the user's *name* then, so it means nothing. Otherwise a fixed
/// tenant, then the default tenant.
fn identity(user: &str, claims: Option<Claims>, app: &App) -> Identity {
    let settings = &app.settings.context;
    let fixed = settings.fixed.get(user).filter(|_| claims.is_none());
    let fallback = settings.default_tenant.as_ref().filter(|_| fixed.is_none() && claims.is_none());
    if let Some(known) = fixed.or(fallback) {
        return Identity { tenant: known.tenant.clone(), user: known.user.clone(), claims };
    }
    let claim = |path: &Option<pgwarden_config::ClaimPath>| {
        let path = ClaimPath::parse(&path.as_ref()?.to_string()).ok()?;
        path.text(&claims.as_ref()?.json)
    };
    Identity { tenant: claim(&settings.tenant_claim), user: claim(&settings.user_claim), claims }
}
