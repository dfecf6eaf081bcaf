//! What all sessions share: made from the settings, never changed. A reload makes another one, for the logins that
//! follow; sessions keep theirs.

mod parts;

use crate::admin::Readiness;
use crate::admission::Admission;
use crate::cancel::Registry;
use crate::hold::Holds;
use crate::identity::{Identities, Nobody, Variables};
use crate::loaded::Loaded;
use crate::login::{Suspicion, Tokens};
use crate::meters::Meters;
use crate::observer::Observer;
use crate::oversight::Oversight;
use crate::pool::{Pool, Pools};
use crate::questions::Parser;
use crate::replay::{Replays, Terms};
use crate::seal::Sealing;
use crate::services::Services;
use crate::signals::Shutdown;
use crate::sinks::Sinks;
use crate::start_error::StartError;
use crate::status::Board;
use crate::tls::Acceptor;
use crate::trail::Trail;
use crate::upstream::{Seals, Server};
use crate::users::Accounts;
use crate::worker::{self, Command, Workers};
use arc_swap::ArcSwap;
use parts::{accounts, identities, origin, plan, tenancy};
use pgwarden_auth::jwt::Claims;
use pgwarden_config::{Method, PoolMode, Settings};
use pgwarden_session::{Faults, Interner, Limits, Options, PinPolicy, Pooling, Reassert};
use pgwarden_shadow::Reporter;
use pgwarden_tenant::{Missing, Mode, RelationCache, Shared};
use std::sync::Arc;

/// The one that logins take, exchanged by a reload.
pub(crate) type Current = Arc<ArcSwap<App>>;

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) server: Arc<Server>,
    pub(crate) acceptor: Option<Acceptor>,
    pub(crate) accounts: Accounts,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) identities: Arc<Identities>,
    /// The settings that pgwarden sets, that of the seal included.
    pub(crate) names: Arc<[String]>,
    /// The same for services.
    pub(crate) nobody: Nobody,
    pub(crate) sealing: Option<Arc<Sealing>>,
    pub(crate) tenancy: Shared,
    pub(crate) parser: Parser,
    pub(crate) services: Arc<Services>,
    pub(crate) sinks: Arc<Sinks>,
    /// What is known of the databases' tables and policies.
    pub(crate) observer: Arc<Observer>,
    /// Who runs queries again beside their clients; nobody without an observer.
    pub(crate) replays: Option<Arc<Replays>>,
    pub(crate) interner: Arc<Interner>,
    pub(crate) pools: Arc<Pools>,
    pub(crate) cancels: Arc<Registry>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) board: Arc<Board>,
    pub(crate) shutdown: Shutdown,
    pub(crate) mock_key: [u8; 32],
    pub(crate) suspicion: Arc<Suspicion>,
    pub(crate) faults: Faults,
    pub(crate) admission: Arc<Admission>,
    pub(crate) holds: Arc<Holds>,
    /// Hears what detectors find.
    pub(crate) reporter: Arc<dyn Reporter>,
    pub(crate) oversight: Arc<Oversight>,
    /// The same, for whatever else is recorded.
    pub(crate) trail: Arc<Trail>,
}

