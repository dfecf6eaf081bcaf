//! Logging a client in by OAUTHBEARER, as clients of PostgreSQL 18 do: the token comes in a SASL message of its own, and
//! who has none learns where to get one.

use crate::app::App;
use crate::login::Denied;
use crate::login::authenticate::{ask_sasl, check_size, verified};
use crate::login::rules::Newcomer;
use crate::meters::LoginOutcome;
use crate::stream::Stream;
use pgwarden_auth::jwt::Claims;
use pgwarden_auth::oauth_bearer::{
    ClientFirst, MECHANISM, OAuthBearerError, challenge, read_acknowledgement,
};
use pgwarden_session::Refusal;
use pgwarden_wire::Fields;
use std::net::IpAddr;
use std::sync::Arc;

/// Runs the exchange. The claims are those of the token, which says nothing about the user's name.
///
/// # Errors
/// [`Denied`] with 28000 when the token is no good, or none was sent; the client has been told where to get one then.
pub(super) async fn exchange(
    stream: &mut Stream,
    newcomer: &Newcomer<'_>,
    app: &Arc<App>,
) -> Result<Claims, Denied> {
    demand_privacy(stream, newcomer)?;
    let first = client_first(stream).await?;
    let token = match ClientFirst::parse(&first).map_err(denied)? {
        ClientFirst::Bearer(token) => token,
        ClientFirst::Discovery => {
            challenged(stream, app).await?;
            return Err(failed(newcomer, "", LoginOutcome::Discovery));
        }
        ClientFirst::NoToken(reason) => return refused(stream, newcomer, app, reason).await,
    };
    check_size(token.len(), "token", app)?;
    app.suspicion.hold_proof(newcomer, app).await?;
    match verified(token, app).await {
        Ok(claims) => Ok(claims),
        Err(reason) => refused(stream, newcomer, app, &reason).await,
    }
}

/// A token is as good as a password, and this message is not bound to any connection: who reads it can use it.
fn demand_privacy(stream: &Stream, newcomer: &Newcomer<'_>) -> Result<(), Denied> {
    let is_here = newcomer.peer.address().is_none_or(|address: IpAddr| address.is_loopback());
    if is_here || matches!(stream, Stream::Tls(_)) {
        return Ok(());
    }
    let refusal = Refusal::new(
        "28000",
        "OAuth bearer authentication requires an encrypted connection",
        "A token that somebody else reads lets them in.",
        "Connect over TLS, with sslmode=require or a stricter one.",
    );
    Err(Denied::Refused(refusal, LoginOutcome::RefusedFeature))
}

/// SASLInitialResponse: the mechanism and the client's first message, for which a client that has kept it back is asked.
async fn client_first(stream: &mut Stream) -> Result<Vec<u8>, Denied> {
    let malformed = |_| Denied::protocol("08P01", "invalid SASLInitialResponse");
    let offered = [MECHANISM.as_bytes(), b"\0\0"].concat();
    let initial = ask_sasl(stream, 10, &offered).await?;
    let mut fields = Fields::new(&initial);
    if fields.string().map_err(malformed)? != MECHANISM.as_bytes() {
        return Err(Denied::protocol("08P01", "client selected an invalid SASL authentication mechanism"));
    }
    let length = fields.int32().map_err(malformed)?;
    if length == -1 {
        fields.end().map_err(malformed)?;
        return ask_sasl(stream, 11, &[]).await;
    }
    let first = fields.bytes(usize::try_from(length).unwrap_or(usize::MAX)).map_err(malformed)?.to_vec();
    fields.end().map_err(malformed)?;
    Ok(first)
}

/// Tells the client where to get a token, and waits until it has read that.
async fn challenged(stream: &mut Stream, app: &App) -> Result<(), Denied> {
    // The configuration is complete where this method is in force.
    let (issuer, scope) =
        app.settings.auth.oauth.as_ref().map(|oauth| (&*oauth.issuer, &*oauth.scope)).unwrap_or_default();
    let acknowledgement = ask_sasl(stream, 11, &challenge(issuer, scope)).await?;
    read_acknowledgement(&acknowledgement).map_err(denied)
}

async fn refused(
    stream: &mut Stream,
    newcomer: &Newcomer<'_>,
    app: &App,
    reason: &str,
) -> Result<Claims, Denied> {
    let told = challenged(stream, app).await;
    let failed = failed(newcomer, reason, LoginOutcome::RefusedAuthentication);
    if told.is_err() {
        // Whoever hangs up instead has failed, too.
        app.suspicion.refused(&failed, &newcomer.suspect());
    }
    told.and(Err(failed))
}

fn failed(newcomer: &Newcomer<'_>, reason: &str, outcome: LoginOutcome) -> Denied {
    let message = format!("OAuth bearer authentication failed for user \"{}\"", newcomer.user);
    let (detail, hint) = match reason {
        "" => (String::new(), "Get a token from the issuer and send it."),
        reason => (format!("The token was refused: {reason}."), "Get a fresh token and send it."),
    };
    Denied::Refused(Refusal::new("28000", message, detail, hint), outcome)
}

fn denied(error: OAuthBearerError) -> Denied {
    let refusal = match error {
        OAuthBearerError::Malformed(detail) => {
            Refusal::new("08P01", "malformed OAUTHBEARER message", detail, "")
        }
        OAuthBearerError::AuthorizationIdentity => Refusal::new("0A000", error.to_string(), "", ""),
    };
    Denied::Refused(refusal, LoginOutcome::ProtocolError)
}
