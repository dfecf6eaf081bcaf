//! Taking a backend and giving it back.

use crate::app::App;
use crate::clock;
use crate::meters::{CloseReason, ConnectOutcome};
use crate::pool::plan::Target;
use crate::pool::{Caller, Link, Pool, PoolKey};
use crate::upstream::{Established, UpstreamError};
use crate::worker::{self, Command};
use pgwarden_pool::{Grant, Shelf, Slot};
use pgwarden_session::{Backend, Health, Refusal};
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::oneshot;

/// Why there is no backend.
#[derive(Debug, Error)]
pub(crate) enum AcquireError {
    /// All were in use until the deadline.
    #[error("no backend became free")]
    Exhausted(Box<Refusal>),
    /// No connection to the server.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl AcquireError {
    /// What a client may read of it.
    pub(crate) fn refusal(&self) -> Refusal {
        match self {
            Self::Exhausted(refusal) => Refusal::clone(refusal),
            Self::Upstream(error) => error.refusal(),
        }
    }
}

impl Pool {
    /// An idle backend of this worker, if there is one that still lives.
    pub(crate) fn take_idle(&self, app: &App) -> Option<Link> {
        loop {
            let mut link = worker::with_shelf(self, |shelf| shelf.take())?;
            if self.is_outdated(&link) {
                app.meters.backend_closed(CloseReason::Reloaded);
            } else if link.stream.is_quiet() {
                return Some(link);
            } else {
                app.meters.backend_closed(CloseReason::Lost);
            }
        }
    }

    /// A backend: an idle one, a new one, or the next that becomes free. Cancel safe.
    ///
    /// # Errors
    /// [`AcquireError`] when there is none before the deadline.
    pub(crate) async fn acquire(self: &Arc<Self>, app: &App) -> Result<Link, AcquireError> {
        loop {
            if let Some(link) = self.take_idle(app) {
                return Ok(link);
            }
            let slot = match self.ledger.try_open() {
                Some(slot) => slot,
                None => match self.wait(app).await? {
                    Grant::Slot(slot) => slot,
                    Grant::Backend(link) if self.is_outdated(&link) => {
                        app.meters.backend_closed(CloseReason::Reloaded);
                        link.into_slot()
                    }
                    Grant::Backend(link) => match settle_here(link) {
                        Some(link) => return Ok(link),
                        None => continue,
                    },
                },
            };
            return self.open(app, slot, &[]).await;
        }
    }

    /// The right to open a backend of one's own, even if an idle one has to be closed for it. Cancel safe.
    ///
    /// # Errors
    /// [`AcquireError::Exhausted`] when there is none before the deadline.
    pub(crate) async fn slot(self: &Arc<Self>, app: &App) -> Result<Slot<Caller>, AcquireError> {
        if let Some(slot) = self.ledger.try_open() {
            return Ok(slot);
        }
        if let Some(link) = self.take_idle(app) {
            return Ok(link.into_slot());
        }
        match self.wait(app).await? {
            Grant::Slot(slot) => Ok(slot),
            Grant::Backend(link) => Ok(link.into_slot()),
        }
    }

    async fn wait(self: &Arc<Self>, app: &App) -> Result<Grant<Caller>, AcquireError> {
        let (sender, receiver) = oneshot::channel();
        let started = Instant::now();
        let caller = Caller { home: worker::home(), since: started, sender };
        if let Ok(slot) = self.ledger.wait(caller) {
            return Ok(Grant::Slot(slot));
        }
        let _waiting = app.meters.waiting();
        app.workers.send_to_others(worker::home(), || Command::Offer(Arc::clone(self)));
        if self.ledger.is_starved() {
            app.workers.send_to_others(worker::home(), || Command::MakeRoom);
            worker::make_room(app);
        }
        let patience = self.terms().checkout_timeout;
        let granted = tokio::time::timeout(patience, receiver).await;
        app.meters.timings.checkout_wait.record(started.elapsed());
        match granted {
            Ok(Ok(grant)) => Ok(grant),
            Ok(Err(_)) | Err(_) => Err(AcquireError::Exhausted(Box::new(self.exhausted(patience)))),
        }
    }

