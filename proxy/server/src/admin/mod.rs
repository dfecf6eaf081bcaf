//! The admin listener: health, readiness, metrics, the status and the report over HTTP.
//!
//! It is for probes and scrapers, so a connection is one small request and its answer, within a deadline; nothing
//! here can hold up the proxy.

mod readiness;
mod report;
mod routes;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub(crate) use self::readiness::{Readiness, Unready};
pub(crate) use self::routes::AdminState;

/// How long a connection may last: the request, the answer and all waiting.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(10);

/// The most connections at once; more wait in the listener's backlog.
const CONNECTIONS: usize = 64;

/// The longest head of a request, in bytes; tokens are longer than what hyper takes at least (8 KiB).
const HEAD_BYTES: usize = 64 * 1024;

/// The most header fields of a request.
const HEADERS: usize = 64;

/// How long to wait when a connection cannot be accepted (no file descriptors, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long open connections may take to finish at the end.
const GOODBYE: Duration = Duration::from_secs(1);

/// Answers on `listener` until `shutdown` ends, which should be after the drain: `/readyz` says that it goes on.
///
/// Cancel safe: dropping it closes the listener and every connection.
pub(crate) async fn serve(listener: TcpListener, state: AdminState, shutdown: impl Future<Output = ()>) {
    let router = routes::router(state);
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(&listener, &router, &mut connections) => {}
        () = shutdown => {}
    }
    drop(listener);
    let _ = timeout(GOODBYE, async { while connections.join_next().await.is_some() {} }).await;
}

/// Takes connections for ever.
async fn accept(listener: &TcpListener, router: &Router, connections: &mut JoinSet<()>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                connections.spawn(async move {
                    let _slot = slot;
                    let _ = timeout(CONNECTION_DEADLINE, converse(stream, router)).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection to the admin listener");
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One request and its answer; what goes wrong is the caller's business alone.
async fn converse(stream: TcpStream, router: Router) {
    let served = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the admin listener failed");
    }
}
