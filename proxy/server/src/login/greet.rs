//! The startup phase of a session: its parameters, its login, and what it is told when it is let in.

use crate::admission::Place;
use crate::app::App;
use crate::cancel::{BackendKey, ClientKey};
use crate::login::Denied;
use crate::login::authenticate::{Shown, authenticate};
use crate::login::certificate;
use crate::login::identify::identify;
use crate::login::options;
use crate::login::passthrough;
use crate::login::patience::meanwhile;
use crate::login::permitted;
use crate::login::rules::Newcomer;
use crate::login::service::{self, Lane, Recognised};
use crate::meters::LoginOutcome;
use crate::oversight::Party;
use crate::packet;
use crate::pool::{AcquireError, Lent, Link, Pool};
use crate::relay::Relay;
use crate::stream::{Peer, Stream};
use pgwarden_auth::throttle::Suspect;
use pgwarden_config::PoolMode;
use pgwarden_session::{Engine, Profile, Refusal};
use pgwarden_shadow::{Actor, Token};
use pgwarden_tenant::{Mode, Warden};
use pgwarden_wire::{PROTOCOL_3_0, PROTOCOL_3_2, Startup, Status, Writer};
use std::sync::Arc;

/// A client that was let in.
#[derive(Debug)]
pub(super) struct Accepted {
    warden: Warden,
    pool: Arc<Pool>,
    profile: Arc<Profile>,
    key: ClientKey,
    link: Option<Link>,
    place: Place,
    lane: Option<Lane>,
    ahead: Vec<u8>,
}

impl Accepted {
    /// The session.
    pub(super) fn into_relay(self, stream: Stream, app: &Arc<App>) -> Relay {
        let options = app.session_options(pooling(self.lane.as_ref(), app));
        let engine = Engine::new(self.warden, options, Arc::clone(&app.interner), self.profile);
        let registration = app.cancels.register(self.key, app.faults);
        let mut relay = Relay::new(stream, engine, self.pool, registration, (Arc::clone(app), self.place));
        relay.service = self.lane.map(|lane| lane.session);
        relay.begin_with(self.ahead, self.link);
        relay
    }
}

/// Lets a client in.
///
/// # Errors
/// [`Denied`] when it may not come in.
pub(super) async fn log_in(
    stream: &mut Stream,
    startup: &Startup,
    peer: Peer,
    app: &Arc<App>,
) -> Result<Accepted, Denied> {
    let user = startup.parameter("user").filter(|user| !user.is_empty());
    let user =
        user.ok_or_else(|| Denied::protocol("28000", "no PostgreSQL user name specified in startup packet"))?;
    let database = startup.parameter("database").filter(|name| !name.is_empty()).unwrap_or(user);
    refuse_replication(startup)?;
    let protocol = negotiate(stream, startup, app).await?;
    let limits = &app.settings.limits;
    let full = |refusal| Denied::Refused(refusal, LoginOutcome::RefusedLimit);
    let waited = app.suspicion.hold(&Suspect { address: peer.address(), user }, app).await?;
    let mut place = app.admission.admit(limits).map_err(full)?;
    let certificate = certificate::brought(stream).into_iter().next();
    let newcomer = Newcomer { user, database, peer, waited, certificate };
    let mut shown = authenticate(stream, &newcomer, app).await?;
    let lent = shown.lent();
    let is_left_to_server = matches!(shown, Shown::LeftToServer);
    let service = service::recognise(stream, &newcomer, &shown, app)?;
    let Acting { warden, settings, lane } = match service {
        Some(service) => Acting::service(service, startup, &newcomer, app)?,
        None => Acting::client(shown, startup, &newcomer, app).await?,
    };
    let ((pool, profile, link), ahead) = match is_left_to_server {
        true => passthrough::log_in(stream, &newcomer, &settings, app).await?,
        false => {
            place.name(user, limits).map_err(full)?;
            let pool = match &lane {
                // A service has a login of its own: what its client has proven is for nobody else.
                Some(lane) => Arc::clone(&lane.pool),
                None => own_pool(&newcomer, lent, app),
            };
            meanwhile(stream, backing(pool, pooling(lane.as_ref(), app), &settings, app)).await?
        }
    };
    if is_left_to_server {
        // Only now it is known who it is.
        place.name(user, limits).map_err(full)?;
    }
    let key = client_key(protocol, link.as_ref().map(|link| link.key.as_ref()));
    let mut greeting = Vec::new();
    let mut writer = Writer::new(&mut greeting);
    writer.authentication(0, &[]);
    for (name, value) in profile.reported.iter() {
        writer.parameter_status(name.as_bytes(), value.as_bytes());
    }
    writer.message(b'K', |p| {
        p.bytes(&key.pid.to_be_bytes()).bytes(&key.secret);
    });
    writer.ready(Status::Idle);
    app.suspicion.accepted(&newcomer.suspect());
    packet::write(stream, &greeting).await?;
    Ok(Accepted { warden, pool, profile, key, link, place, lane, ahead })
}