impl App {
    /// Puts together what all sessions share.
    ///
    /// # Errors
    /// [`StartError::System`] when the parser's thread cannot be started.
    pub(crate) fn new(settings: Settings, loaded: Loaded, workers: Workers) -> Result<Self, StartError> {
        let relations = Arc::new(RelationCache::default());
        let parser =
            Parser::start(Arc::clone(&relations)).map_err(StartError::system("the parser's thread"))?;
        let meters = Arc::new(Meters::new());
        let interval = settings.log.account_interval;
        let readiness = Arc::new(Readiness::default());
        let trail = Arc::new(Trail::new(Arc::clone(&loaded.trail), &meters, &readiness));
        let services = Services::new(&settings.services, (Arc::clone(&meters.services), &trail), interval)
            .map_err(StartError::system("the thread that keeps accounts"))?;
        let sinks = Sinks::start(&trail, &meters, loaded.sinks.clone())?;
        let server = Arc::new(loaded.server(&settings, &meters));
        let pools = Arc::new(Pools::new(plan(&settings, &loaded, &server)));
        let accounts = accounts(&settings, &loaded, &server, &meters);
        let seal = settings.context.seal.as_ref();
        let sealing = Sealing::after(None, &loaded.variables, seal, loaded.seal_key);
        let variables = Variables::new(loaded.variables, seal, sealing.as_ref());
        let names = variables.names();
        let tokens = Arc::new(loaded.tokens);
        let origin = origin(&settings, loaded.lookup_secret, &server, None);
        let observer = Arc::new(Observer::new(&settings, loaded.observer_secret, (&server, &pools), &trail));
        let identities = identities(&variables, &settings, &tokens, origin, &meters);
        let (reporter, oversight) = Oversight::begin(&settings, &trail, &observer)?;
        let terms = Terms::of(&settings, &observer, &server, sealing.as_ref());
        Ok(Self {
            replays: Replays::after(None, terms, &reporter),
            reporter,
            oversight,
            server,
            tenancy: tenancy((&settings, &variables), &meters, relations, &identities, trail.gate()),
            identities,
            names,
            nobody: Nobody::of(&variables),
            sealing,
            parser,
            services: Arc::new(services),
            sinks: Arc::new(sinks),
            observer,
            interner: Arc::new(Interner::default()),
            pools,
            cancels: Arc::new(Registry::default()),
            workers: Arc::new(workers),
            meters,
            readiness,
            board: Arc::new(Board::new()),
            shutdown: Shutdown::new(),
            faults: crate::settings::faults(),
            suspicion: Arc::new(Suspicion::new(&settings.limits, loaded.mock_key)),
            admission: Arc::new(Admission::default()),
            trail,
            holds: Arc::new(Holds::default()),
            mock_key: loaded.mock_key,
            acceptor: loaded.acceptor,
            accounts,
            tokens,
            settings,
        })
    }

    /// What those share who log in from now on. The pools follow the new settings at once.
    pub(crate) fn renewed(&self, settings: Settings, loaded: Loaded) -> Self {
        let server = loaded.server(&settings, &self.meters);
        let server = if server.is_like(&self.server) { Arc::clone(&self.server) } else { Arc::new(server) };
        self.pools.follow(plan(&settings, &loaded, &server));
        let accounts = accounts(&settings, &loaded, &server, &self.meters);
        self.services.follow(&settings.services);
        self.sinks.follow(loaded.sinks);
        self.trail.follow(loaded.trail);
        // Who waits may be due to have what idles elsewhere by now.
        self.workers.send_to_others(worker::home(), || Command::MakeRoom);
        self.suspicion.follow(&settings.limits);
        let seal = settings.context.seal.as_ref();
        let sealing = Sealing::after(self.sealing.as_ref(), &loaded.variables, seal, loaded.seal_key);
        let variables = Variables::new(loaded.variables, seal, sealing.as_ref());
        let names = variables.names();
        let tokens = Arc::new(loaded.tokens);
        let origin = origin(&settings, loaded.lookup_secret, &server, self.identities.origin());
        let identities = identities(&variables, &settings, &tokens, origin, &self.meters);
        let place = (&server, &self.pools);
        let observer =
            self.observer.after(Observer::new(&settings, loaded.observer_secret, place, &self.trail));
        self.oversight.follow(&settings, &self.reporter, &observer);
        let terms = Terms::of(&settings, &observer, &server, sealing.as_ref());
        let (relations, gate) = (Arc::clone(&self.tenancy.relations), self.trail.gate());
        Self {
            replays: Replays::after(self.replays.as_ref(), terms, &self.reporter),
            reporter: Arc::clone(&self.reporter),
            oversight: Arc::clone(&self.oversight),
            trail: Arc::clone(&self.trail),
            server,
            tenancy: tenancy((&settings, &variables), &self.meters, relations, &identities, gate),
            identities,
            names,
            nobody: Nobody::of(&variables),
            sealing,
            parser: self.parser.clone(),
            services: Arc::clone(&self.services),
            sinks: Arc::clone(&self.sinks),
            observer,
            interner: Arc::clone(&self.interner),
            pools: Arc::clone(&self.pools),
            cancels: Arc::clone(&self.cancels),
            workers: Arc::clone(&self.workers),
            meters: Arc::clone(&self.meters),
            readiness: Arc::clone(&self.readiness),
            board: Arc::clone(&self.board),
            shutdown: self.shutdown.clone(),
            faults: self.faults,
            suspicion: Arc::clone(&self.suspicion),
            admission: Arc::clone(&self.admission),
            holds: Arc::clone(&self.holds),
            mock_key: loaded.mock_key,
            acceptor: loaded.acceptor,
            accounts,
            tokens,
            settings,
        }
    }

