//! What the settings name, read and checked: certificates, users, secrets and keys. Nothing here listens.

use crate::app::App;
use crate::assemble;
use crate::causes::WithCauses;
use crate::keys::{KeyStore, KeyStoreError};
use crate::login::Tokens;
use crate::sinks::Prepared;
use crate::start_error::StartError;
use crate::tls::{self, Acceptor, Connector};
use crate::trail::Terms;
use crate::users::{Users, Verifiers};
use pgwarden_auth::jwt::JwtPolicy;
use pgwarden_auth::secret::Secret;
use pgwarden_auth::users::UserList;
use pgwarden_config::{Endpoint, KeySource, Method, SecretText, Settings};
use pgwarden_tenant::{SealKey, Variable};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the files are read for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// To serve clients.
    Serve,
    /// To serve clients from now on, in place of this.
    Reload(&'a App),
    /// To see whether they can be used. Nothing is fetched from an address then, and nothing derived that costs time.
    Check,
}

/// What the settings name.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) connector: Connector,
    pub(crate) acceptor: Option<Acceptor>,
    pub(crate) users: Arc<Users>,
    pub(crate) tokens: Tokens,
    pub(crate) variables: Vec<Variable>,
    /// What seals contexts.
    pub(crate) seal_key: Option<SealKey>,
    /// The secret of the login that `upstream.url` names.
    pub(crate) upstream_secret: Option<Secret>,
    /// The secrets of the logins of services, by the service's name.
    pub(crate) service_secrets: BTreeMap<String, Secret>,
    /// The secret of the login that looks up those of users.
    pub(crate) query_secret: Option<Secret>,
    /// The secret of the login that looks contexts up.
    pub(crate) lookup_secret: Option<Secret>,
    /// Who follows the audit trail.
    pub(crate) sinks: Option<Prepared>,
    /// What the settings say about the audit trail.
    pub(crate) trail: Arc<Terms>,
    /// The secret of the login that looks at the catalog.
    pub(crate) observer_secret: Option<Secret>,
    /// What the salts of users that do not exist are made of.
    pub(crate) mock_key: [u8; 32],
}

/// Reads everything that the settings name. For an address of keys this blocks, see [`KeyStore::load`].
///
/// # Errors
/// All that cannot be used.
pub(crate) fn load(settings: &Settings, purpose: Purpose<'_>) -> Result<Loaded, Vec<StartError>> {
    let mut mistakes = Mistakes(Vec::new());
    let mock_key = match purpose {
        Purpose::Reload(before) => before.mock_key,
        Purpose::Serve | Purpose::Check => rand::random(),
    };
    let host = match &settings.upstream.endpoint {
        Endpoint::Tcp(host, _) => host.as_str(),
        Endpoint::Unix { .. } => "",
    };
    let connector = mistakes.keep(tls::connector(&settings.upstream.tls, host));
    let service_secrets = mistakes.keep(service_secrets(settings));
    let upstream_secret = mistakes.keep(secret(settings.upstream.password.as_ref()));
    let query = settings.auth.query.as_ref();
    let query_secret = mistakes.keep(secret(query.and_then(|query| query.password.as_ref())));
    let lookup_secret = mistakes.keep(lookup_secret(settings));
    let sinks = mistakes.keep(Prepared::new(settings));
    let observer_secret = mistakes.keep(observer_secret(settings));
    let acceptor = mistakes.keep(tls::acceptor(&settings.tls));
    let users = mistakes.keep(users(settings, &mock_key, purpose));
    let tokens = mistakes.keep(tokens(settings, purpose));
    let variables = mistakes.keep(assemble::variables(settings));
    let secrets =
        upstream_secret.zip(query_secret).zip(lookup_secret.zip(observer_secret).zip(service_secrets));
    let seal_key = mistakes.keep(seal_key(settings));
    let trail = mistakes.keep(Terms::of(settings));
    match (connector, secrets, acceptor, users, tokens, variables.zip(seal_key).zip(trail.zip(sinks))) {
        (
            Some(connector),
            Some(((upstream_secret, query_secret), ((lookup_secret, observer_secret), service_secrets))),
            Some(acceptor),
            Some(users),
            Some(tokens),
            Some(((variables, seal_key), (trail, sinks))),
        ) => Ok(Loaded {
            connector,
            acceptor,
            users: Arc::new(users),
            tokens,
            variables,
            seal_key,
            upstream_secret,
            service_secrets,
            query_secret,
            lookup_secret,
            sinks,
            trail: Arc::new(trail),
            observer_secret,
            mock_key,
        }),
        _ => Err(mistakes.0),
    }
}