    fn exhausted(&self, patience: Duration) -> Refusal {
        Refusal::new(
            "53300",
            "no backend became free in time",
            format!(
                "All {} backends of database \"{}\" were in use for {} seconds; {} clients are waiting.",
                self.ledger.limit(),
                self.key.database,
                patience.as_secs_f64(),
                self.ledger.waiting(),
            ),
            "Raise pool.size, or end transactions sooner.",
        )
    }

    /// Opens a backend with the start-up settings given.
    ///
    /// # Errors
    /// [`AcquireError::Upstream`] when the server cannot be reached or refuses.
    pub(crate) async fn open(
        &self,
        app: &App,
        slot: Slot<Caller>,
        settings: &[(String, String)],
    ) -> Result<Link, AcquireError> {
        let _opening = self.opening.one();
        let started = Instant::now();
        let target = Arc::clone(&self.terms().target);
        let connected = self.connect(&target, settings).await;
        if let Err(UpstreamError::Outdated { user }) = &connected {
            app.accounts.forget(user);
        }
        app.meters.timings.backend_connect.record(started.elapsed());
        let established = match connected {
            Ok(established) => established,
            Err(error) => {
                app.meters.backend_connect_failed(error.cause());
                Self::report(app, &error, &self.key.database, settings);
                return Err(error.into());
            }
        };
        Ok(self.adopt(app, slot, established, target))
    }

    /// Says in the log, and to readiness, why there is no connection.
    pub(crate) fn report(app: &App, error: &UpstreamError, database: &str, settings: &[(String, String)]) {
        if !matches!(error, UpstreamError::Refused { .. } | UpstreamError::Outdated { .. }) {
            app.readiness.upstream_lost();
        }
        let error_shown = shown(error, settings);
        tracing::warn!(error = error_shown, ?database, "no connection to the server");
    }

    /// A backend of a connection that was just made.
    pub(crate) fn adopt(
        &self,
        app: &App,
        slot: Slot<Caller>,
        established: Established,
        target: Arc<Target>,
    ) -> Link {
        app.meters.backend_connect(ConnectOutcome::Ok);
        app.readiness.upstream_reached();
        let profile = self.profiles.opened(established.reported);
        let state = Backend::new(established.facts.capabilities, profile, rand::random());
        Link {
            stream: established.stream,
            state: Some(Box::new(state.of_process(established.process))),
            key: established.key,
            home: worker::home(),
            opened: clock::uptime(),
            target,
            slot,
            guard: app.meters.backend(),
        }
    }

    /// Gives a backend back: to whoever waits, or to this worker's shelf; a tainted or old one is closed.
    pub(crate) fn give_back(&self, app: &App, link: Link, now: u64) {
        let sound = link.state.as_ref().is_some_and(|state| state.health == Health::Sound);
        if !sound {
            app.meters.backend_closed(CloseReason::Tainted);
        } else if self.is_outdated(&link) || self.ledger.is_over() {
            app.meters.backend_closed(CloseReason::Reloaded);
        } else if now.saturating_sub(link.opened) >= self.terms().max_lifetime {
            app.meters.backend_closed(CloseReason::Lifetime);
        } else if self.ledger.yields() {
            app.meters.backend_closed(CloseReason::MadeRoom);
        } else if let Err(link) = self.ledger.offer(link, worker::home()) {
            worker::with_shelf(self, |shelf| shelf.put(link, now));
            self.share_idle();
        }
    }

    /// Offers idle backends of this worker to whoever waits on another.
    pub(crate) fn share_idle(&self) {
        while self.ledger.waiting() > 0 {
            let Some(link) = worker::with_shelf(self, |shelf| shelf.take()) else { return };
            if let Err(link) = self.ledger.offer(link, worker::home()) {
                worker::with_shelf(self, |shelf| shelf.put(link, clock::uptime()));
                return;
            }
        }
    }

    /// Closes the backend of this worker that has been idle longest, for a client of another pool.
    pub(crate) fn make_room(&self, app: &App) {
        let idle = if self.ledger.is_starved() { None } else { worker::with_shelf(self, Shelf::take_oldest) };
        if idle.is_some() {
            app.meters.backend_closed(CloseReason::MadeRoom);
        }
    }

