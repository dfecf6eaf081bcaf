//! How backends are opened: what the settings say about all pools, and what follows for one.
//!
//! The pools outlive a reload, and so do the sessions that use them: a reload gives each pool new [`Terms`]. Backends
//! that were opened for another [`Target`] are closed as they become idle.

use crate::pool::{Caller, Pool, PoolKey, Whose};
use crate::upstream::{Credentials, Seals, Server};
use crate::users::Users;
use arc_swap::ArcSwap;
use dashmap::DashMap;
use pgwarden_pool::Allowance;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What the settings say about pools.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) server: Arc<Server>,
    /// How pgwarden logs in there.
    pub(crate) logins: Logins,
    /// How it does for services, by name.
    pub(crate) services: BTreeMap<String, ServiceLogin>,
    /// How backends are shared.
    pub(crate) pool: pgwarden_config::Pool,
    /// The most backends of all pools together.
    pub(crate) max_backends: usize,
}

/// How pgwarden logs in to the server, for clients whose login it does not leave to the server.
#[derive(Debug)]
pub(crate) enum Logins {
    /// As one user, for every client.
    One(Credentials),
    /// As the client's own user.
    Own(Arc<Users>),
}

/// The login of a service.
#[derive(Debug)]
pub(crate) struct ServiceLogin {
    /// Its role, and the secret.
    pub(crate) credentials: Credentials,
    /// The most backends for one database.
    pub(crate) size: usize,
}

/// Where a backend is connected to, and as whom.
#[derive(Debug)]
pub(crate) struct Target {
    /// The server.
    pub(crate) server: Arc<Server>,
    /// The login.
    pub(crate) login: Credentials,
}

/// What is in force for the backends of one pool.
#[derive(Debug)]
pub(crate) struct Terms {
    /// What new backends are connected to; a backend of another target is closed when it becomes idle.
    pub(crate) target: Arc<Target>,
    /// How long a client waits for a backend.
    pub(crate) checkout_timeout: Duration,
    /// How long a backend lives, in seconds.
    pub(crate) max_lifetime: u64,
    /// How long a backend may be idle, in seconds.
    pub(crate) idle_timeout: u64,
}

/// All pools, and what new ones are made of.
#[derive(Debug)]
pub(crate) struct Pools {
    plan: ArcSwap<Plan>,
    pools: DashMap<PoolKey, Arc<Pool>>,
    allowance: Arc<Allowance<Caller>>,
}

impl Pools {
    /// No pools yet.
    pub(crate) fn new(plan: Plan) -> Self {
        let allowance = Arc::new(Allowance::new(plan.max_backends));
        Self { plan: ArcSwap::from_pointee(plan), pools: DashMap::new(), allowance }
    }

    /// What all pools may have together.
    pub(crate) fn allowance(&self) -> &Allowance<Caller> {
        &self.allowance
    }

    /// The pool of a client that acts with these variables. Where they differ, backends are not shared: each knows the
    /// statement that sets them.
    pub(crate) fn of(&self, database: &str, user: &str, context: (&Arc<[String]>, Seals)) -> Arc<Pool> {
        let whose = match self.plan.load().logins {
            Logins::One(_) => Whose::Everybodys,
            Logins::Own(_) => Whose::Of(user.to_owned()),
        };
        self.entry(database, whose, user, context)
    }

    /// The pool of a client that the server has let in under its own name.
    pub(crate) fn of_login(&self, database: &str, user: &str, context: (&Arc<[String]>, Seals)) -> Arc<Pool> {
        let whose = match &self.plan.load().logins {
            Logins::One(login) if login.user == user => Whose::Everybodys,
            Logins::One(_) | Logins::Own(_) => Whose::Of(user.to_owned()),
        };
        self.entry(database, whose, user, context)
    }

    /// The pool of a service: its sessions alone get backends there. `None` where a reload has just taken the service away.
    pub(crate) fn of_service(
        &self,
        database: &str,
        service: &str,
        context: (&Arc<[String]>, Seals),
    ) -> Option<Arc<Pool>> {
        let role = self.plan.load().services.get(service)?.credentials.user.clone();
        let pool = self.entry(database, Whose::Service(service.to_owned()), &role, context);
        // The service may have gone in between, and the pool be made for somebody else's login.
        let is_its_own = pool.terms().target.login.user == role;
        is_its_own.then_some(pool)
    }

