//! A session at work: one task that owns the client's socket and, for the time of a lease, a backend's.

mod deadlines;
mod output;
mod run;
mod sample;
mod step;

pub(crate) use run::run;
pub(crate) use sample::Sampler;

use crate::admission::Place;
use crate::app::App;
use crate::cancel::Registration;
use crate::clock;
use crate::meters::PinGuard;
use crate::pool::{Link, Pool};
use crate::services::ServiceSession;
use crate::status::Presence;
use crate::stream::Stream;
use output::Pending;
use pgwarden_session::{Engine, Refusal, SessionError, Stop};
use pgwarden_tenant::Warden;
use std::sync::Arc;

/// A whole Terminate message.
const TERMINATE: &[u8] = b"X\0\0\0\x04";

/// A session.
#[derive(Debug)]
pub(crate) struct Relay {
    /// The client.
    pub(crate) client: Stream,
    /// The protocol.
    pub(crate) engine: Engine<Warden>,
    /// The backend, while one is held.
    pub(crate) link: Option<Link>,
    /// Where backends come from.
    pub(crate) pool: Arc<Pool>,
    /// What a cancel finds.
    pub(crate) registration: Registration,
    /// Everything shared.
    pub(crate) app: Arc<App>,
    from_client: Vec<u8>,
    from_backend: Vec<u8>,
    to_client: Pending,
    to_backend: Pending,
    stop: Stop,
    resume: Resume,
    pinned: Option<PinGuard>,
    /// How often something moved: tells an idle session from a busy one.
    steps: u64,
    presence: Presence,
    has_spoken: bool,
    _place: Place,
    /// What watches a session of a service, and ends it with the service.
    pub(crate) service: Option<Box<ServiceSession>>,
}

/// What the next wake-up begins with.
#[derive(Debug)]
enum Resume {
    /// Nothing in particular.
    Nothing,
    /// The client's input that had to wait.
    Input,
    /// A backend that has come, and the input that needed it.
    Attach(Box<Link>),
}

/// What a session cannot do by itself.
#[derive(Debug)]
pub(crate) enum Event {
    /// A backend is needed and none is at hand.
    Backend,
    /// The backend can go, but a cancel is still on its way to it.
    Releasing,
    /// The traffic of the database is held, and the session keeps a backend of its own.
    Held,
    /// Nobody has looked at this text yet.
    Question(Vec<u8>),
    /// The client said goodbye, or hung up.
    ClientGone,
    /// The server hung up.
    BackendGone,
    /// The session cannot go on.
    Failed(SessionError),
    /// The session is ended with this error.
    Refused(Refusal),
}

impl From<SessionError> for Event {
    fn from(error: SessionError) -> Self {
        Self::Failed(error)
    }
}

impl Relay {
    /// A session that has just logged in.
    pub(crate) fn new(
        client: Stream,
        engine: Engine<Warden>,
        pool: Arc<Pool>,
        registration: Registration,
        (app, place): (Arc<App>, Place),
    ) -> Self {
        let presence = app.board.enter(&pool, clock::uptime());
        Self {
            client,
            engine,
            link: None,
            pool,
            registration,
            app,
            pinned: None,
            steps: 0,
            presence,
            has_spoken: false,
            _place: place,
            service: None,
            from_client: Vec::new(),
            from_backend: Vec::new(),
            to_client: Pending::default(),
            to_backend: Pending::default(),
            stop: Stop::Input,
            resume: Resume::Nothing,
        }
    }

    /// Begins with what the client has sent already, and in session pooling with a backend of its own.
    pub(crate) fn begin_with(&mut self, ahead: Vec<u8>, link: Option<Link>) {
        self.has_spoken = !ahead.is_empty();
        self.from_client = ahead;
        self.resume = link.map_or(Resume::Input, |link| Resume::Attach(Box::new(link)));
    }
}
