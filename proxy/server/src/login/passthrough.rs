//! Leaving the login to the server: pgwarden opens the client's connection to the server in the client's name, and
//! passes on what the two say to each other until the server is satisfied. No password is stored here.

use crate::app::App;
use crate::login::Denied;
use crate::login::authenticate::ask_sasl;
use crate::login::greet::{self, Backing};
use crate::login::patience::meanwhile;
use crate::login::rules::Newcomer;
use crate::meters::{ConnectOutcome, LoginOutcome};
use crate::packet;
use crate::pool::{Pool, Target};
use crate::stream::Stream;
use crate::upstream::{Credentials, LIMIT, UpstreamError};
use pgwarden_auth::scram::Mechanism;
use pgwarden_session::Refusal;
use pgwarden_wire::{ErrorFields, Fields, Writer};
use std::sync::Arc;

/// Lets the server decide. The connection counts in the pool as soon as the server has let the client in: strangers
/// take nobody's place there.
///
/// # Errors
/// [`Denied`] with the server's own words about the login; with pgwarden's when there is no connection, or when the two
/// cannot come together through it.
pub(super) async fn log_in(
    client: &mut Stream,
    newcomer: &Newcomer<'_>,
    settings: &[(String, String)],
    app: &Arc<App>,
) -> Result<(Backing, Vec<u8>), Denied> {
    let (user, database) = (newcomer.user, newcomer.database);
    let failed = |error: UpstreamError| denied(&error, newcomer, settings, app);
    let mut server = app.server.begin(user, database, &app.names, settings).await.map_err(failed)?;
    let between = Between { newcomer, app, failed: &failed };
    between.relay(client, &mut server).await?;
    let entering = async {
        let established = app.server.finish(server, user, database, app.seals()).await.map_err(failed)?;
        let pool = app.pool_of_login(database, user);
        let slot = pool.slot(app).await.map_err(|error| greet::denied(&error))?;
        let login = Credentials { user: user.to_owned(), secret: None, keys: None };
        let target = Arc::new(Target { server: Arc::clone(&app.server), login });
        let link = pool.adopt(app, slot, established, target);
        Ok(greet::holding(pool, link))
    };
    meanwhile(client, entering).await
}

/// What stands between a client and the server while they talk.
struct Between<'a, F> {
    newcomer: &'a Newcomer<'a>,
    app: &'a App,
    /// What the client reads when the server is to blame.
    failed: &'a F,
}

/// What the client says to a request of the server.
enum Answer {
    /// This.
    Said(Vec<u8>),
    /// Nothing: the server goes on by itself.
    Silence,
}

impl<F: Fn(UpstreamError) -> Denied> Between<'_, F> {
    /// Passes on what the server asks, and what the client answers, up to AuthenticationOk.
    async fn relay(&self, client: &mut Stream, server: &mut Stream) -> Result<(), Denied> {
        loop {
            let message = packet::read(server, LIMIT).await.map_err(|error| (self.failed)(error.into()))?;
            match message.tag {
                b'R' => {
                    let Some(answer) = self.answer(client, &message.payload).await? else { return Ok(()) };
                    if let Answer::Said(answer) = answer {
                        self.respond(server, &answer).await?;
                    }
                }
                b'E' => return Err((self.failed)(UpstreamError::refused(message.payload))),
                b'N' | b'v' => (),
                other => {
                    let problem = format!("unexpected message {:?}", char::from(other));
                    return Err((self.failed)(UpstreamError::Protocol(problem)));
                }
            }
        }
    }

    async fn respond(&self, server: &mut Stream, answer: &[u8]) -> Result<(), Denied> {
        let mut response = Vec::new();
        Writer::new(&mut response).message(b'p', |p| {
            p.bytes(answer);
        });
        packet::write(server, &response).await.map_err(|error| (self.failed)(error.into()))
    }

    /// Passes a request on; `None` when the server is satisfied.
    async fn answer(&self, client: &mut Stream, request: &[u8]) -> Result<Option<Answer>, Denied> {
        let mut fields = Fields::new(request);
        let kind =
            fields.int32().map_err(|error| (self.failed)(UpstreamError::Protocol(error.to_string())))?;
        let data = fields.rest();
        Ok(Some(match kind {
            0 => return Ok(None),
            3 | 5 | 11 => {
                let proof = ask_sasl(client, kind, data).await?;
                self.app.suspicion.hold_proof(self.newcomer, self.app).await?;
                Answer::Said(proof)
            }
            10 => Answer::Said(self.sasl(client, data).await?),
            12 => {
                let mut last = Vec::new();
                Writer::new(&mut last).authentication(12, data);
                packet::write(client, &last).await?;
                Answer::Silence
            }
            other => {
                let problem = format!("authentication request {other} cannot be passed through");
                return Err((self.failed)(UpstreamError::Protocol(problem)));
            }
        }))
    }

    /// Offers SCRAM-SHA-256 alone: a client can bind to the connection that it sees, which is not the one that the server
    /// sees.
    async fn sasl(&self, client: &mut Stream, offered: &[u8]) -> Result<Vec<u8>, Denied> {
        let offers = |mechanism: Mechanism| {
            offered.split(|byte| *byte == 0).any(|name| name == mechanism.name().as_bytes())
        };
        if !offers(Mechanism::ScramSha256) {
            let problem = "no SASL mechanism can be passed through".to_owned();
            return Err((self.failed)(UpstreamError::Protocol(problem)));
        }
        let names = [Mechanism::ScramSha256.name().as_bytes(), b"\0\0"].concat();
        let initial = ask_sasl(client, 10, &names).await?;
        if offers(Mechanism::ScramSha256Plus) && believes_in_no_binding(&initial) {
            return Err(contradicted());
        }
        Ok(initial)
    }
}

/// Whether the client says that it could have bound (`y`), which the server takes for an attack where it offers it.
fn believes_in_no_binding(initial: &[u8]) -> bool {
    let mut fields = Fields::new(initial);
    let first = fields.string().and_then(|_| fields.int32()).map(|_| fields.rest());
    first.is_ok_and(|first| first.starts_with(b"y,"))
}

fn contradicted() -> Denied {
    let refusal = Refusal::new(
        "28000",
        "SCRAM channel binding negotiation error",
        "pgwarden passes the login on, and it cannot be bound to two connections.",
        "Connect with channel_binding=disable.",
    );
    Denied::Refused(refusal, LoginOutcome::RefusedAuthentication)
}

/// What the server says about the login is for the client: it is its own. All else reads as in every other login.
fn denied(
    error: &UpstreamError,
    newcomer: &Newcomer<'_>,
    settings: &[(String, String)],
    app: &App,
) -> Denied {
    if let UpstreamError::Refused { sqlstate, payload, .. } = error
        && sqlstate.starts_with("28")
    {
        let fields = ErrorFields::new(payload);
        let text = |kind| String::from_utf8_lossy(fields.find(kind).unwrap_or_default()).into_owned();
        let refusal = Refusal::new(sqlstate.clone(), text(b'M'), text(b'D'), text(b'H'));
        return Denied::Refused(refusal, LoginOutcome::RefusedAuthentication);
    }
    app.meters.backend_connect(ConnectOutcome::Failed);
    Pool::report(app, error, newcomer.database, settings);
    Denied::Refused(error.refusal(), LoginOutcome::RefusedUpstream)
}