    fn entry(
        &self,
        database: &str,
        whose: Whose,
        user: &str,
        (variables, seals): (&Arc<[String]>, Seals),
    ) -> Arc<Pool> {
        let key = PoolKey { database: database.to_owned(), whose, variables: Arc::clone(variables), seals };
        // The plan is read while the entry is locked: `follow` either sees the new pool, or was before it.
        let pool = self.pools.entry(key.clone()).or_insert_with(|| {
            let plan = self.plan.load();
            let (terms, size) = (plan.terms(&key.whose, user, None), plan.size(&key.whose));
            Arc::new(Pool::new(key, terms, size, Arc::clone(&self.allowance)))
        });
        Arc::clone(&pool)
    }

    /// Puts another plan into force, for new pools and for those that there are.
    pub(crate) fn follow(&self, plan: Plan) {
        self.plan.store(Arc::new(plan));
        let plan = self.plan.load();
        for pool in &self.pools {
            let before = pool.terms();
            let terms = match plan.user_of(pool.key()) {
                Some(user) => plan.terms(&pool.key().whose, user, Some(&before)),
                None => plan.with_target(Arc::clone(&before.target)),
            };
            pool.renew(terms, plan.size(&pool.key().whose));
        }
        self.allowance.resize(plan.max_backends);
    }

    /// Has the backends of a database opened anew: each that is open is closed when it becomes idle.
    pub(crate) fn exchange(&self, database: &str) {
        let concerned = |pool: &&Arc<Pool>| pool.key.database == database;
        // Collected first: a reload that comes meanwhile waits for no pool.
        let pools: Vec<Arc<Pool>> =
            self.pools.iter().filter(|pool| concerned(&pool.value())).map(|pool| Arc::clone(&pool)).collect();
        let plan = self.plan.load();
        for pool in pools {
            let Target { server, login } = &*pool.terms().target;
            let target = Arc::new(Target { server: Arc::clone(server), login: login.clone() });
            pool.renew(plan.with_target(target), plan.size(&pool.key.whose));
        }
    }

    /// Does something with every pool.
    pub(crate) fn each(&self, mut work: impl FnMut(&Pool)) {
        self.pools.iter().for_each(|pool| work(&pool));
    }
}

impl Plan {
    /// As whom a pool that exists logs in; `None` where its clients came under the other way of logging in, or the
    /// server itself let them in: they keep what they have.
    fn user_of<'a>(&'a self, key: &'a PoolKey) -> Option<&'a str> {
        match (&self.logins, &key.whose) {
            (Logins::One(login), Whose::Everybodys) => Some(&login.user),
            (Logins::Own(_), Whose::Of(user)) => Some(user),
            (_, Whose::Service(name)) => self.services.get(name).map(|login| login.credentials.user.as_str()),
            (Logins::One(_), Whose::Of(_)) | (Logins::Own(_), Whose::Everybodys) => None,
        }
    }

    fn service(&self, whose: &Whose) -> Option<&ServiceLogin> {
        match whose {
            Whose::Service(name) => self.services.get(name),
            Whose::Everybodys | Whose::Of(_) => None,
        }
    }

    fn size(&self, whose: &Whose) -> usize {
        let usual = || usize::try_from(self.pool.size).unwrap_or(usize::MAX);
        self.service(whose).map_or_else(usual, |login| login.size)
    }

    fn terms(&self, whose: &Whose, user: &str, before: Option<&Terms>) -> Terms {
        let login = match (self.service(whose), &self.logins) {
            (Some(login), _) => login.credentials.clone(),
            (None, Logins::One(login)) => login.clone(),
            (None, Logins::Own(users)) => {
                Credentials { user: user.to_owned(), secret: users.secret(user).cloned(), keys: None }
            }
        };
        let same = before
            .map(|before| &before.target)
            .filter(|target| Arc::ptr_eq(&target.server, &self.server) && target.login == login);
        let target = match same {
            Some(target) => Arc::clone(target),
            None => Arc::new(Target { server: Arc::clone(&self.server), login }),
        };
        self.with_target(target)
    }

    fn with_target(&self, target: Arc<Target>) -> Terms {
        Terms {
            target,
            checkout_timeout: self.pool.checkout_timeout,
            max_lifetime: self.pool.max_lifetime.as_secs(),
            idle_timeout: self.pool.idle_timeout.as_secs(),
        }
    }
}
