//! From an accepted connection to a session: what the client asks for, who it is, and what it acts for.

mod authenticate;
mod certificate;
mod first;
mod greet;
mod identify;
mod oauth_bearer;
mod options;
mod passthrough;
mod patience;
mod peer;
mod permitted;
mod proxied;
mod rules;
mod scram;
mod secret;
mod service;
mod suspicion;

pub(crate) use authenticate::Tokens;
pub(crate) use suspicion::Suspicion;

use crate::app::App;
use crate::meters::{Label, LoginOutcome};
use crate::packet;
use crate::relay::{self, Relay};
use crate::stream::{Peer, Stream};
use first::{Rejected, Request};
use pgwarden_auth::throttle::Suspect;
use pgwarden_session::Refusal;
use pgwarden_wire::{Severity, Writer};
use std::sync::Arc;
use std::time::Instant;

/// Why a login ends without a session.
#[derive(Debug)]
pub(crate) enum Denied {
    /// The client is told why.
    Refused(Refusal, LoginOutcome),
    /// The client hung up, or said nothing that deserves an answer.
    Silent,
}

impl From<std::io::Error> for Denied {
    fn from(_: std::io::Error) -> Self {
        Self::Silent
    }
}

impl Denied {
    /// A refusal because of what the client sent.
    fn protocol(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self::Refused(Refusal::new(sqlstate, message, "", ""), LoginOutcome::ProtocolError)
    }
}

impl From<packet::PacketError> for Denied {
    fn from(error: packet::PacketError) -> Self {
        match error {
            packet::PacketError::Io(_) => Self::Silent,
            packet::PacketError::Frame(error) => {
                Self::protocol("08P01", format!("invalid message length: {error}"))
            }
            error @ packet::PacketError::TooLong { .. } => Self::protocol("54000", error.to_string()),
        }
    }
}

/// Serves one connection from its first byte to its last.
pub(crate) async fn serve(stream: Stream, peer: Peer, app: Arc<App>) {
    let _client = app.meters.client();
    // Each in a box of its own: an idle session does not keep the room that its login needed.
    let session = Box::pin(log_in(stream, peer, app)).await;
    if let Some(session) = session {
        Box::pin(relay::run(session)).await;
    }
}

/// Everything in front of the session; `None` where there is none.
async fn log_in(stream: Stream, peer: Peer, app: Arc<App>) -> Option<Box<Relay>> {
    let started = Instant::now();
    let limit = app.settings.limits.login_timeout;
    let begun = async {
        let (mut stream, from) = (stream, peer);
        let peer = proxied::client(&mut stream, from, &app).await.map_err(|error| {
            tracing::info!(%from, %error, "a connection without a valid PROXY protocol header was closed");
            (from, Rejected(None, Denied::Silent))
        })?;
        Ok((peer, first::read(stream, &app).await.map_err(|rejected| (peer, rejected))?))
    };
    let (peer, request) = match tokio::time::timeout(limit, begun).await {
        Ok(Ok(begun)) => begun,
        Ok(Err((peer, Rejected(Some(stream), denied)))) => {
            deny(stream, denied, peer, &app).await;
            return None;
        }
        Ok(Err((_, Rejected(None, _)))) => {
            app.meters.login(LoginOutcome::Abandoned);
            return None;
        }
        Err(_) => {
            app.meters.login(LoginOutcome::TimedOut);
            return None;
        }
    };
    match request {
        Request::Cancel(mut stream, key) => {
            let outcome = app.cancels.cancel(&key).await;
            app.meters.cancel(outcome);
            // libpq of PostgreSQL 17 takes an end without it for a failure.
            stream.say_end();
        }
        Request::Session(mut stream, startup) => {
            let logging_in = greet::log_in(&mut stream, &startup, peer, &app);
            let result = tokio::select! {
                result = tokio::time::timeout(limit, logging_in) => result,
                () = app.shutdown.draining() => {
                    Ok(Err(Denied::Refused(draining(), LoginOutcome::RefusedDraining)))
                }
            };
            app.meters.timings.login.record(started.elapsed());
            if let (Ok(Err(denied)), Some(user)) = (&result, startup.parameter("user")) {
                app.suspicion.refused(denied, &Suspect { address: peer.address(), user });
            }
            match result {
                Ok(Ok(accepted)) => {
                    app.meters.login(LoginOutcome::Accepted);
                    return Some(Box::new(accepted.into_relay(stream, &app)));
                }
                Ok(Err(denied)) => deny(stream, denied, peer, &app).await,
                Err(_) => app.meters.login(LoginOutcome::TimedOut),
            }
        }
    }
    None
}

fn draining() -> Refusal {
    Refusal::new(
        "57P03",
        "pgwarden is shutting down",
        "",
        "Open a new connection; another instance takes it, or this one after its restart.",
    )
}

/// Tells the client why it is refused.
async fn deny(stream: Stream, denied: Denied, peer: Peer, app: &App) {
    let mut stream = stream;
    let Denied::Refused(refusal, outcome) = denied else {
        app.meters.login(LoginOutcome::Abandoned);
        return;
    };
    app.meters.login(outcome);
    app.meters.errors(&[refusal.class()]);
    // Not the message: it repeats what the startup packet says, and a server's repeats values of settings.
    tracing::info!(sqlstate = %refusal.sqlstate, outcome = outcome.label(), client = %peer, "login refused");
    let mut bytes = Vec::new();
    refusal.write(Severity::Fatal, &mut Writer::new(&mut bytes));
    if packet::write(&mut stream, &bytes).await.is_ok() {
        let _closed = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
    }
}
