//! The sockets that clients connect to.

use crate::signals::Shutdown;
use crate::start_error::StartError;
use crate::stream::Peer;
use crate::worker::{Accepted, Workers};
use pgwarden_config::Endpoint;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long to wait when the system has no more file descriptors.
const BREATHER: Duration = Duration::from_millis(100);

/// A socket that clients connect to; a unix socket's file is removed when it is dropped.
#[derive(Debug)]
pub(crate) enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// Binds every endpoint.
///
/// # Errors
/// [`StartError::System`] naming the endpoint that cannot be bound.
pub(crate) fn bind(endpoints: &[Endpoint]) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    for endpoint in endpoints {
        let failed = || StartError::system(format!("cannot listen on {endpoint}"));
        match endpoint {
            Endpoint::Unix { .. } => listeners.push(bind_unix(endpoint).map_err(failed())?),
            Endpoint::Tcp(host, port) if host == "*" => {
                listeners.push(Listener::Tcp(
                    TcpListener::bind(("::", *port))
                        .or_else(|_| TcpListener::bind(("0.0.0.0", *port)))
                        .map_err(failed())?,
                ));
            }
            Endpoint::Tcp(host, port) => {
                listeners.push(Listener::Tcp(TcpListener::bind((host.as_str(), *port)).map_err(failed())?));
            }
        }
    }
    Ok(listeners)
}

/// A socket file that nobody listens on is left over and replaced; a live one is somebody else's.
fn bind_unix(endpoint: &Endpoint) -> std::io::Result<Listener> {
    let path = endpoint.socket_path().ok_or(std::io::ErrorKind::InvalidInput)?;
    if path.exists() && std::os::unix::net::UnixStream::connect(&path).is_err() {
        std::fs::remove_file(&path)?;
    }
    Ok(Listener::Unix(UnixListener::bind(&path)?, SocketFile(path)))
}

/// Accepts clients until pgwarden drains. Cancel safe.
pub(crate) async fn accept(
    listener: Listener,
    turn: Arc<AtomicUsize>,
    workers: Arc<Workers>,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let draining = shutdown.draining();
    let accepting = async {
        match listener {
            Listener::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                let socket = tokio::net::TcpListener::from_std(socket)?;
                loop {
                    let accepted = socket.accept().await.and_then(|(client, address)| {
                        Ok(Accepted::Tcp(client.into_std()?, Peer::Address(address)))
                    });
                    hand_out(accepted, &turn, &workers).await;
                }
            }
            Listener::Unix(socket, _file) => {
                socket.set_nonblocking(true)?;
                let socket = tokio::net::UnixListener::from_std(socket)?;
                loop {
                    let accepted =
                        socket.accept().await.and_then(|(client, _)| Ok(Accepted::Unix(client.into_std()?)));
                    hand_out(accepted, &turn, &workers).await;
                }
            }
        }
    };
    tokio::select! {
        failed = accepting => failed,
        () = draining => Ok(()),
    }
}

async fn hand_out(accepted: std::io::Result<Accepted>, turn: &AtomicUsize, workers: &Workers) {
    match accepted {
        Ok(client) => workers.serve(turn.fetch_add(1, Ordering::Relaxed), client),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(BREATHER).await;
        }
    }
}
