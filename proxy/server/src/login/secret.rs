//! Checking a secret that is stored somewhere: in the users file, or on the server.

use crate::app::App;
use crate::login::Denied;
use crate::login::authenticate::{Proof, ask, ask_in_clear, verdict};
use crate::login::rules::Newcomer;
use crate::login::scram::{self, Offer};
use crate::meters::LoginOutcome;
use crate::pool::Lent;
use crate::stream::Stream;
use crate::users::Account;
use pgwarden_auth::password::{check_md5, check_password};
use pgwarden_auth::scram_keys::ScramKeys;
use pgwarden_auth::secret::Secret;
use std::sync::Arc;

/// What is known of a client that says who it is.
///
/// # Errors
/// [`Denied`] with 57P03 when the server cannot be asked. That says nothing about the user.
pub(super) async fn account(newcomer: &Newcomer<'_>, app: &App) -> Result<Account, Denied> {
    let known = app.accounts.of(newcomer.user).await;
    known.map_err(|error| Denied::Refused(error.refusal(), LoginOutcome::RefusedUpstream))
}

/// Asks for the password in clear text. Returns what it leaves for logins to the server.
///
/// # Errors
/// [`Denied`] when it is wrong.
pub(super) async fn password(
    stream: &mut Stream,
    newcomer: &Newcomer<'_>,
    app: &Arc<App>,
) -> Result<Option<Lent>, Denied> {
    let given = ask_in_clear(stream, "password", newcomer, app).await?;
    let known = account(newcomer, app).await?;
    let (name, secret, wanted) = (newcomer.user.to_owned(), known.secret.clone(), wanted(app));
    // A millisecond of CPU, or two: not on the reactor. A thread that dies counts as a failed check.
    let check = move || {
        let is_right = check_password(&name, secret.as_ref(), &given);
        match (&secret, is_right, wanted) {
            (_, false, _) => (Proof::Wrong, None),
            (Some(Secret::Scram(verifier)), true, Wanted::ForServer) => {
                (Proof::Given, Some(Lent::Keys(ScramKeys::derive(&given, verifier))))
            }
            (_, true, _) => (Proof::Given, None),
        }
    };
    let (proof, keys) = tokio::task::spawn_blocking(check).await.unwrap_or((Proof::Wrong, None));
    judge(&proof, newcomer, &known)?;
    Ok(keys.or_else(|| told(&known)))
}

/// Asks for a hash of the password and a salt. As pg_hba.conf has it, that means SCRAM for a user whose secret can answer
/// nothing else.
///
/// # Errors
/// [`Denied`] when the answer is wrong.
pub(super) async fn md5(
    stream: &mut Stream,
    newcomer: &Newcomer<'_>,
    app: &Arc<App>,
) -> Result<Option<Lent>, Denied> {
    let known = account(newcomer, app).await?;
    if app.accounts.answers_only_scram(&known) {
        return scram::exchange_with(stream, newcomer, Offer::Either, app, Some(known)).await;
    }
    let salt: [u8; 4] = rand::random();
    let given = ask(stream, 5, &salt).await?;
    app.suspicion.hold_proof(newcomer, app).await?;
    let is_right = check_md5(newcomer.user, known.secret.as_ref(), salt, &given);
    judge(if is_right { &Proof::Given } else { &Proof::Wrong }, newcomer, &known)?;
    Ok(told(&known))
}

/// Lets a client in or not; what was looked up is doubted when it does not fit.
///
/// # Errors
/// [`Denied`] with 28P01.
pub(super) fn judge(proof: &Proof, newcomer: &Newcomer<'_>, known: &Account) -> Result<(), Denied> {
    if *proof == Proof::Wrong {
        known.doubt();
    }
    verdict(proof, newcomer.user)
}

/// What to do with keys that a proof leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// They log in to the server, where clients do so under their own names.
    ForServer,
    /// Nothing: pgwarden has a login of its own.
    Not,
}

/// Whether keys are of use.
pub(super) fn wanted(app: &App) -> Wanted {
    if app.settings.upstream.user.is_none() { Wanted::ForServer } else { Wanted::Not }
}

/// What the server has told goes back there: a verifier can prove nothing, but a hash or a password can.
pub(super) fn told(known: &Account) -> Option<Lent> {
    match &known.secret {
        Some(secret @ (Secret::Clear(_) | Secret::Md5(_))) if known.was_looked_up() => {
            Some(Lent::Secret(secret.clone()))
        }
        _ => None,
    }
}