/// What a client acts for, and what it starts with.
struct Acting {
    warden: Warden,
    settings: Vec<(String, String)>,
    /// Of a service alone.
    lane: Option<Lane>,
}

impl Acting {
    fn service(
        service: Recognised<'_>,
        startup: &Startup,
        newcomer: &Newcomer<'_>,
        app: &App,
    ) -> Result<Self, Denied> {
        let asked = permitted::settings(startup, Mode::Passthrough, app)?;
        let lane = service.admit(newcomer, &asked, app)?;
        Ok(Self {
            warden: app.hushed(lane.warden(app)),
            settings: lane.settings(asked, app),
            lane: Some(lane),
        })
    }

    async fn client(
        shown: Shown,
        startup: &Startup,
        newcomer: &Newcomer<'_>,
        app: &Arc<App>,
    ) -> Result<Self, Denied> {
        let mode = app.mode_for(newcomer.database, newcomer.user, shown.claims());
        let party = party(mode, newcomer, &shown, startup, app);
        let warden = identify(newcomer.user, shown, mode, app).await?;
        let warden = match mode {
            Mode::Passthrough => app.hushed(warden),
            Mode::Shadow | Mode::Enforce => warden.watched_by(app.watch(party)),
        };
        Ok(Self { warden, settings: permitted::settings(startup, mode, app)?, lane: None })
    }
}

/// Who it is, for findings. A token tells issuer, subject and number, and nothing else of itself.
fn party(mode: Mode, newcomer: &Newcomer<'_>, shown: &Shown, startup: &Startup, app: &App) -> Party {
    let token = shown.claims().map(|claims| {
        let claim = |name: &str| claims.json.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        Token { iss: claim("iss"), sub: claim("sub"), jti: claim("jti") }
    });
    let actor = Actor {
        user: newcomer.user.to_owned(),
        service: None,
        application_name: startup.parameter("application_name").map(str::to_owned),
        client_addr: Some(newcomer.peer.address().map_or_else(|| "unix".to_owned(), |one| one.to_string())),
        certificate: newcomer.certificate.clone(),
        token,
    };
    let role = app.settings.upstream.user.clone().unwrap_or_else(|| newcomer.user.to_owned());
    Party { mode, actor, database: newcomer.database.to_owned(), role }
}

/// How a client's backends are shared.
fn pooling(lane: Option<&Lane>, app: &App) -> PoolMode {
    lane.map_or(app.settings.pool.mode, |lane| lane.pooling)
}

/// The pool of a client that is no service, which takes what the login leaves.
fn own_pool(newcomer: &Newcomer<'_>, lent: Option<Lent>, app: &App) -> Arc<Pool> {
    let pool = app.pool(newcomer.database, newcomer.user);
    if let Some(lent) = lent {
        pool.lend(lent);
    }
    pool
}

