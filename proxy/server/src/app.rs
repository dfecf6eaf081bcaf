//! What all sessions share: made once from the settings, never changed.

use crate::admin::Readiness;
use crate::cancel::Registry;
use crate::keys::{KeyStore, KeyStoreError};
use crate::login::Tokens;
use crate::meters::Meters;
use crate::pool::{Pool, PoolKey};
use crate::questions::Parser;
use crate::signals::Shutdown;
use crate::stream::Peer;
use crate::tls::{self, Acceptor, TlsError};
use crate::upstream::{Credentials, Server};
use crate::users::{Users, Verifiers};
use crate::worker::Workers;
use dashmap::DashMap;
use pgwarden_auth::jwt::JwtPolicy;
use pgwarden_auth::secret::{Secret, SecretError};
use pgwarden_auth::users::{UserList, UserListError};
use pgwarden_config::{Endpoint, Method, PoolMode, Settings};
use pgwarden_session::{Interner, Options, PinPolicy, Pooling, Reassert, Refusal};
use pgwarden_tenant::{Missing, Mode, Protected, RelationCache, Shared, Variable};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use thiserror::Error;

/// Why pgwarden cannot start with these settings.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    /// Configuration: certificates or keys.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Configuration: the keys that verify tokens.
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    /// Configuration: the users file cannot be read.
    #[error("cannot read the users file {path}: {error}")]
    UsersFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Configuration: the users file is malformed.
    #[error("the users file {path}: {error}")]
    Users {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: UserListError,
    },
    /// Configuration: the server's password.
    #[error("the password in upstream.url: {0}")]
    Password(#[from] SecretError),
    /// Configuration: it would let clients be who they want.
    #[error("{0}")]
    Unsafe(String),
    /// Configuration: a claim path.
    #[error("{0}")]
    Variable(String),
    /// System: a thread, a socket or a signal handler.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// What the system says.
        error: std::io::Error,
    },
}

impl StartError {
    /// A failure of the system.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::System { what, error }
    }
}

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) server: Arc<Server>,
    pub(crate) acceptor: Option<Acceptor>,
    pub(crate) users: Users,
    pub(crate) tokens: Tokens,
    pub(crate) variables: Vec<Variable>,
    pub(crate) tenancy: Shared,
    pub(crate) parser: Parser,
    pub(crate) interner: Arc<Interner>,
    pub(crate) pools: DashMap<PoolKey, Arc<Pool>>,
    pub(crate) cancels: Arc<Registry>,
    pub(crate) workers: Workers,
    pub(crate) meters: Arc<Meters>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) shutdown: Shutdown,
    pub(crate) mock_key: [u8; 32],
    clients: AtomicUsize,
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
    /// Loads what the settings name.
    ///
    /// # Errors
    /// [`StartError`] says what cannot be used.
    pub(crate) fn new(settings: Settings, workers: Workers) -> Result<Arc<Self>, StartError> {
        if settings.auth.method == Method::Jwt && settings.upstream.user.is_none() {
            return Err(StartError::Unsafe(
                "auth.method is \"jwt\" and upstream.url names no user: a token would let its holder log in to the \
                 server under any name. Name the login in upstream.url."
                    .into(),
            ));
        }
        warn_about_clear_text(&settings);
        let mock_key = rand::random();
        let host = match &settings.upstream.endpoint {
            Endpoint::Tcp(host, _) => host.clone(),
            Endpoint::Unix { .. } => String::new(),
        };
        let connector = tls::connector(&settings.upstream.tls, &host)?;
        let variables = crate::assemble::variables(&settings)?;
        let names: Vec<&str> = variables.iter().map(|variable| variable.name.as_str()).collect();
        let server = Arc::new(Server::new(&settings.upstream, connector, &names));
        let meters = Arc::new(Meters::new());
        let relations = Arc::new(RelationCache::default());
        let parser =
            Parser::start(Arc::clone(&relations)).map_err(StartError::system("the parser's thread"))?;
        let observer: Arc<dyn pgwarden_tenant::Observer> = Arc::<Meters>::clone(&meters);
        let tenancy = Shared { protected: Arc::new(Protected::new(&names)), observer, relations };
        Ok(Arc::new(Self {
            server,
            acceptor: tls::acceptor(&settings.tls)?,
            users: users(&settings, &mock_key)?,
            tokens: tokens(&settings)?,
            variables,
            tenancy,
            parser,
            interner: Arc::new(Interner::default()),
            pools: DashMap::new(),
            cancels: Arc::new(Registry::default()),
            workers,
            meters,
            readiness: Arc::new(Readiness::default()),
            shutdown: Shutdown::new(),
            mock_key,
            clients: AtomicUsize::new(0),
            settings,
        }))
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
        let upstream = &self.settings.upstream;
        let login = match &upstream.user {
            Some(login) => {
                let secret = upstream.password.as_ref().and_then(|text| Secret::parse(text.expose()).ok());
                Credentials { user: login.clone(), secret }
            }
            None => Credentials { user: user.to_owned(), secret: self.users.secret(user).cloned() },
        };
        let key = PoolKey { database: database.to_owned(), user: login.user.clone() };
        let pool = self.pools.entry(key.clone()).or_insert_with(|| Arc::new(Pool::new(key, login, self)));
        Arc::clone(&pool)
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
            message_limit: self.settings.limits.message_bytes,
        }
    }
}

/// Passwords and tokens that travel in the clear are worth a word at start.
fn warn_about_clear_text(settings: &Settings) {
    let clear = matches!(settings.auth.method, Method::Password | Method::Jwt);
    let open = settings.listen.iter().any(|endpoint| !endpoint.is_local());
    if clear && open && settings.tls.mode != pgwarden_config::TlsMode::Require {
        tracing::warn!(
            "passwords or tokens can reach a public address unencrypted; set tls.mode = \"require\""
        );
    }
}

fn users(settings: &Settings, mock_key: &[u8; 32]) -> Result<Users, StartError> {
    let Some(path) = &settings.auth.users_file else { return Ok(Users::default()) };
    let text =
        std::fs::read_to_string(path).map_err(|error| StartError::UsersFile { path: path.clone(), error })?;
    let list = UserList::parse(&text).map_err(|error| StartError::Users { path: path.clone(), error })?;
    let wanted = match settings.auth.method {
        Method::ScramSha256 => Verifiers::Derived,
        _ => Verifiers::NotNeeded,
    };
    Ok(Users::new(list, mock_key, wanted))
}

fn tokens(settings: &Settings) -> Result<Tokens, StartError> {
    let Some(jwt) = &settings.auth.jwt else {
        return Ok(Tokens { keys: None, policy: JwtPolicy::default() });
    };
    let policy = JwtPolicy {
        algorithms: jwt.algorithms.iter().filter_map(|name| name.parse().ok()).collect(),
        issuer: jwt.issuer.clone(),
        audience: jwt.audience.clone(),
        leeway_seconds: jwt.leeway.as_secs(),
        require_exp: true,
    };
    Ok(Tokens { keys: Some(KeyStore::load(&jwt.key)?), policy })
}