    /// Closes idle backends of this worker that are too old, idle for too long, outdated, too many, or dead.
    pub(crate) fn prune(&self, app: &App, now: u64) {
        let terms = self.terms();
        let (idle, old, outdated, lost) = worker::with_shelf(self, |shelf| {
            // As long as pgwarden has not run for so long, nothing has idled for so long.
            let since = now.checked_sub(terms.idle_timeout);
            let idle = since.map(|since| shelf.take_idle_since(since)).unwrap_or_default();
            let old = shelf.take_unfit(|link| now.saturating_sub(link.opened) >= terms.max_lifetime);
            let mut excess = self.ledger.excess();
            let outdated = shelf.take_unfit(|link| {
                let is_one_too_many = excess > 0;
                excess = excess.saturating_sub(1);
                is_one_too_many || !Arc::ptr_eq(&link.target, &terms.target)
            });
            let lost = shelf.take_unfit(|link| !link.stream.is_quiet());
            (idle, old, outdated, lost)
        });
        for (links, reason) in [
            (idle, CloseReason::Idle),
            (old, CloseReason::Lifetime),
            (outdated, CloseReason::Reloaded),
            (lost, CloseReason::Lost),
        ] {
            links.iter().for_each(|_| app.meters.backend_closed(reason));
        }
    }

    /// Whether a backend was opened under settings that are no longer in force.
    fn is_outdated(&self, link: &Link) -> bool {
        !Arc::ptr_eq(&link.target, &self.terms().target)
    }

    /// Logs in to the server; the context's variables are there from the start, empty.
    pub(crate) async fn connect(
        &self,
        target: &Target,
        settings: &[(String, String)],
    ) -> Result<Established, UpstreamError> {
        let Target { server, login } = target;
        let (login, lent) = self.loan.apply(login)?;
        let PoolKey { database, variables, seals, .. } = &self.key;
        let connected = server.connect(&login, database, (variables, *seals), settings).await;
        match (connected, lent) {
            (Err(error), Some(lent)) if error.is_about_the_secret() => {
                self.loan.refused(&lent);
                Err(UpstreamError::Outdated { user: login.user })
            }
            (connected, _) => connected,
        }
    }
}

/// Classes of SQLSTATE whose messages speak of the login, the database or the state of the server, and never of a
/// setting's value.
const NOT_ABOUT_SETTINGS: [&str; 4] = ["28", "3D", "53", "57"];

/// What the log may hold of it: where the client brought settings, the server's message may repeat their values.
fn shown(error: &UpstreamError, settings: &[(String, String)]) -> String {
    match error {
        UpstreamError::Refused { sqlstate, .. }
            if !settings.is_empty()
                && !NOT_ABOUT_SETTINGS.iter().any(|class| sqlstate.starts_with(class)) =>
        {
            format!("the server refused the connection (SQLSTATE {sqlstate})")
        }
        error => error.to_string(),
    }
}

/// A backend that came from another worker: its socket moves to this worker's reactor.
fn settle_here(link: Link) -> Option<Link> {
    let home = worker::home();
    if link.home == home {
        let mut link = link;
        return link.stream.is_quiet().then_some(link);
    }
    let Link { stream, state, key, opened, target, slot, guard, .. } = link;
    let stream = stream.rehome().ok()?;
    Some(Link { stream, state, key, home, opened, target, slot, guard })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(sqlstate: &str) -> UpstreamError {
        let payload = format!("SFATAL\0C{sqlstate}\0Mno hunter2\0\0");
        UpstreamError::refused(payload.into_bytes())
    }

    #[test]
    fn what_the_server_says_of_a_clients_settings_is_not_for_the_log() {
        let settings = [("work_mem".to_owned(), "hunter2".to_owned())];
        for sqlstate in ["22023", "42704", "55P02", "08P01", "XX000"] {
            let words = shown(&refused(sqlstate), &settings);
            assert_eq!(words, format!("the server refused the connection (SQLSTATE {sqlstate})"));
        }
    }

    #[test]
    fn what_the_server_says_of_the_login_is_for_the_log() {
        let settings = [("work_mem".to_owned(), "1MB".to_owned())];
        for (sqlstate, settings) in [("28P01", &settings[..]), ("3D000", &settings[..]), ("42501", &[][..])] {
            assert!(shown(&refused(sqlstate), settings).contains("no hunter2"), "{sqlstate}");
        }
    }
}