/// Where a client's backends come from, what its settings are, and in session pooling the backend that has them.
pub(super) type Backing = (Arc<Pool>, Arc<Profile>, Option<Link>);

async fn backing(
    pool: Arc<Pool>,
    mode: PoolMode,
    settings: &[(String, String)],
    app: &App,
) -> Result<Backing, Denied> {
    match mode {
        PoolMode::Transaction => {
            let profile = profile(&pool, settings, app).await?;
            Ok((pool, profile, None))
        }
        PoolMode::Session => {
            let link = dedicated(&pool, settings, app).await?;
            Ok(holding(pool, link))
        }
    }
}

/// With a backend of the client's own.
pub(super) fn holding(pool: Arc<Pool>, link: Link) -> Backing {
    let profile = link.state.as_ref().map(|state| Arc::clone(&state.profile)).unwrap_or_default();
    (pool, profile, Some(link))
}

fn refuse_replication(startup: &Startup) -> Result<(), Denied> {
    match startup.parameter("replication").map(str::to_ascii_lowercase).as_deref() {
        None | Some("false" | "off" | "no" | "0" | "f" | "n") => Ok(()),
        Some(_) => Err(Denied::Refused(
            Refusal::new(
                "0A000",
                "replication connections are not supported",
                "A replication stream carries the rows of all tenants.",
                "Connect to the server itself.",
            ),
            LoginOutcome::RefusedFeature,
        )),
    }
}

/// Answers a client that asks for a newer protocol, or for extensions, than there is.
async fn negotiate(stream: &mut Stream, startup: &Startup, app: &App) -> Result<u32, Denied> {
    let newest = match app.server.version() {
        Some(180_000..) => PROTOCOL_3_2,
        _ => PROTOCOL_3_0,
    };
    let extensions = options::extensions(startup);
    let offered = startup.protocol.min(newest);
    if startup.protocol <= newest && extensions.is_empty() {
        return Ok(offered);
    }
    let mut answer = Vec::new();
    Writer::new(&mut answer).message(b'v', |p| {
        p.bytes(&offered.to_be_bytes()).int32(i32::try_from(extensions.len()).unwrap_or(i32::MAX));
        for name in &extensions {
            p.string(name.as_bytes());
        }
    });
    packet::write(stream, &answer).await?;
    Ok(offered)
}

/// A long secret only if 3.2 was agreed on; in session pooling the server's own process id, for pg_stat_activity.
fn client_key(protocol: u32, held: Option<&BackendKey>) -> ClientKey {
    let secret: [u8; 32] = rand::random();
    let pid = held.map_or_else(|| rand::random::<u32>() >> 1, |key| key.pid);
    let length = if protocol >= PROTOCOL_3_2 { 32 } else { 4 };
    ClientKey { pid, secret: secret.get(..length).unwrap_or_default().to_vec() }
}

/// A backend of the client's own, started with its own settings.
async fn dedicated(pool: &Arc<Pool>, settings: &[(String, String)], app: &App) -> Result<Link, Denied> {
    let slot = pool.slot(app).await.map_err(|error| denied(&error))?;
    pool.open(app, slot, settings).await.map_err(|error| denied(&error))
}

/// What the client is told about its settings: what the server makes of them, asked once per list.
async fn profile(pool: &Arc<Pool>, settings: &[(String, String)], app: &App) -> Result<Arc<Profile>, Denied> {
    if let Some(known) = pool.profiles.starting_with(settings) {
        return Ok(known);
    }
    let mut link = pool.acquire(app).await.map_err(|error| denied(&error))?;
    let learned = pool.learn(&mut link, settings).await;
    pool.give_back(app, link, crate::clock::uptime());
    learned.map_err(|error| denied(&error.into()))
}

/// What a client reads when there is no backend for it.
pub(super) fn denied(error: &AcquireError) -> Denied {
    Denied::Refused(error.refusal(), LoginOutcome::RefusedUpstream)
}
