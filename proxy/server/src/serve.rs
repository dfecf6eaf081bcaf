//! `pgwarden serve`: bind, run, drain.

use crate::admin::{self, AdminState, Unready};
use crate::app::App;
use crate::listen::{self, Listener};
use crate::loaded::Loaded;
use crate::logging;
use crate::start_error::StartError;
use crate::worker::{self, Workers};
use pgwarden_config::Settings;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::net::TcpListener;

/// How often the server is tried while it cannot be reached.
const RETRY: Duration = Duration::from_secs(2);
/// How often the drain looks whether everybody has left.
const LOOK: Duration = Duration::from_millis(20);

/// Runs the proxy until it is told to stop.
///
/// # Errors
/// [`StartError`] when it cannot start.
pub(crate) fn serve(settings: Settings, loaded: Loaded) -> Result<(), StartError> {
    let _log = logging::start(&settings.log)?;
    let (workers, receivers) = Workers::channels(settings.workers.get());
    let app = App::new(settings, loaded, workers)?;
    let listeners = listen::bind(&app.settings.listen)?;
    let threads = receivers
        .into_iter()
        .enumerate()
        .map(|(index, commands)| worker::start(index, commands, Arc::clone(&app)))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(StartError::system("cannot start a worker"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::system("cannot start the runtime"))?;
    let result = runtime.block_on(run(listeners, &app));
    app.shutdown.stop();
    for thread in threads {
        let _panicked = thread.join();
    }
    tracing::info!("stopped");
    result
}

async fn run(listeners: Vec<Listener>, app: &Arc<App>) -> Result<(), StartError> {
    let signals = app.shutdown.on_signals().map_err(StartError::system("cannot handle signals"))?;
    tokio::spawn(signals);
    start_admin(app).await?;
    if let (Some(keys), Some(jwt)) = (app.tokens.keys.clone(), &app.settings.auth.jwt) {
        tokio::spawn(keys.keep_fresh(jwt.key.clone(), jwt.refresh));
    }
    tokio::spawn(watch_upstream(Arc::clone(app)));
    let turn = Arc::new(AtomicUsize::new(0));
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| tokio::spawn(listen::accept(listener, Arc::clone(&turn), Arc::clone(app))))
        .collect();
    let addresses: Vec<String> = app.settings.listen.iter().map(ToString::to_string).collect();
    tracing::info!(
        listen = addresses.join(","),
        mode = app.settings.mode.as_str(),
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
    app.shutdown.draining().await;
    app.readiness.draining();
    for task in accepting {
        let _ended = task.await;
    }
    drain(app).await;
    Ok(())
}

/// Waits until every client has left, the deadline has passed or a second signal has come.
async fn drain(app: &App) {
    let everybody_left = async {
        while app.admission.clients() > 0 {
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

async fn start_admin(app: &Arc<App>) -> Result<(), StartError> {
    let Some(admin) = &app.settings.admin else { return Ok(()) };
    let host = if admin.host == "*" { "::" } else { admin.host.as_str() };
    let listener = TcpListener::bind((host, admin.port))
        .await
        .map_err(StartError::system(format!("cannot listen on {}:{} (admin)", admin.host, admin.port)))?;
    let state = AdminState {
        meters: Arc::clone(&app.meters),
        readiness: Arc::clone(&app.readiness),
        status: Arc::<App>::clone(app),
        token: admin.token.clone(),
    };
    let shutdown = app.shutdown.clone();
    tokio::spawn(async move { admin::serve(listener, state, async move { shutdown.stopped().await }).await });
    Ok(())
}

/// Tries the server until it can be reached, and again after it was lost, so that readiness needs no client.
async fn watch_upstream(app: Arc<App>) {
    let upstream = &app.settings.upstream;
    loop {
        if app.readiness.reasons().any(|reason| reason != Unready::Draining) {
            let reached = match (&upstream.user, &upstream.database) {
                (Some(user), database) => {
                    let pool = app.pool(database.as_deref().unwrap_or(user), user);
                    let connected = app.server.connect(&pool.login, &pool.key.database, &[]).await;
                    connected.map(drop)
                }
                (None, _) => app.server.open().await.map(drop),
            };
            match reached {
                Ok(()) => app.readiness.upstream_reached(),
                Err(error) => {
                    app.readiness.upstream_lost();
                    tracing::warn!(%error, "the server cannot be used yet");
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}
