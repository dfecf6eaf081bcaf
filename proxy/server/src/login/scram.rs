//! Logging a client in by SCRAM-SHA-256, bound to its TLS connection where there is one.

use crate::app::App;
use crate::login::Denied;
use crate::login::authenticate::{Proof, ask_sasl, verdict};
use crate::login::rules::Newcomer;
use crate::login::secret::{self, Wanted};
use crate::meters::LoginOutcome;
use crate::packet;
use crate::pool::Lent;
use crate::stream::Stream;
use crate::users::Account;
use pgwarden_auth::scram::{ChannelBinding, Mechanism, ScramError, ScramServer};
use pgwarden_auth::secret::Secret;
use pgwarden_session::Refusal;
use pgwarden_wire::{Fields, Writer};
use std::sync::Arc;

/// Which mechanisms a client may choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// With channel binding where there is TLS, and without, as PostgreSQL offers them.
    Either,
    /// With channel binding only.
    Bound,
}

/// Runs the exchange. Returns what the proof leaves for logins to the server.
///
/// # Errors
/// [`Denied`] when the proof is wrong, the client is bound to another connection, or does not bind where it has to.
pub(super) async fn exchange(
    stream: &mut Stream,
    newcomer: &Newcomer<'_>,
    offer: Offer,
    app: &Arc<App>,
) -> Result<Option<Lent>, Denied> {
    exchange_with(stream, newcomer, offer, app, None).await
}

/// Runs the exchange with what is known of the user; looks it up where that is nothing yet, as soon as the client has
/// shown that it knows the mechanism.
///
/// # Errors
/// As [`exchange`].
pub(super) async fn exchange_with(
    stream: &mut Stream,
    newcomer: &Newcomer<'_>,
    offer: Offer,
    app: &Arc<App>,
    known: Option<Account>,
) -> Result<Option<Lent>, Denied> {
    let (user, binding) = (newcomer.user, stream.channel_binding());
    let offered = offered(offer, &binding);
    if offered.is_empty() {
        return Err(refused("channel binding is required, and this connection has none", "", UNBOUND));
    }
    let names: Vec<u8> = offered.iter().flat_map(|known| [known.name().as_bytes(), b"\0"].concat()).collect();
    let initial = ask_sasl(stream, 10, &[&names[..], b"\0"].concat()).await?;
    let (mechanism, first) = initial_response(&initial, offered)?;
    let known = match known {
        Some(known) => known,
        None => secret::account(newcomer, app).await?,
    };
    let server = ScramServer::new(known.verifier.as_ref(), user, &app.mock_key, rand::random());
    let server = server.with_channel_binding(mechanism, binding);
    let (challenge, awaiting) = server.client_first(&first).map_err(|error| denied(error, user))?;
    let last = ask_sasl(stream, 11, &challenge).await?;
    app.suspicion.hold_proof(newcomer, app).await?;
    let success = awaiting.client_final(&last).map_err(|error| {
        if error == ScramError::WrongProof {
            known.doubt();
        }
        denied(error, user)
    })?;
    let mut done = Vec::new();
    Writer::new(&mut done).authentication(12, &success.server_final);
    packet::write(stream, &done).await?;
    Ok(match (&known.secret, secret::wanted(app)) {
        (Some(Secret::Scram(_)), Wanted::ForServer) => Some(Lent::Keys(success.keys)),
        // The verifier of this exchange was made here: the server does not store it.
        _ => secret::told(&known),
    })
}

const UNBOUND: &str = "Connect over TLS, with sslmode=require or a stricter one.";

fn offered(offer: Offer, binding: &ChannelBinding) -> &'static [Mechanism] {
    match (offer, binding) {
        (Offer::Either, binding) => Mechanism::offered(binding),
        (Offer::Bound, ChannelBinding::TlsServerEndPoint(_)) => &[Mechanism::ScramSha256Plus],
        (Offer::Bound, ChannelBinding::Unavailable) => &[],
    }
}

/// SASLInitialResponse: the mechanism, a length, and the client's first message.
fn initial_response(payload: &[u8], offered: &[Mechanism]) -> Result<(Mechanism, Vec<u8>), Denied> {
    let malformed = |_| Denied::protocol("08P01", "invalid SASLInitialResponse");
    let mut fields = Fields::new(payload);
    let name = fields.string().map_err(malformed)?;
    let selected = offered.iter().find(|known| known.name().as_bytes() == name).ok_or_else(|| {
        Denied::protocol("08P01", "client selected an invalid SASL authentication mechanism")
    })?;
    let length = fields.int32().map_err(malformed)?;
    let first = fields.bytes(usize::try_from(length).unwrap_or(usize::MAX)).map_err(malformed)?;
    fields.end().map_err(malformed)?;
    Ok((*selected, first.to_vec()))
}

/// In the words of `auth-scram.c` where channel binding is concerned.
fn denied(error: ScramError, user: &str) -> Denied {
    match error {
        ScramError::WrongProof => verdict(&Proof::Wrong, user).err().unwrap_or(Denied::Silent),
        ScramError::ChannelBindingDowngrade => refused(
            "SCRAM channel binding negotiation error",
            "The client supports SCRAM channel binding but thinks the server does not.  \
             However, this server does support channel binding.",
            "",
        ),
        ScramError::ChannelBindingMismatch => refused("SCRAM channel binding check failed", "", ""),
        ScramError::ChannelBindingMissing => malformed(
            "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.",
        ),
        ScramError::ChannelBindingNotNegotiated => malformed(
            "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel \
             binding data.",
        ),
        other => Denied::protocol("08P01", other.to_string()),
    }
}

fn refused(message: &str, detail: &str, hint: &str) -> Denied {
    Denied::Refused(Refusal::new("28000", message, detail, hint), LoginOutcome::RefusedAuthentication)
}

fn malformed(detail: &str) -> Denied {
    let refusal = Refusal::new("08P01", "malformed SCRAM message", detail, "");
    Denied::Refused(refusal, LoginOutcome::ProtocolError)
}
