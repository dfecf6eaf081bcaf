//! `pgwarden serve`: bind, run, drain.

use crate::activation::Inherited;
use crate::admin::{self, AdminState, Unready};
use crate::app::{self, App, Current};
use crate::cli;
use crate::listen::{self, Listener};
use crate::loaded::Loaded;
use crate::logging;
use crate::notify;
use crate::reload::{Reloader, Told};
use crate::start_error::StartError;
use crate::upstream::UpstreamError;
use crate::worker::{self, Workers};
use arc_swap::ArcSwap;
use pgwarden_config::Settings;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::sync::Notify;

/// How often the server is tried while it cannot be reached.
const RETRY: Duration = Duration::from_secs(2);
/// How long the end takes behind a drain, at most: last words, and the workers' goodbye.
const FAREWELL: Duration = Duration::from_secs(10);
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
    let sockets = Sockets::open(inherited, &app.settings)?;
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
        run(sockets, &current, reloader).await
    });
    shutdown.stop();
    for thread in threads {
        let _panicked = thread.join();
    }
    tracing::info!("stopped");
    result
}

async fn run(sockets: Sockets, current: &Current, reloader: Reloader) -> Result<(), StartError> {
    let app = current.load_full();
    let shutdown = app.shutdown.clone();
    let signals = shutdown.on_signals().map_err(StartError::system("cannot handle signals"))?;
    tokio::spawn(signals);
    let told = reloader.told();
    tokio::spawn(reloader.on_signals().map_err(StartError::system("cannot handle SIGHUP"))?);
    start_admin(sockets.admin, &app, &told)?;
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
    notify::ready(notify::SERVING);
    tokio::spawn(notify::keep_watchdog_calm(Arc::clone(&app.workers)));
    // A reload replaces it, and what it holds should be gone then.
    drop(app);
    shutdown.draining().await;
    current.load().readiness.draining();
    notify::stopping(current.load().settings.limits.drain_timeout + FAREWELL);
    for task in accepting {
        let _ended = task.await;
    }
    drain(&current.load_full()).await;
    Ok(())
}

/// Waits until every client has left, the deadline has passed or a second signal has come.
async fn drain(app: &App) {
    let everybody_left = async {
        while app.clients() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    };
    let limit = app.settings.limits.drain_timeout;
    tokio::select! {
        ended = tokio::time::timeout(limit, everybody_left) => {
            if ended.is_err() {
                tracing::warn!(clients = app.clients(), "the drain deadline has passed, closing what is left");
            }
        }
        () = app.shutdown.stopped() => (),
    }
}

/// All that pgwarden listens on.
struct Sockets {
    clients: Vec<Listener>,
    admin: Option<TcpListener>,
}

impl Sockets {
    /// Those that were inherited, and those that the settings name.
    fn open(inherited: Inherited, settings: &Settings) -> Result<Self, StartError> {
        let Inherited { clients, admin } = inherited;
        let clients = if clients.is_empty() { listen::bind(&settings.listen)? } else { clients };
        let admin = match (admin, &settings.admin) {
            (Some(inherited), _) => Some(inherited),
            (None, None) => None,
            (None, Some(admin)) => Some(listen::bind_tcp(&admin.host, admin.port).map_err(
                StartError::system(format!("cannot listen on {}:{} (admin)", admin.host, admin.port)),
            )?),
        };
        Ok(Self { clients, admin })
    }
}

fn start_admin(listener: Option<TcpListener>, app: &App, told: &Told) -> Result<(), StartError> {
    let Some(listener) = listener else { return Ok(()) };
    let failed = StartError::system("cannot use the admin listener");
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener))
        .map_err(failed)?;
    let state = AdminState {
        meters: Arc::clone(&app.meters),
        readiness: Arc::clone(&app.readiness),
        token: Arc::clone(&told.token),
    };
    let shutdown = app.shutdown.clone();
    tokio::spawn(async move { admin::serve(listener, state, async move { shutdown.stopped().await }).await });
    Ok(())
}

/// Tries the server until it can be reached, and again after it was lost or may be another one, so that readiness
/// needs no client.
async fn watch_upstream(current: Current, changed: Arc<Notify>) {
    let mut look = Look::IfUnready;
    loop {
        let app = current.load_full();
        if look == Look::Now || app.readiness.reasons().any(|reason| reason != Unready::Draining) {
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
