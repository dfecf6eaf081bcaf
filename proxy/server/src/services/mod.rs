//! Services at work: which there are, how long each may go on, and what its sessions do.
//!
//! A service is a name of the configuration that acts for no tenant and has a login of its own on the server. Its
//! [`Lane`] outlives a reload: sessions look there whether they may go on. Who watches what they do writes into the
//! [`Books`].

mod books;
mod lane;
mod log;
mod recorded;
mod session;

pub(crate) use books::{Books, Open};
pub(crate) use lane::Lane;
pub(crate) use session::ServiceSession;

use crate::clock;
use crate::meters::ServiceMeters;
use crate::status::{ServiceReport, ServiceSessionReport};
use crate::trail::Trail;
use pgwarden_account::Party;
use pgwarden_config::{Moment, Service};
use pgwarden_session::{Interner, Refusal};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// All services, and the books of what they do.
#[derive(Debug)]
pub(crate) struct Services {
    lanes: Mutex<BTreeMap<String, Arc<Lane>>>,
    meters: Arc<ServiceMeters>,
    books: Arc<Books>,
}

impl Services {
    /// The services of a configuration; accounts are logged and recorded every so often while a session lasts.
    ///
    /// # Errors
    /// When the thread that keeps the books cannot be started.
    pub(crate) fn new(
        configured: &BTreeMap<String, Service>,
        (meters, trail): (Arc<ServiceMeters>, &Arc<Trail>),
        interval: Duration,
    ) -> io::Result<Self> {
        let sink = recorded::Recorded(Arc::clone(trail));
        let books = Arc::new(Books::start(interval, Box::new(sink))?);
        let services = Self { lanes: Mutex::default(), meters, books };
        services.follow(configured);
        Ok(services)
    }

    /// Puts other settings into force: sessions of a service that is gone, or that has another login or other signs by
    /// now, end like those of one that has expired.
    pub(crate) fn follow(&self, configured: &BTreeMap<String, Service>) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|name, lane| {
            let stays = configured.get(name).is_some_and(|service| lane.is_of(service));
            if !stays {
                lane.close();
            }
            stays
        });
        for (name, service) in configured {
            let lane = lanes
                .entry(name.clone())
                .or_insert_with(|| Arc::new(Lane::new(name, service, self.meters.of(name))));
            lane.follow(service);
        }
    }

    /// Begins a session of a service, as it was configured when the client was recognised.
    ///
    /// # Errors
    /// 28000 when the service has expired, or is not the same any more; 53300 when it has too many sessions.
    pub(crate) fn begin(
        &self,
        service: &Service,
        party: Party,
        interner: &Arc<Interner>,
    ) -> Result<Box<ServiceSession>, Refusal> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.get(&party.service).filter(|lane| lane.is_of(service));
        let lane = lane.ok_or_else(|| lane::ended(&party.service))?;
        let place = lane.enter(clock::now())?;
        let (lane, books) = (Arc::clone(lane), Arc::clone(&self.books));
        drop(lanes);
        Ok(Box::new(ServiceSession::new(lane, place, books.begin(party), books, Arc::clone(interner))))
    }

    /// What the status shows of each service.
    pub(crate) fn report(&self) -> Vec<ServiceReport> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.values().map(|lane| lane.report(clock::now())).collect()
    }

    /// What the status shows of each session; at most so many, the oldest first.
    pub(crate) fn sessions(&self, most: usize) -> Vec<ServiceSessionReport> {
        let now = clock::now();
        let mut open = self.books.open();
        open.sort_by_key(|one| one.number);
        open.iter().take(most).map(|one| one.with(|account| log::report(one.number, account, now))).collect()
    }

    /// Waits until everything that has ended is in the books, at most for `patience`.
    pub(crate) fn close_books(&self, patience: Duration) {
        self.books.close(patience);
    }
}

/// As it is written in reports.
fn shown(seconds: u64) -> String {
    Moment(seconds).to_string()
}
