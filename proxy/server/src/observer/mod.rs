//! Who looks at the catalogs of databases: which tables there are, whose rows they hold, which policies there are.
//!
//! One task for each database looks every so often, and when it is told that something has changed
//! (`NOTIFY pgwarden_shadow`). What it saw last is a [`Catalog`] that sessions read without waiting. The observer outlives
//! a reload that changes nothing of it.

pub(crate) mod command;
mod database;
mod journal;
mod listening;
mod script;
mod upkeep;

use crate::lookup::Line;
use crate::pool::Pools;
use crate::report::Database;
use crate::status::StagingReport;
use crate::trail::Trail;
use crate::upstream::{Credentials, Server};
use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use database::Watched;
use pgwarden_auth::secret::Secret;
use pgwarden_config::{Settings, ShadowObserver};
use pgwarden_shadow::{Catalog, TenantRule};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use upkeep::Upkeep;

/// The last look at a database; the next one takes its place.
pub(crate) type Snapshot = Arc<ArcSwap<Catalog>>;

/// What the last command about each table has left, by OID: the word for it, a blank, and when.
type Stages = Arc<ArcSwap<BTreeMap<u32, String>>>;

/// The longest message of an answer: a catalog of some ten thousand tables.
const LONGEST: usize = 256 * 1024 * 1024;

/// How long a look waits for a table that somebody has locked: expressions of policies are not shown without its lock
/// (`pg_get_expr`, in the newer minor versions). Until the lock is gone, what was seen last counts.
const PATIENCE: Duration = Duration::from_secs(1);

/// How triggers sign what they say, in this process; nothing where nobody looks.
pub(crate) fn nonce(settings: &Settings, key: &[u8; 32]) -> Option<Arc<str>> {
    settings.shadow.observer.as_ref()?;
    let digest = digest::digest(&digest::SHA256, &[b"signed notices".as_slice(), key].concat());
    let mut nonce = String::with_capacity(32);
    for byte in digest.as_ref().iter().take(16) {
        let _fits = write!(nonce, "{byte:02x}");
    }
    Some(nonce.into())
}

/// Looks at databases.
#[derive(Debug)]
pub(crate) struct Observer {
    settings: Option<ShadowObserver>,
    login: Option<Credentials>,
    rules: Arc<[TenantRule]>,
    terms: Arc<upkeep::Terms>,
    trail: Arc<Trail>,
    server: Arc<Server>,
    pools: Arc<Pools>,
    databases: BTreeMap<String, Snapshot>,
    stages: BTreeMap<String, Stages>,
    /// For a database that nobody looks at.
    nothing: Snapshot,
    tasks: std::sync::Mutex<JoinSet<()>>,
}

impl Observer {
    /// Nobody looks yet.
    pub(crate) fn new(
        settings: &Settings,
        secret: Option<Secret>,
        (server, pools): (&Arc<Server>, &Arc<Pools>),
        trail: &Arc<Trail>,
    ) -> Self {
        let (terms, trail) = (Arc::new(upkeep::Terms::of(settings)), Arc::clone(trail));
        let rules = settings.shadow.tenant_columns.iter().map(rule).collect();
        let settings = settings.shadow.observer.clone();
        let login = settings.as_ref().map(|settings| {
            let user = settings.user.clone();
            Credentials { user, secret, keys: None }
        });
        let names = settings.iter().flat_map(|settings| settings.databases.iter().cloned());
        let databases: BTreeMap<String, Snapshot> = names.map(|name| (name, Snapshot::default())).collect();
        let stages = databases.keys().map(|name| (name.clone(), Stages::default())).collect();
        let (server, pools) = (Arc::clone(server), Arc::clone(pools));
        let (nothing, tasks) = (Snapshot::default(), std::sync::Mutex::default());
        Self { settings, login, rules, terms, trail, server, pools, databases, stages, nothing, tasks }
    }

    /// Who looks behind a reload: still this one, if the other would look at the same in the same way.
    pub(crate) fn after(self: &Arc<Self>, next: Self) -> Arc<Self> {
        if self.is_like(&next) { Arc::clone(self) } else { Arc::new(next) }
    }

    fn is_like(&self, other: &Self) -> bool {
        (&self.settings, &self.login, &self.rules, &self.terms)
            == (&other.settings, &other.login, &other.rules, &other.terms)
            && Arc::ptr_eq(&self.server, &other.server)
    }

    /// What is known of a database; an empty catalog of one that nobody looks at.
    pub(crate) fn catalog(&self, database: &str) -> Snapshot {
        Arc::clone(self.databases.get(database).unwrap_or(&self.nothing))
    }

    /// Where the tables stand for which something is staged.
    pub(crate) fn staging(&self) -> Vec<StagingReport> {
        let of_database = |(database, stages): (&String, &Stages)| {
            let catalog = self.catalog(database).load_full();
            let stages = stages.load_full();
            let tables = catalog.relations().filter_map(|table| {
                let step = stages.get(&table.oid);
                let (state, since) = match step.and_then(|step| step.split_once(' ')) {
                    Some((state, since)) => (state.to_owned(), Some(format!("{since}Z"))),
                    None => (table.is_staged().then(|| "staged".to_owned())?, None),
                };
                Some(StagingReport { database: database.clone(), table: table.full_name(), state, since })
            });
            tables.collect::<Vec<_>>()
        };
        let mut staging: Vec<StagingReport> = self.stages.iter().flat_map(of_database).collect();
        staging.sort_by(|one, other| (&one.database, &one.table).cmp(&(&other.database, &other.table)));
        staging
    }

    /// The databases that it looks at, for whoever asks them something else.
    pub(crate) fn databases(&self) -> Vec<Database> {
        let Some(login) = &self.login else { return Vec::new() };
        self.databases.keys().map(|name| Database::observed(&self.server, login, name)).collect()
    }

    /// Who looks.
    pub(crate) fn login(&self) -> Option<&Credentials> {
        self.login.as_ref()
    }

    /// Begins to look, unless it does already. Must be called inside a runtime. Ends when dropped.
    pub(crate) fn start(&self) {
        let (Some(settings), Some(login)) = (&self.settings, &self.login) else { return };
        let mut tasks = self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !tasks.is_empty() {
            return;
        }
        for (name, snapshot) in &self.databases {
            let line = Line::new(Arc::clone(&self.server), login.clone(), name.clone(), settings.timeout);
            let watched = Watched {
                name: name.clone(),
                snapshot: Arc::clone(snapshot),
                stages: self.stages.get(name).cloned().unwrap_or_default(),
                line: line.of_at_most(1).reading(LONGEST).waiting_for_locks(PATIENCE),
                rules: Arc::clone(&self.rules),
                interval: settings.interval,
                upkeep: Upkeep::new(
                    Arc::clone(&self.terms),
                    (Arc::clone(&self.server), login.clone(), name.clone()),
                ),
                trail: Arc::clone(&self.trail),
                pools: Arc::clone(&self.pools),
            };
            let told = Arc::default();
            tasks.spawn(listening::listen(
                (Arc::clone(&self.server), login.clone(), name.clone()),
                settings.timeout,
                Arc::clone(&told),
            ));
            tasks.spawn(watched.look_for_ever(told));
        }
    }
}

pub(super) fn rule(column: &pgwarden_config::TenantColumn) -> TenantRule {
    match column {
        pgwarden_config::TenantColumn::Anywhere(column) => TenantRule::Anywhere(column.clone()),
        pgwarden_config::TenantColumn::Of { schema, table, column } => {
            TenantRule::Of { schema: schema.clone(), table: table.clone(), column: column.clone() }
        }
    }
}
