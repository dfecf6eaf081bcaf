//! Who watches sessions: what all watchers share, and the thread that tells how much they have looked at.

mod writes;

use crate::app::App;
use crate::meters::Meters;
use crate::observer::Observer;
use crate::start_error::StartError;
use crate::trail::Trail;
use arc_swap::ArcSwap;
use pgwarden_config::{RowSight, Settings};
use pgwarden_shadow::replay::Replayer;
use pgwarden_shadow::writes::{Hush, Judge};
use pgwarden_shadow::{Actor, Book, Post, Queries, Reporter, RowGuard, RowRules, Site, Watcher};
use pgwarden_tenant::{Mode, Warden, Watch};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use writes::Writes;

/// Bytes of stack for deeply nested statements, which are parsed to see which tables they name.
const STACK: usize = 64 * 1024 * 1024;

/// Sites that are known at once: names of databases are the clients' to give.
const MOST_SITES: usize = 1_000;

/// What all watchers share. It outlives reloads.
#[derive(Debug)]
pub(crate) struct Oversight {
    queries: Arc<Queries>,
    book: Arc<Book>,
    writes: Arc<Writes>,
    sessions: AtomicUsize,
    /// Sessions at one site are counted together.
    sites: Mutex<HashMap<(String, String), Arc<Site>>>,
    around: Arc<ArcSwap<Around>>,
    close: SyncSender<SyncSender<()>>,
}

/// What a reload may change.
#[derive(Debug)]
struct Around {
    reporter: Arc<dyn Reporter>,
    observer: Arc<Observer>,
    rows: Arc<RowRules>,
    window: Duration,
}

/// Who has logged in, for findings.
#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) mode: Mode,
    pub(crate) actor: Actor,
    pub(crate) database: String,
    /// As whom the server knows its backends.
    pub(crate) role: String,
}

impl Oversight {
    /// Starts to watch, and says who hears of it.
    ///
    /// # Errors
    /// [`StartError::System`] when no thread can be started.
    pub(crate) fn begin(
        settings: &Settings,
        trail: &Arc<Trail>,
        observer: &Arc<Observer>,
    ) -> Result<(Arc<dyn Reporter>, Arc<Self>), StartError> {
        let reporter: Arc<dyn Reporter> = Arc::<Trail>::clone(trail);
        let oversight = Self::start(settings, (&reporter, trail.meters()), observer)
            .map_err(StartError::system("the thread that tells what was looked at"))?;
        Ok((reporter, Arc::new(oversight)))
    }

    /// Starts the thread that tells.
    ///
    /// # Errors
    /// When no thread can be started.
    fn start(
        settings: &Settings,
        (reporter, meters): (&Arc<dyn Reporter>, &Arc<Meters>),
        observer: &Arc<Observer>,
    ) -> io::Result<Self> {
        let book: Arc<Book> = Arc::default();
        let around = Arc::new(ArcSwap::from_pointee(around(settings, reporter, observer)));
        let (close, closing) = sync_channel(1);
        let (told, known) = (Arc::clone(&book), Arc::clone(&around));
        std::thread::Builder::new()
            .name("pgwarden-cover".into())
            .stack_size(STACK)
            .spawn(move || tell_for_ever(&told, &known, &closing))?;
        let writes = Arc::new(Writes::start(Arc::clone(reporter), Arc::clone(meters))?);
        Ok(Self {
            queries: Arc::default(),
            book,
            writes,
            sessions: AtomicUsize::new(0),
            sites: Mutex::default(),
            around,
            close,
        })
    }

    fn site(&self, database: String, role: String) -> Arc<Site> {
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, user) = (database.as_str().into(), role.as_str().into());
        let fresh = || Arc::new(Site { database: name, role: user, pid: None });
        if sites.len() >= MOST_SITES {
            sites.clear();
        }
        Arc::clone(sites.entry((database, role)).or_insert_with(fresh))
    }

    /// The settings have changed; sessions that are on keep theirs.
    pub(crate) fn follow(&self, settings: &Settings, reporter: &Arc<dyn Reporter>, observer: &Arc<Observer>) {
        self.around.store(Arc::new(around(settings, reporter, observer)));
    }

    /// Tells what was counted, at most for `patience`.
    pub(crate) fn close(&self, patience: Duration) {
        self.writes.close(patience);
        let (done, closed) = sync_channel(1);
        if self.close.try_send(done).is_ok() {
            let _late = closed.recv_timeout(patience);
        }
    }
}

impl App {
    /// A session that nobody watches; it may share backends with those that are watched.
    pub(crate) fn hushed(&self, warden: Warden) -> Warden {
        match self.server.nonce() {
            Some(nonce) => warden.hushed_by(Box::new(Hush::new(Arc::clone(nonce)))),
            None => warden,
        }
    }

    /// Who watches a session.
    pub(crate) fn watch(&self, party: Party) -> Box<dyn Watch> {
        let oversight = &self.oversight;
        let around = oversight.around.load();
        let post = Post {
            reporter: Arc::clone(&self.reporter),
            queries: Arc::clone(&oversight.queries),
            book: Arc::clone(&oversight.book),
            rows: Arc::clone(&around.rows),
            writes: self.server.nonce().map(|nonce| {
                let judge: Arc<dyn Judge> = Arc::<Writes>::clone(&oversight.writes);
                (Arc::clone(nonce), judge)
            }),
            replayer: self.replays.clone().map(|replays| {
                let replayer: Arc<dyn Replayer> = replays;
                replayer
            }),
        };
        let catalog = self.observer.catalog(&party.database);
        let site = oversight.site(party.database, party.role);
        let session = oversight.sessions.fetch_add(1, Ordering::Relaxed);
        Box::new(Watcher::new(post, catalog, party.mode, (Arc::new(party.actor), site), session))
    }
}

fn around(settings: &Settings, reporter: &Arc<dyn Reporter>, observer: &Arc<Observer>) -> Around {
    let shadow = &settings.shadow;
    let rows = RowRules {
        sight: match shadow.rows.look {
            RowSight::On => pgwarden_shadow::RowSight::On,
            RowSight::Off => pgwarden_shadow::RowSight::Off,
        },
        guard: match shadow.rows.guard {
            pgwarden_config::RowGuard::Off => RowGuard::Off,
            pgwarden_config::RowGuard::Block => RowGuard::Block,
        },
        global_tenants: shadow.global_tenants.clone(),
        default_tenant: settings.context.default_tenant.as_ref().and_then(|default| default.tenant.clone()),
    };
    let (reporter, observer) = (Arc::clone(reporter), Arc::clone(observer));
    Around { reporter, observer, rows: Arc::new(rows), window: shadow.rows.window }
}

/// Tells at intervals, until it is told to close or nobody is left who could.
fn tell_for_ever(book: &Book, around: &ArcSwap<Around>, closing: &Receiver<SyncSender<()>>) {
    loop {
        let closed = closing.recv_timeout(around.load().window);
        let now = around.load();
        book.tell(&*now.reporter, |database| now.observer.catalog(database).load_full());
        match closed {
            Ok(done) => {
                let _gone = done.send(());
            }
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
