//! Replay: queries that clients have run are run again beside them, and what comes out is compared.
//!
//! A thread of its own takes candidates from a queue that has an end: nothing here is on a client's path, and what finds no
//! place is counted. The thread has a deep stack, because PostgreSQL's grammar recurses.
//!
//! The login is the observer's, which may become the application's role and the shadow role, and inherits neither
//! (`pgwarden stage --observer`). One login for all runs keeps them in one snapshot.

mod mirror;
mod perform;
mod reach;
mod side;
mod worker;

use crate::observer::Observer;
use crate::seal::Sealing;
use crate::upstream::{Credentials, Seals, Server};
use pgwarden_config::{ReplayMode, Settings, ShadowReplay};
use pgwarden_shadow::replay::{Candidate, Choice, Pace, Replayer, Sampler, Sampling, Tally};
use pgwarden_shadow::{Query, Reporter, Site, Uncovered};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::watch;
use worker::Worker;

/// Bytes of stack for deeply nested statements.
const STACK: usize = 64 * 1024 * 1024;
/// How often the thread is looked at while it ends.
const LOOK: Duration = Duration::from_millis(5);
/// How long it takes at most to count what will not be run any more.
const COUNTING: Duration = Duration::from_secs(2);

/// What replays are run with.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// How many, and how long.
    pub(crate) settings: ShadowReplay,
    /// The observer's login.
    pub(crate) login: Credentials,
    /// The server.
    pub(crate) server: Arc<Server>,
    /// Whether contexts are sealed.
    pub(crate) seals: Seals,
}

/// Runs queries again.
#[derive(Debug)]
pub(crate) struct Replays {
    terms: Terms,
    sampler: Sampler,
    tally: Arc<Tally>,
    queue: Mutex<Option<Sender<Candidate>>>,
    /// Whether there is no time left to run anything.
    ends: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Terms {
    /// What the settings say; nothing where nobody observes.
    pub(crate) fn of(
        settings: &Settings,
        observer: &Observer,
        server: &Arc<Server>,
        sealing: Option<&Arc<Sealing>>,
    ) -> Option<Self> {
        Some(Self {
            settings: settings.shadow.replay.clone(),
            login: observer.login()?.clone(),
            server: Arc::clone(server),
            seals: if sealing.is_some() { Seals::On } else { Seals::Off },
        })
    }
}

impl Replays {
    /// Who runs queries again on these terms: still `before`, if it would do the same. Nobody where nobody observes.
    pub(crate) fn after(
        before: Option<&Arc<Self>>,
        terms: Option<Terms>,
        reporter: &Arc<dyn Reporter>,
    ) -> Option<Arc<Self>> {
        let terms = terms.filter(|terms| terms.settings.mode == ReplayMode::On)?;
        if let Some(same) = before.filter(|before| before.is_like(&terms)) {
            return Some(Arc::clone(same));
        }
        let started = Self::start(terms, Arc::clone(reporter));
        started.inspect_err(|error| tracing::error!(%error, "no query will be run again")).ok()
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    fn start(terms: Terms, reporter: Arc<dyn Reporter>) -> std::io::Result<Arc<Self>> {
        let settings = &terms.settings;
        let (queue, candidates) = channel(settings.queue);
        let tally = Arc::new(Tally::default());
        let (ends, end) = watch::channel(false);
        let worker = Worker::new(terms.clone(), rules(settings), (Arc::clone(&tally), reporter), end);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("pgwarden-replay".into())
            .stack_size(STACK)
            .spawn(move || runtime.block_on(worker.work(candidates)))?;
        let sampling = Sampling { first: u64::from(settings.first), rate: settings.rate };
        Ok(Arc::new(Self {
            sampler: Sampler::new(sampling),
            tally,
            queue: Mutex::new(Some(queue)),
            ends,
            thread: Mutex::new(Some(thread)),
            terms,
        }))
    }

    /// Whether these terms are the same.
    fn is_like(&self, terms: &Terms) -> bool {
        (&self.terms.settings, &self.terms.login, self.terms.seals)
            == (&terms.settings, &terms.login, terms.seals)
            && Arc::ptr_eq(&self.terms.server, &terms.server)
    }

    /// Takes nothing any more, and waits as long as `patience` says for what is left. What was not run by then is counted.
    pub(crate) fn close(&self, patience: Duration) {
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let wait = |patience: Duration| {
            let deadline = Instant::now() + patience;
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(LOOK);
            }
        };
        wait(patience);
        self.ends.send_replace(true);
        wait(COUNTING);
    }
}

impl Replayer for Replays {
    fn choose(&self, query: &Arc<Query>, site: &Site, tenant: Option<&str>) -> Choice {
        let choice = self.sampler.choose(&query.fingerprint, tenant);
        if choice == Choice::Pass {
            self.pass(query, site, Uncovered::NotSampled);
        }
        choice
    }

    fn may_choose(&self, query: &Query, tenant: Option<&str>) -> bool {
        self.sampler.would_choose(&query.fingerprint, tenant)
    }

    fn limit(&self) -> usize {
        self.terms.settings.max_bytes
    }

    fn offer(&self, candidate: Candidate) {
        let (query, site) = (Arc::clone(&candidate.query), candidate.site.clone());
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = queue.as_ref().is_some_and(|queue| queue.try_send(candidate).is_ok());
        drop(queue);
        if !taken {
            self.pass(&query, &site, Uncovered::Dropped);
        }
    }

    fn pass(&self, query: &Arc<Query>, site: &Site, why: Uncovered) {
        self.tally.count(query, site, &[], Some(why));
    }
}

fn rules(settings: &ShadowReplay) -> perform::Rules {
    let pace = Pace { factor: f64::from(settings.slower) / 100.0, floor: settings.slower_by };
    perform::Rules { statement_timeout: settings.statement_timeout, pace }
}