/// What was found so far: one mistake does not hide the next.
struct Mistakes(Vec<StartError>);

impl Mistakes {
    fn keep<T, E: Into<StartError>>(&mut self, read: Result<T, E>) -> Option<T> {
        read.map_err(|error| self.0.push(error.into())).ok()
    }
}

fn secret(password: Option<&SecretText>) -> Result<Option<Secret>, StartError> {
    Ok(password.map(|text| Secret::parse(text.expose())).transpose()?)
}

fn seal_key(settings: &Settings) -> Result<Option<SealKey>, StartError> {
    let seal = settings.context.seal.as_ref();
    Ok(seal.map(|seal| SealKey::parse(seal.key.expose())).transpose()?)
}

fn service_secrets(settings: &Settings) -> Result<BTreeMap<String, Secret>, StartError> {
    let written = settings.services.iter().filter_map(|(name, service)| {
        let password = service.upstream_password.as_ref()?;
        let parsed = Secret::parse(password.expose());
        let wrong = |source| StartError::ServicePassword { service: name.clone(), source };
        Some(parsed.map(|secret| (name.clone(), secret)).map_err(wrong))
    });
    written.collect()
}

fn lookup_secret(settings: &Settings) -> Result<Option<Secret>, StartError> {
    let password = settings.context.lookups.lookup.as_ref().and_then(|lookup| lookup.password.as_ref());
    password.map(|text| Secret::parse(text.expose())).transpose().map_err(StartError::LookupPassword)
}

fn observer_secret(settings: &Settings) -> Result<Option<Secret>, StartError> {
    let password = settings.shadow.observer.as_ref().and_then(|observer| observer.password.as_ref());
    password.map(|text| Secret::parse(text.expose())).transpose().map_err(StartError::ObserverPassword)
}

fn users(settings: &Settings, mock_key: &[u8; 32], purpose: Purpose<'_>) -> Result<Users, StartError> {
    let Some(path) = &settings.auth.users_file else { return Ok(Users::default()) };
    let text = std::fs::read_to_string(path)
        .map_err(|source| StartError::UsersFile { path: path.clone(), source })?;
    let list = UserList::parse(&text).map_err(|source| StartError::Users { path: path.clone(), source })?;
    let wanted = match purpose {
        Purpose::Serve | Purpose::Reload(_) if settings.auth.methods().any(Method::is_scram) => {
            Verifiers::Derived
        }
        Purpose::Serve | Purpose::Reload(_) | Purpose::Check => Verifiers::NotNeeded,
    };
    Ok(Users::new(list, mock_key, wanted))
}

fn tokens(settings: &Settings, purpose: Purpose<'_>) -> Result<Tokens, StartError> {
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
    let keys = match (&jwt.key, purpose) {
        (KeySource::Url(_), Purpose::Check) => None,
        (key, Purpose::Reload(before)) => Some(reloaded(key, before)?),
        (key, _) => Some(KeyStore::load(key)?),
    };
    Ok(Tokens { keys, policy })
}

/// An address that does not answer is no mistake of the configuration: the keys that it gave stay in use, as ever.
fn reloaded(key: &KeySource, before: &App) -> Result<KeyStore, KeyStoreError> {
    let known = before.settings.auth.jwt.as_ref().filter(|jwt| jwt.key == *key);
    match (KeyStore::load(key), known.and(before.tokens.keys.clone())) {
        (Err(error @ KeyStoreError::Unfetched { .. }), Some(keys)) => {
            tracing::warn!(error = %WithCauses(&error), "token keys cannot be read, the old ones stay in use");
            Ok(keys)
        }
        (read, _) => read,
    }
}

#[cfg(test)]
mod tests;
