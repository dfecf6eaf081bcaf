//! `pgwarden serve`: bind, run, drain.

use crate::activation::Inherited;
use crate::admin::{self, AdminState, Unready};
use crate::app::{self, App, Current};
use crate::cli;
use crate::listen::{self, SocketFile};
use crate::loaded::Loaded;
use crate::logging;
use crate::notify;
use crate::reload::{Reloader, Told};
use crate::report::{self, Live};
use crate::signals::{Phase, Shutdown};
use crate::sockets::Sockets;
use crate::start_error::StartError;
use crate::takeover::{self, Door, Estate, Leaving, Predecessor};
use crate::trail::Before;
use crate::upstream::UpstreamError;
use crate::worker::{self, Workers};
use arc_swap::ArcSwap;
use pgwarden_config::Settings;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};

/// How often the server is tried while it cannot be reached.
const RETRY: Duration = Duration::from_secs(2);
/// How long the end takes behind a drain, at most: last words, and the workers' goodbye.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long the end waits for the accounts of services.
const LAST_ACCOUNTS: Duration = Duration::from_secs(2);
/// How long the end waits for what is being replayed.
const LAST_REPLAYS: Duration = Duration::from_secs(2);
/// How long the end waits for sinks of the audit trail; what they have not got by then, they get after the next start.
const LAST_DELIVERIES: Duration = Duration::from_secs(5);
/// How long the end waits for the last records of the audit trail.
const LAST_RECORDS: Duration = Duration::from_secs(10);
/// How often the drain looks whether everybody has left.
const LOOK: Duration = Duration::from_millis(20);

/// Runs the proxy until it is told to stop.
///
/// # Errors
/// [`StartError`] when it cannot start.
pub(crate) fn serve(settings: Settings, loaded: Loaded, flags: cli::Settings) -> Result<(), StartError> {
    let inherited = Inherited::from_environment()?;
    let start = settings.clone();
    let mut settings = settings;
    inherited.replace(&mut settings)?;
    let _log = logging::start(&settings.log)?;
    app::warn_about_clear_text(&settings);
    let (workers, receivers) = Workers::channels(settings.workers.get());
    let app = App::new(settings, loaded, workers)?;
    let mut predecessor = match &app.settings.takeover {
        Some(path) => Predecessor::find(path)
            .map_err(StartError::system("cannot take over from the pgwarden that runs already"))?,
        None => None,
    };
    let sockets = Sockets::open(inherited, &mut predecessor, &app.settings)?;
    app.trail.begin(if predecessor.is_some() { Before::Predecessor } else { Before::Nobody })?;
    let shutdown = app.shutdown.clone();
    let current: Current = Arc::new(ArcSwap::from_pointee(app));
    let threads = receivers
        .into_iter()
        .enumerate()
        .map(|(index, commands)| worker::start(index, commands, Arc::clone(&current)))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(StartError::system("cannot start a worker"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::system("cannot start the runtime"))?;
    let result = runtime.block_on(async {
        let reloader = Reloader::new(Arc::clone(&current), flags, start);
        run(sockets, predecessor, &current, reloader).await
    });
    shutdown.stop();
    for thread in threads {
        let _panicked = thread.join();
    }
    let app = current.load();
    app.services.close_books(LAST_ACCOUNTS);
    app.replays.iter().for_each(|replays| replays.close(LAST_REPLAYS));
    app.oversight.close(LAST_ACCOUNTS);
    app.trail.close(LAST_RECORDS);
    app.sinks.finish(LAST_DELIVERIES);
    drop(app);
    tracing::info!("stopped");
    result
}

async fn run(
    sockets: Sockets,
    predecessor: Option<Predecessor>,
    current: &Current,
    reloader: Reloader,
) -> Result<(), StartError> {
    let app = current.load_full();
    let shutdown = app.shutdown.clone();
    Shutdown::outlive_file_limits().map_err(StartError::system("cannot handle signals"))?;
    let signals = shutdown.on_signals().map_err(StartError::system("cannot handle signals"))?;
    tokio::spawn(signals);
    let told = reloader.told();
    tokio::spawn(reloader.on_signals().map_err(StartError::system("cannot handle SIGHUP"))?);
    if predecessor.is_some() {
        try_upstream(&app).await.map_err(StartError::Upstream)?;
    }
    app.identities.listen();
    app.observer.start();
    let (files, estate) = (sockets.files(), sockets.estate(&app.settings));
    start_admin(sockets.admin, current, &told)?;
    tokio::spawn(watch_upstream(Arc::clone(current), told.server));
    let turn = Arc::new(AtomicUsize::new(0));
    let accepting: Vec<_> = sockets
        .clients
        .into_iter()
        .map(|listener| {
            let (turn, workers) = (Arc::clone(&turn), Arc::clone(&app.workers));
            tokio::spawn(listen::accept(listener, turn, workers, shutdown.clone()))
        })
        .collect();
    let addresses: Vec<String> = app.settings.listen.iter().map(ToString::to_string).collect();
    tracing::info!(
        listen = addresses.join(","),
        mode = app.settings.mode.as_str(),
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
    let standing = match predecessor {
        Some(predecessor) => {
            succeed(predecessor, &files, &app).await;
            let standing = stand_by(estate, &app);
            tracing::info!("taken over from the process before");
            notify::succeeded();
            standing
        }
        None => {
            let standing = stand_by(estate, &app);
            notify::ready(notify::SERVING);
            standing
        }
    };
    tokio::spawn(notify::keep_watchdog_calm(Arc::clone(&app.workers)));
    // A reload replaces it, and what it holds should be gone then.
    drop(app);
    drop(files);
    shutdown.leaving().await;
    for task in accepting {
        let _ended = task.await;
    }
    leave(current).await;
    // Whoever comes to take over finds this process until the next one can be found.
    if let Some(standing) = standing {
        let _ended = standing.await;
    }
    Ok(())
}

/// The process before this one leaves, and its unix sockets are this one's.
async fn succeed(predecessor: Predecessor, files: &[Arc<SocketFile>], app: &App) {
    let left = spawn_blocking(|| predecessor.succeed()).await;
    let left = left.unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()));
    files.iter().for_each(|file| file.keep());
    match left.and_then(Leaving::cancels) {
        Ok(cancels) => app.cancels.ask_as_well(cancels),
        Err(error) => tracing::warn!(%error, "the process before this one did not say that it leaves"),
    }
}

