//! What the settings say, as the parts that sessions share.

use crate::assemble;
use crate::identity::{self, Identities, Origin, Variables};
use crate::loaded::Loaded;
use crate::login::Tokens;
use crate::meters::Meters;
use crate::pool::{Logins, Plan, ServiceLogin};
use crate::upstream::{Credentials, Server};
use crate::users::Accounts;
use pgwarden_auth::secret::Secret;
use pgwarden_config::{PoolMode, Settings};
use pgwarden_tenant::{Authority, ClaimRules, Gate, Guard, Protected, RelationCache, Shared, Stance};
use std::sync::Arc;

/// Who may log in with a secret. What was looked up before a reload is looked up anew.
pub(super) fn accounts(
    settings: &Settings,
    loaded: &Loaded,
    server: &Arc<Server>,
    meters: &Arc<Meters>,
) -> Accounts {
    let query = settings.auth.query.as_ref().map(|query| (query, loaded.query_secret.clone()));
    Accounts::new(Arc::clone(&loaded.users), query, server, meters, loaded.mock_key)
}

/// What the settings say about pools.
pub(super) fn plan(settings: &Settings, loaded: &Loaded, server: &Arc<Server>) -> Plan {
    let logins = match &settings.upstream.user {
        Some(user) => Logins::One(Credentials {
            user: user.clone(),
            secret: loaded.upstream_secret.clone(),
            keys: None,
        }),
        None => Logins::Own(Arc::clone(&loaded.users)),
    };
    let max_backends = settings.upstream.max_backends.unwrap_or(usize::MAX);
    let services = settings.services.iter().map(|(name, service)| {
        let secret = loaded.service_secrets.get(name).cloned();
        let credentials = Credentials { user: service.upstream_user.clone(), secret, keys: None };
        let size = match service.pooling {
            PoolMode::Session => service.max_sessions,
            PoolMode::Transaction => {
                service.max_sessions.min(usize::try_from(settings.pool.size).unwrap_or(usize::MAX))
            }
        };
        (name.clone(), ServiceLogin { credentials, size })
    });
    let services = services.collect();
    Plan { server: Arc::clone(server), logins, services, pool: settings.pool.clone(), max_backends }
}

/// Where contexts are looked up, if the settings ask for it: the same as before, where nothing has changed.
pub(super) fn origin(
    settings: &Settings,
    secret: Option<Secret>,
    server: &Arc<Server>,
    before: Option<&Arc<Origin>>,
) -> Option<Arc<Origin>> {
    let next = Origin::new(settings.context.lookups.lookup.clone()?, secret, server);
    let same = before.filter(|before| before.is_like(&next)).map(Arc::clone);
    Some(same.unwrap_or_else(|| Arc::new(next)))
}

pub(super) fn identities(
    variables: &Variables,
    settings: &Settings,
    tokens: &Arc<Tokens>,
    origin: Option<Arc<Origin>>,
    meters: &Arc<Meters>,
) -> Arc<Identities> {
    let (variables, context) = (variables.clone(), settings.context.clone());
    Arc::new(Identities::new(variables, context, Arc::clone(tokens), origin, meters))
}

pub(super) fn guard(settings: &Settings, names: &[String]) -> Guard {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let stance = match settings.guard.mode {
        pgwarden_config::GuardMode::Reject => Stance::Reject,
        pgwarden_config::GuardMode::Record => Stance::Record,
        pgwarden_config::GuardMode::Off => Stance::Off,
    };
    Guard::new(Protected::new(&names).with_functions(&settings.guard.functions), stance)
}

pub(super) fn tenancy(
    (settings, variables): (&Settings, &Variables),
    meters: &Arc<Meters>,
    relations: Arc<RelationCache>,
    identities: &Arc<Identities>,
    gate: Option<Arc<dyn Gate>>,
) -> Shared {
    let authority: Arc<dyn Authority> = Arc::<Identities>::clone(identities);
    let observer: Arc<dyn pgwarden_tenant::Observer> = Arc::<Meters>::clone(meters);
    Shared {
        guard: Arc::new(guard(settings, &variables.names())),
        observer,
        relations,
        authority,
        blank: Arc::new(identity::blank(variables)),
        tokens: assemble::token_rules(settings),
        claims: Arc::new(ClaimRules::new(variables)),
        gate,
    }
}
