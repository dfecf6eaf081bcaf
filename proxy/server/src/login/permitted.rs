//! Which settings a client may start with.

use crate::app::App;
use crate::login::Denied;
use crate::login::options;
use crate::meters::LoginOutcome;
use pgwarden_config::Pooler;
use pgwarden_session::Refusal;
use pgwarden_tenant::{Mode, Stance};
use pgwarden_wire::Startup;

/// What every PgBouncer keeps apart for each of its clients (`varcache.c`).
const FOLLOWS: [&str; 5] =
    ["client_encoding", "datestyle", "timezone", "standard_conforming_strings", "application_name"];

/// The settings a client may start with: those that pgwarden sets itself are refused, or left out in shadow.
pub(super) fn settings(startup: &Startup, mode: Mode, app: &App) -> Result<Vec<(String, String)>, Denied> {
    let mut settings = options::settings(startup).map_err(|message| Denied::protocol("42601", message))?;
    if app.settings.upstream.downstream_pooler != Pooler::No {
        settings.retain(|(name, value)| {
            name != "extra_float_digits" || !matches!(value.as_str(), "1" | "2" | "3")
        });
        follow_through_pooler(&settings)?;
    }
    if mode == Mode::Passthrough {
        return Ok(settings);
    }
    let guard = &app.tenancy.guard;
    for (name, _) in settings.iter().filter(|_| guard.stance() != Stance::Off) {
        let Some(offence) = guard.protected().offence_for(name) else { continue };
        app.tenancy.observer.found(offence, mode);
        if mode == Mode::Enforce && guard.stance() == Stance::Reject {
            let refusal = Refusal::new(
                "42501",
                format!("permission denied to set \"{name}\" in the startup packet"),
                "pgwarden sets it itself, or it changes what the policies see.",
                "Remove it from the connection's options.",
            );
            return Err(Denied::Refused(refusal, LoginOutcome::RefusedContext));
        }
    }
    settings.retain(|(name, _)| !guard.protected().holds(name));
    Ok(settings)
}

/// Behind a pooler, any other setting would stay on a server that serves somebody else next. (JDBC sends
/// `extra_float_digits`: 1 to 3 mean the same from PostgreSQL 12 on.)
fn follow_through_pooler(settings: &[(String, String)]) -> Result<(), Denied> {
    let stays = |name: &str| !FOLLOWS.iter().any(|known| known.eq_ignore_ascii_case(name));
    let Some((name, _)) = settings.iter().find(|(name, _)| stays(name)) else { return Ok(()) };
    let refusal = Refusal::new(
        "0A000",
        format!("setting \"{name}\" cannot follow a client behind a pooler"),
        "It would stay on a connection that serves somebody else next.",
        "Set it with ALTER ROLE ... SET, or with SET LOCAL.",
    );
    Err(Denied::Refused(refusal, LoginOutcome::RefusedFeature))
}
