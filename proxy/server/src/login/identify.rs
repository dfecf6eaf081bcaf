//! What a client acts for: its login's identity becomes a context.

use crate::app::App;
use crate::login::Denied;
use crate::login::authenticate::Shown;
use crate::meters::LoginOutcome;
use pgwarden_config::ValueFrom;
use pgwarden_session::Refusal;
use pgwarden_tenant::{Claimant, Denial, Evidence, Held, Identity, Mode, Warden};
use std::sync::Arc;

/// Works out a client's context and who watches over it.
///
/// # Errors
/// [`Denied`] when what the login has established stands for no valid context.
pub(super) async fn identify(user: &str, shown: Shown, mode: Mode, app: &Arc<App>) -> Result<Warden, Denied> {
    let claimant = claimant(user, &shown, app);
    let evidence = Evidence::Login(Arc::new(identity(user, shown, app)));
    let grant = app.identities.resolve(&evidence).await.map_err(|denial| denied(user, denial))?;
    let login = Held { evidence: Some(evidence), grant };
    let warden = Warden::new((mode, app.missing()), login, &app.tenancy);
    Ok(match claimant {
        Some(claimant) => warden.listening_to(claimant),
        None => warden,
    })
}

/// A client that may say itself whom it acts for. Where no variable names a user, the user of the database is the one
/// whose membership is checked.
fn claimant(user: &str, shown: &Shown, app: &App) -> Option<Claimant> {
    let settings = &app.settings.context;
    if shown.claims().is_some() || !settings.lookups.claimants.contains(user) {
        return None;
    }
    let names_users = settings.variables.iter().any(|one| one.from == ValueFrom::User);
    let known = settings.fixed.get(user).and_then(|fixed| fixed.user.clone());
    let user = known.or_else(|| (!names_users).then(|| user.to_owned()));
    Some(Claimant { login: Arc::new(Identity { user, ..Identity::default() }) })
}

fn denied(user: &str, denial: Denial) -> Denied {
    let Refusal { message, .. } = &denial.refusal;
    let message = format!("{message} for user \"{user}\"");
    Denied::Refused(Refusal { message, ..denial.refusal }, LoginOutcome::RefusedContext)
}

/// The token where there is one: nothing has verified the user's *name* then, so it means nothing. Otherwise a fixed
/// tenant, then the default tenant.
fn identity(user: &str, shown: Shown, app: &App) -> Identity {
    let settings = &app.settings.context;
    match shown {
        Shown::Token(claims) => app.identities.of_claims(claims),
        Shown::Name(_) | Shown::LeftToServer => {
            let known = settings.fixed.get(user).or(settings.default_tenant.as_ref());
            let (tenant, user) =
                known.map(|known| (known.tenant.clone(), known.user.clone())).unwrap_or_default();
            Identity { tenant, user, ..Identity::default() }
        }
    }
}
