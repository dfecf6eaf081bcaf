//! What all sessions share: made from the settings, never changed. A reload makes another one, for the logins that
//! follow; sessions keep theirs.

use crate::admin::Readiness;
use crate::cancel::Registry;
use crate::loaded::Loaded;
use crate::login::Tokens;
use crate::meters::Meters;
use crate::pool::{Logins, Plan, Pool, Pools};
use crate::questions::Parser;
use crate::signals::Shutdown;
use crate::start_error::StartError;
use crate::stream::Peer;
use crate::tls::Acceptor;
use crate::upstream::{Credentials, Server};
use crate::users::Users;
use crate::worker::Workers;
use arc_swap::ArcSwap;
use pgwarden_config::{Method, PoolMode, Settings};
use pgwarden_session::{Interner, Limits, Options, PinPolicy, Pooling, Reassert, Refusal};
use pgwarden_tenant::{Missing, Mode, Protected, RelationCache, Shared, Variable};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The one that logins take, exchanged by a reload.
pub(crate) type Current = Arc<ArcSwap<App>>;

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) server: Arc<Server>,
    pub(crate) acceptor: Option<Acceptor>,
    pub(crate) users: Arc<Users>,
    pub(crate) tokens: Tokens,
    pub(crate) variables: Vec<Variable>,
    names: Arc<[String]>,
    pub(crate) tenancy: Shared,
    pub(crate) parser: Parser,
    pub(crate) interner: Arc<Interner>,
    pub(crate) pools: Arc<Pools>,
    pub(crate) cancels: Arc<Registry>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) shutdown: Shutdown,
    pub(crate) mock_key: [u8; 32],
    clients: Arc<AtomicUsize>,
}

/// One client's place among `limits.max_clients`; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place(pub(crate) Arc<App>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::AcqRel);
    }
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
        let server = Arc::new(Server::new(&settings.upstream, loaded.connector.clone(), &settings.tcp));
        let pools = Arc::new(Pools::new(plan(&settings, &loaded, &server)));
        let names: Arc<[String]> = names(&loaded.variables);
        Ok(Self {
            server,
            tenancy: tenancy(&names, &meters, relations),
            names,
            parser,
            interner: Arc::new(Interner::default()),
            pools,
            cancels: Arc::new(Registry::default()),
            workers: Arc::new(workers),
            meters,
            readiness: Arc::new(Readiness::default()),
            shutdown: Shutdown::new(),
            clients: Arc::new(AtomicUsize::new(0)),
            mock_key: loaded.mock_key,
            acceptor: loaded.acceptor,
            users: loaded.users,
            tokens: loaded.tokens,
            variables: loaded.variables,
            settings,
        })
    }

    /// What those share who log in from now on. The pools follow the new settings at once.
    pub(crate) fn renewed(&self, settings: Settings, loaded: Loaded) -> Self {
        let server = Server::new(&settings.upstream, loaded.connector.clone(), &settings.tcp);
        let server = if server.is_like(&self.server) { Arc::clone(&self.server) } else { Arc::new(server) };
        self.pools.follow(plan(&settings, &loaded, &server));
        let names: Arc<[String]> = names(&loaded.variables);
        Self {
            server,
            tenancy: tenancy(&names, &self.meters, Arc::clone(&self.tenancy.relations)),
            names,
            parser: self.parser.clone(),
            interner: Arc::clone(&self.interner),
            pools: Arc::clone(&self.pools),
            cancels: Arc::clone(&self.cancels),
            workers: Arc::clone(&self.workers),
            meters: Arc::clone(&self.meters),
            readiness: Arc::clone(&self.readiness),
            shutdown: self.shutdown.clone(),
            clients: Arc::clone(&self.clients),
            mock_key: loaded.mock_key,
            acceptor: loaded.acceptor,
            users: loaded.users,
            tokens: loaded.tokens,
            variables: loaded.variables,
            settings,
        }
    }

    /// A place for one more client.
    ///
    /// # Errors
    /// 53300 when `limits.max_clients` are connected.
    pub(crate) fn admit(self: &Arc<Self>, _peer: &Peer) -> Result<Place, Refusal> {
        let limit = self.settings.limits.max_clients;
        if self.clients.fetch_add(1, Ordering::AcqRel) >= limit {
            self.clients.fetch_sub(1, Ordering::AcqRel);
            return Err(Refusal::new(
                "53300",
                "sorry, too many clients already",
                format!("limits.max_clients is {limit}."),
                "Close connections that are not needed, or raise the limit.",
            ));
        }
        Ok(Place(Arc::clone(self)))
    }

    /// How many clients are connected.
    pub(crate) fn clients(&self) -> usize {
        self.clients.load(Ordering::Acquire)
    }

    /// The pool for a client's database and user.
    pub(crate) fn pool(&self, database: &str, user: &str) -> Arc<Pool> {
        self.pools.of(database, user, &self.names)
    }

    /// What happens to findings of this client. A token says nothing about the user's name, so no override by name
    /// applies to it.
    pub(crate) fn mode_for(&self, database: &str, user: &str) -> Mode {
        let user = if self.settings.auth.method == Method::Jwt { "" } else { user };
        match self.settings.mode_for(database, user) {
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

    /// What the settings say about sessions.
    pub(crate) fn session_options(&self) -> Options {
        let pool = &self.settings.pool;
        Options {
            pooling: match pool.mode {
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
            limits: Limits {
                message: self.settings.limits.message_bytes,
                held: self.settings.limits.query_bytes,
            },
        }
    }
}

/// What the settings say about pools.
fn plan(settings: &Settings, loaded: &Loaded, server: &Arc<Server>) -> Plan {
    let logins = match &settings.upstream.user {
        Some(user) => Logins::One(Credentials { user: user.clone(), secret: loaded.upstream_secret.clone() }),
        None => Logins::Own(Arc::clone(&loaded.users)),
    };
    Plan { server: Arc::clone(server), logins, pool: settings.pool.clone() }
}

fn names(variables: &[Variable]) -> Arc<[String]> {
    variables.iter().map(|variable| variable.name.clone()).collect()
}

fn tenancy(names: &[String], meters: &Arc<Meters>, relations: Arc<RelationCache>) -> Shared {
    let observer: Arc<dyn pgwarden_tenant::Observer> = Arc::<Meters>::clone(meters);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Shared { protected: Arc::new(Protected::new(&names)), observer, relations }
}

/// Passwords and tokens that travel in the clear are worth a word.
pub(crate) fn warn_about_clear_text(settings: &Settings) {
    let clear = matches!(settings.auth.method, Method::Password | Method::Jwt);
    let open = settings.listen.iter().any(|endpoint| !endpoint.is_local());
    if clear && open && settings.tls.mode != pgwarden_config::TlsMode::Require {
        tracing::warn!(
            "passwords or tokens can reach a public address unencrypted; set tls.mode = \"require\""
        );
    }
}
