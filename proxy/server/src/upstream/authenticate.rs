//! Proving to the server who logs in: cleartext, md5, SCRAM-SHA-256, bound to the TLS connection where both can.

use crate::packet;
use crate::stream::Stream;
use crate::upstream::error::UpstreamError;
use crate::upstream::login::{Credentials, LIMIT};
use pgwarden_auth::password::md5_response;
use pgwarden_auth::scram::{ChannelBinding, Mechanism};
use pgwarden_auth::scram_client::{ScramClient, ScramClientError, ScramLogin, ScramStep, ServerMessage};
use pgwarden_auth::secret::Secret;
use pgwarden_config::ChannelBinding as Policy;
use pgwarden_wire::{Fields, Writer};
use zeroize::Zeroizing;

/// Answers what the server asks until it is satisfied.
///
/// # Errors
/// [`UpstreamError`] when the server refuses, or asks for what cannot be answered, or does not let itself be bound to
/// the connection where `policy` demands it.
pub(crate) async fn authenticate(
    stream: &mut Stream,
    login: &Credentials,
    policy: Policy,
) -> Result<(), UpstreamError> {
    let mut proved = Proved::Nothing;
    loop {
        let (kind, data) = request(stream).await?;
        match (kind, &proved) {
            (0, Proved::Done) => return Ok(()),
            (10, Proved::Nothing) => {
                scram(stream, login, &data, policy).await?;
                proved = Proved::Done;
            }
            (0 | 3 | 5, Proved::Nothing) if policy == Policy::Require => {
                return Err(UpstreamError::Unbound("asks for no authentication that can be bound to it"));
            }
            (0, Proved::Nothing) => return Ok(()),
            (3, Proved::Nothing) => {
                let password = clear_text(login, "password")?;
                respond(stream, password.as_bytes(), End::Zero).await?;
            }
            (5, Proved::Nothing) => {
                let salt =
                    data.as_slice().try_into().map_err(|_| UpstreamError::Protocol("md5 salt".into()))?;
                let response = login
                    .secret
                    .as_ref()
                    .and_then(|secret| md5_response(&login.user, secret, salt))
                    .ok_or_else(|| no_secret(login, "md5"))?;
                respond(stream, response.as_bytes(), End::Zero).await?;
            }
            (other, _) => {
                return Err(UpstreamError::Protocol(format!(
                    "authentication request {other} is not supported"
                )));
            }
        }
    }
}

/// How far a SASL exchange is: AuthenticationOk in the middle of one proves nothing about the server.
#[derive(PartialEq, Eq)]
enum Proved {
    Nothing,
    Done,
}

/// Whether a response ends with a zero byte.
#[derive(PartialEq, Eq)]
enum End {
    Zero,
    Bare,
}

/// What can be bound to, and how to answer the offer. As in libpq (`pg_SASL_init`, `fe-auth.c`), a server that does not
/// offer to be bound to a TLS connection is told that it could have been: if it did, somebody is between.
fn choose(
    stream: &Stream,
    offered: &[u8],
    policy: Policy,
) -> Result<(Mechanism, ChannelBinding), UpstreamError> {
    let names = offered.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
    let binding = match policy {
        Policy::Disable => ChannelBinding::Unavailable,
        Policy::Prefer | Policy::Require => stream.channel_binding(),
    };
    match (policy, Mechanism::choose(names, &binding)) {
        (_, None) => Err(UpstreamError::Protocol("no SASL mechanism in common".into())),
        (Policy::Require, Some(Mechanism::ScramSha256)) if binding == ChannelBinding::Unavailable => {
            Err(UpstreamError::Unbound("does not use TLS, or its certificate cannot be bound to"))
        }
        (Policy::Require, Some(Mechanism::ScramSha256)) => {
            Err(UpstreamError::Unbound("does not offer SCRAM-SHA-256-PLUS"))
        }
        (_, Some(mechanism)) => Ok((mechanism, binding)),
    }
}

async fn scram(
    stream: &mut Stream,
    login: &Credentials,
    offered: &[u8],
    policy: Policy,
) -> Result<(), UpstreamError> {
    let (mechanism, binding) = choose(stream, offered, policy)?;
    let known = match &login.keys {
        Some(keys) => ScramLogin::Keys(keys.clone()),
        None => {
            let password = clear_text(login, "scram-sha-256")?;
            ScramLogin::Password(Zeroizing::new(password.as_bytes().to_vec()))
        }
    };
    let (first, mut client) = ScramClient::start(known, mechanism, &binding, rand::random());
    let mut initial = mechanism.name().as_bytes().to_vec();
    initial.push(0);
    initial.extend(i32::try_from(first.len()).unwrap_or(i32::MAX).to_be_bytes());
    initial.extend(first);
    respond(stream, &initial, End::Bare).await?;
    loop {
        let (kind, data) = request(stream).await?;
        let expensive = client.is_expensive();
        let step = move || match kind {
            11 => Some(client.step(ServerMessage::Continue(&data))),
            12 => Some(client.step(ServerMessage::Final(&data))),
            _ => None,
        };
        // Deriving the keys costs a millisecond or more: not on the reactor.
        let stepped = if expensive { tokio::task::spawn_blocking(step).await.ok().flatten() } else { step() };
        match stepped {
            Some(Ok(ScramStep::Send { message, next })) => {
                respond(stream, &message, End::Bare).await?;
                client = next;
            }
            Some(Ok(ScramStep::Authenticated)) => return Ok(()),
            Some(Err(ScramClientError::WrongServerSignature)) => return Err(UpstreamError::Unproved),
            Some(Err(error)) => return Err(UpstreamError::Protocol(error.to_string())),
            None => {
                return Err(UpstreamError::Protocol(format!("authentication request {kind} during SASL")));
            }
        }
    }
}

async fn request(stream: &mut Stream) -> Result<(i32, Vec<u8>), UpstreamError> {
    loop {
        let message = packet::read(stream, LIMIT).await?;
        match message.tag {
            b'R' => {
                let mut fields = Fields::new(&message.payload);
                let kind = fields.int32().map_err(|error| UpstreamError::Protocol(error.to_string()))?;
                return Ok((kind, fields.rest().to_vec()));
            }
            b'E' => return Err(UpstreamError::refused(message.payload)),
            b'N' | b'v' => (),
            other => {
                return Err(UpstreamError::Protocol(format!("unexpected message {:?}", char::from(other))));
            }
        }
    }
}

async fn respond(stream: &mut Stream, body: &[u8], end: End) -> Result<(), UpstreamError> {
    let mut message = Zeroizing::new(Vec::new());
    Writer::new(&mut message).message(b'p', |p| {
        p.bytes(body);
        if end == End::Zero {
            p.byte(0);
        }
    });
    Ok(packet::write(stream, &message).await?)
}

fn clear_text<'a>(login: &'a Credentials, method: &'static str) -> Result<&'a str, UpstreamError> {
    match &login.secret {
        Some(Secret::Clear(password)) => Ok(password),
        _ => Err(no_secret(login, method)),
    }
}

fn no_secret(login: &Credentials, method: &'static str) -> UpstreamError {
    UpstreamError::NoSecret { method, user: login.user.clone() }
}
