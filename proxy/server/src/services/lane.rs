//! One service: how long it may go on, and how many sessions it has.

use super::shown;
use crate::meters::ServiceCounts;
use crate::status::ServiceReport;
use pgwarden_config::{Service, Signs};
use pgwarden_session::Refusal;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

/// When nobody may go on any more: at once.
const NOW: u64 = 0;

/// A service that is in force, or was when its last sessions began.
#[derive(Debug)]
pub(crate) struct Lane {
    name: String,
    signs: Signs,
    role: String,
    most: AtomicUsize,
    /// When it ends, in seconds since 1970.
    until: watch::Sender<u64>,
    counts: Arc<ServiceCounts>,
}

/// A session's place among those of its service; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Lane>);

impl Lane {
    pub(super) fn new(name: &str, service: &Service, counts: Arc<ServiceCounts>) -> Self {
        Self {
            name: name.to_owned(),
            signs: service.signs.clone(),
            role: service.upstream_user.clone(),
            most: AtomicUsize::new(service.max_sessions),
            until: watch::Sender::new(end_of(service)),
            counts,
        }
    }

    /// Whether these settings are about the same: the same clients, and the same role.
    pub(super) fn is_of(&self, service: &Service) -> bool {
        (&self.signs, &self.role) == (&service.signs, &service.upstream_user)
    }

    /// Puts another end and another limit into force.
    pub(super) fn follow(&self, service: &Service) {
        self.most.store(service.max_sessions, Ordering::Relaxed);
        self.until.send_if_modified(|until| std::mem::replace(until, end_of(service)) != end_of(service));
    }

    /// Nobody may go on.
    pub(super) fn close(&self) {
        self.until.send_replace(NOW);
    }

    /// A place for one more session.
    pub(super) fn enter(self: &Arc<Self>, now: u64) -> Result<Place, Refusal> {
        if *self.until.borrow() <= now {
            return Err(ended(&self.name));
        }
        let place = Place(Arc::clone(self));
        let before = self.counts.open.fetch_add(1, Ordering::AcqRel);
        let most = self.most.load(Ordering::Relaxed);
        if before >= most {
            return Err(Refusal::new(
                "53300",
                format!("too many sessions of service \"{}\"", self.name),
                format!("service.{}.max_sessions is {most}.", self.name),
                "Wait until another session of it has ended, or raise the limit.",
            ));
        }
        self.counts.sessions.fetch_add(1, Ordering::Relaxed);
        Ok(place)
    }

    /// Its end, as it is now and as it will be.
    pub(super) fn until(&self) -> watch::Receiver<u64> {
        self.until.subscribe()
    }

    /// What its sessions did.
    pub(super) fn counts(&self) -> &ServiceCounts {
        &self.counts
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn report(&self, now: u64) -> ServiceReport {
        let until = *self.until.borrow();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        ServiceReport {
            service: self.name.clone(),
            role: self.role.clone(),
            state: if until <= now { "expired" } else { "open" }.to_owned(),
            expires: (until < u64::MAX).then(|| shown(until)),
            sessions: self.counts.open.load(Ordering::Relaxed),
            limit: self.most.load(Ordering::Relaxed),
            sessions_total: count(&self.counts.sessions),
            transactions: count(&self.counts.transactions),
            statements: count(&self.counts.statements),
            errors: count(&self.counts.errors),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.counts.open.fetch_sub(1, Ordering::AcqRel);
    }
}

fn end_of(service: &Service) -> u64 {
    service.expires.map_or(u64::MAX, |moment| moment.0)
}

/// What who comes too late reads.
pub(super) fn ended(service: &str) -> Refusal {
    Refusal::new(
        "28000",
        format!("service \"{service}\" has ended"),
        "Its time has passed, or a reload took it out of the configuration or changed who it is.",
        format!("Whoever answers for it can give it more time: service.{service}.expires."),
    )
}