    /// The pool for a client's database and user.
    pub(crate) fn pool(&self, database: &str, user: &str) -> Arc<Pool> {
        self.pools.of(database, user, (&self.names, self.seals()))
    }

    /// The pool for a client that the server has let in under its own name.
    pub(crate) fn pool_of_login(&self, database: &str, user: &str) -> Arc<Pool> {
        self.pools.of_login(database, user, (&self.names, self.seals()))
    }

    /// Whether contexts are sealed.
    pub(crate) fn seals(&self) -> Seals {
        if self.sealing.is_some() { Seals::On } else { Seals::Off }
    }

    /// What happens to findings of this client. A token says nothing about the user's name, so no override by name
    /// applies to who brings one.
    pub(crate) fn mode_for(&self, database: &str, user: &str, claims: Option<&Claims>) -> Mode {
        match self.settings.mode_for(database, if claims.is_some() { "" } else { user }) {
            pgwarden_config::Mode::Passthrough => Mode::Passthrough,
            pgwarden_config::Mode::Shadow => Mode::Shadow,
            pgwarden_config::Mode::Enforce => Mode::Enforce,
        }
    }

    /// What a client without a context may do.
    pub(crate) fn missing(&self) -> Missing {
        match self.settings.context.missing {
            pgwarden_config::Missing::Refuse => Missing::Refuse,
            pgwarden_config::Missing::Empty | pgwarden_config::Missing::Default => Missing::Empty,
        }
    }

    /// What the settings say about sessions that share backends in this way.
    pub(crate) fn session_options(&self, mode: PoolMode) -> Options {
        let pool = &self.settings.pool;
        Options {
            pooling: match mode {
                PoolMode::Transaction => Pooling::Transaction,
                PoolMode::Session => Pooling::Session,
            },
            pins: match pool.pins {
                pgwarden_config::PinPolicy::Allow => PinPolicy::Allow,
                pgwarden_config::PinPolicy::Refuse => PinPolicy::Refuse,
            },
            reassert: match pool.reassert {
                pgwarden_config::Reassert::Transaction => Reassert::Transaction,
                pgwarden_config::Reassert::Statement => Reassert::Statement,
            },
            faults: self.faults,
            limits: Limits {
                message: self.settings.limits.message_bytes,
                held: self.settings.limits.query_bytes,
                client_statements: self.settings.limits.prepared_statements,
                backend_statements: pool.prepared_statements,
            },
        }
    }
}

/// Passwords and tokens that travel in the clear are worth a word.
pub(crate) fn warn_about_clear_text(settings: &Settings) {
    let clear = settings.auth.methods().any(|method| matches!(method, Method::Password | Method::Jwt));
    let open = settings.listen.iter().any(|endpoint| !endpoint.is_local());
    if clear && open && settings.tls.mode != pgwarden_config::TlsMode::Require {
        tracing::warn!(
            "passwords or tokens can reach a public address unencrypted; set tls.mode = \"require\""
        );
    }
}
