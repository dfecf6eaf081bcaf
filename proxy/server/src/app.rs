//! What all sessions share: made once from the settings, never changed.

use crate::admin::Readiness;
use crate::admission::Admission;
use crate::cancel::Registry;
use crate::loaded::Loaded;
use crate::login::{Suspicion, Tokens};
use crate::meters::Meters;
use crate::pool::{Caller, Pool, PoolKey};
use crate::questions::Parser;
use crate::signals::Shutdown;
use crate::start_error::StartError;
use crate::status::Board;
use crate::tls::Acceptor;
use crate::upstream::{Credentials, Server};
use crate::users::Users;
use crate::worker::Workers;
use dashmap::DashMap;
use pgwarden_auth::jwt::Claims;
use pgwarden_auth::secret::Secret;
use pgwarden_config::{Method, PoolMode, Settings};
use pgwarden_pool::Allowance;
use pgwarden_session::{Faults, Interner, Limits, Options, PinPolicy, Pooling, Reassert};
use pgwarden_tenant::{Missing, Mode, Protected, RelationCache, Shared, Variable};
use std::sync::Arc;

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) server: Arc<Server>,
    pub(crate) acceptor: Option<Acceptor>,
    pub(crate) users: Users,
    pub(crate) tokens: Tokens,
    pub(crate) variables: Vec<Variable>,
    upstream_secret: Option<Secret>,
    pub(crate) tenancy: Shared,
    pub(crate) parser: Parser,
    pub(crate) interner: Arc<Interner>,
    pub(crate) pools: DashMap<PoolKey, Arc<Pool>>,
    pub(crate) cancels: Arc<Registry>,
    pub(crate) workers: Workers,
    pub(crate) meters: Arc<Meters>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) board: Arc<Board>,
    pub(crate) shutdown: Shutdown,
    pub(crate) mock_key: [u8; 32],
    pub(crate) suspicion: Suspicion,
    pub(crate) faults: Faults,
    pub(crate) allowance: Arc<Allowance<Caller>>,
    pub(crate) admission: Arc<Admission>,
}

impl App {
    /// Puts together what all sessions share.
    ///
    /// # Errors
    /// [`StartError::System`] when the parser's thread cannot be started.
    pub(crate) fn new(settings: Settings, loaded: Loaded, workers: Workers) -> Result<Arc<Self>, StartError> {
        warn_about_clear_text(&settings);
        let Loaded { connector, acceptor, users, tokens, variables, upstream_secret, mock_key } = loaded;
        let names: Vec<&str> = variables.iter().map(|variable| variable.name.as_str()).collect();
        let meters = Arc::new(Meters::new());
        let server = Arc::new(Server::new(&settings.upstream, connector, &names, Arc::clone(&meters)));
        let relations = Arc::new(RelationCache::default());
        let parser =
            Parser::start(Arc::clone(&relations)).map_err(StartError::system("the parser's thread"))?;
        let observer: Arc<dyn pgwarden_tenant::Observer> = Arc::<Meters>::clone(&meters);
        let tenancy = Shared { protected: Arc::new(Protected::new(&names)), observer, relations };
        Ok(Arc::new(Self {
            server,
            acceptor,
            users,
            tokens,
            variables,
            upstream_secret,
            tenancy,
            parser,
            interner: Arc::new(Interner::default()),
            pools: DashMap::new(),
            cancels: Arc::new(Registry::default()),
            workers,
            meters,
            readiness: Arc::new(Readiness::default()),
            board: Arc::new(Board::new()),
            shutdown: Shutdown::new(),
            mock_key,
            faults: crate::settings::faults(),
            suspicion: Suspicion::new(&settings.limits, mock_key),
            allowance: Arc::new(Allowance::new(settings.upstream.max_backends.unwrap_or(usize::MAX))),
            admission: Arc::new(Admission::default()),
            settings,
        }))
    }

    /// The pool for a client's database and user.
    pub(crate) fn pool(&self, database: &str, user: &str) -> Arc<Pool> {
        self.pool_of(database, self.settings.upstream.user.as_deref().unwrap_or(user))
    }

    /// The pool for a database and a login on the server.
    pub(crate) fn pool_of(&self, database: &str, login: &str) -> Arc<Pool> {
        let secret = match &self.settings.upstream.user {
            Some(known) if known == login => self.upstream_secret.clone(),
            _ => self.users.secret(login).cloned(),
        };
        let login = Credentials { user: login.to_owned(), secret };
        let key = PoolKey { database: database.to_owned(), user: login.user.clone() };
        let pool = self.pools.entry(key.clone()).or_insert_with(|| Arc::new(Pool::new(key, login, self)));
        Arc::clone(&pool)
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

/// Passwords and tokens that travel in the clear are worth a word at start.
fn warn_about_clear_text(settings: &Settings) {
    let clear = settings.auth.methods().any(|method| matches!(method, Method::Password | Method::Jwt));
    let open = settings.listen.iter().any(|endpoint| !endpoint.is_local());
    if clear && open && settings.tls.mode != pgwarden_config::TlsMode::Require {
        tracing::warn!(
            "passwords or tokens can reach a public address unencrypted; set tls.mode = \"require\""
        );
    }
}