/// Lets another process take over, if the settings say where; the task ends when that has happened, or pgwarden drains.
fn stand_by(estate: std::io::Result<Estate>, app: &App) -> Option<JoinHandle<()>> {
    let path = app.settings.takeover.as_ref()?;
    let (shutdown, cancels) = (app.shutdown.clone(), Arc::clone(&app.cancels));
    let waiting = estate.and_then(|estate| takeover::leave(Door::open(path)?, estate, shutdown, cancels));
    match waiting {
        Ok(waiting) => Some(tokio::spawn(waiting)),
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "no process will be able to take over");
            None
        }
    }
}

/// Waits until everybody has left.
async fn leave(current: &Current) {
    let app = current.load_full();
    app.readiness.draining();
    if !app.shutdown.is_handed_over() {
        notify::stopping(app.settings.limits.drain_timeout + FAREWELL);
    }
    drain(&app).await;
}

/// Waits until every client has left, the deadline has passed or a second signal has come.
async fn drain(app: &App) {
    let everybody_left = async {
        while is_anybody_here(app) {
            tokio::time::sleep(LOOK).await;
        }
    };
    let limit = app.settings.limits.drain_timeout;
    tokio::select! {
        ended = tokio::time::timeout(limit, everybody_left) => {
            if ended.is_err() {
                tracing::warn!(clients = app.admission.clients(), "the drain deadline has passed, closing what is left");
            }
        }
        () = app.shutdown.stopped() => (),
    }
}

/// Whether anybody is waited for. Where another process has taken over, those as well who are about to log in: they
/// have come to this one, and no other has their connection.
fn is_anybody_here(app: &App) -> bool {
    match app.shutdown.phase() {
        Phase::HandingOver => app.workers.guests() > 0,
        Phase::Running | Phase::Draining | Phase::Stopped => app.admission.clients() > 0,
    }
}

fn start_admin(listener: Option<TcpListener>, current: &Current, told: &Told) -> Result<(), StartError> {
    let Some(listener) = listener else { return Ok(()) };
    let app = current.load();
    let failed = StartError::system("cannot use the admin listener");
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener))
        .map_err(failed)?;
    let state = AdminState {
        meters: Arc::clone(&app.meters),
        readiness: Arc::clone(&app.readiness),
        holds: Arc::clone(&app.holds),
        status: Arc::<ArcSwap<App>>::clone(current),
        reports: Arc::new(Live::new({
            let current = Arc::clone(current);
            move || {
                let app = current.load();
                report::Terms {
                    directory: app.settings.audit.directory.clone(),
                    rules: report::rules_of(&app.settings),
                    keys: report::Keys::of(&app.settings.audit),
                    databases: app.observer.databases(),
                }
            }
        })),
        token: Arc::clone(&told.token),
    };
    let shutdown = app.shutdown.clone();
    tokio::spawn(async move {
        admin::serve(listener, state, async move { shutdown.handed_over_or_stopped().await }).await;
    });
    Ok(())
}

/// Tries the server until it can be reached, and again after it was lost or may be another one, so that readiness
/// needs no client.
async fn watch_upstream(current: Current, changed: Arc<Notify>) {
    let mut look = Look::IfUnready;
    loop {
        let app = current.load_full();
        let is_of_server = |reason| matches!(reason, Unready::UpstreamUntried | Unready::UpstreamUnreachable);
        if look == Look::Now || app.readiness.reasons().any(is_of_server) {
            match try_upstream(&app).await {
                Ok(()) => app.readiness.upstream_reached(),
                Err(error) => {
                    app.readiness.upstream_lost();
                    tracing::warn!(%error, "the server cannot be used yet");
                }
            }
        }
        drop(app);
        look = tokio::select! {
            () = changed.notified() => Look::Now,
            () = tokio::time::sleep(RETRY) => Look::IfUnready,
        };
    }
}

/// When the server is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Now,
    IfUnready,
}

async fn try_upstream(app: &App) -> Result<(), UpstreamError> {
    let upstream = &app.settings.upstream;
    let Some(user) = &upstream.user else { return app.server.open().await.map(drop) };
    let pool = app.pool(upstream.database.as_deref().unwrap_or(user), user);
    let target = Arc::clone(&pool.terms().target);
    pool.connect(&target, &[]).await.map(drop)
}
