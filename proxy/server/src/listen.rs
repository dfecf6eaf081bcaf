//! The sockets that clients connect to.

use crate::activation;
use crate::signals::Shutdown;
use crate::start_error::StartError;
use crate::stream::Peer;
use crate::worker::{Accepted, Workers};
use pgwarden_config::Endpoint;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long to wait when the system has no more file descriptors.
const BREATHER: Duration = Duration::from_millis(100);

/// A socket that clients connect to.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Where it listens.
    pub(crate) endpoint: Endpoint,
    socket: Socket,
    /// What is removed with it.
    file: Option<SocketFile>,
}

/// The socket itself.
#[derive(Debug)]
pub(crate) enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

/// The file of a unix socket; removed when this is dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// A socket that was opened by somebody else, to whom its file belongs.
    ///
    /// # Errors
    /// When it has no address that clients know.
    pub(crate) fn inherited(socket: Socket) -> io::Result<Self> {
        Ok(Self { endpoint: activation::endpoint(&socket)?, socket, file: None })
    }

    fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        let (socket, file) = match endpoint {
            Endpoint::Unix { .. } => {
                let (socket, file) = bind_unix(endpoint)?;
                (Socket::Unix(socket), Some(file))
            }
            Endpoint::Tcp(host, port) => (Socket::Tcp(bind_tcp(host, *port)?), None),
        };
        Ok(Self { endpoint: endpoint.clone(), socket, file })
    }
}

/// Binds every endpoint.
///
/// # Errors
/// [`StartError::System`] naming the endpoint that cannot be bound.
pub(crate) fn bind(endpoints: &[Endpoint]) -> Result<Vec<Listener>, StartError> {
    let bind = |endpoint: &Endpoint| {
        Listener::bind(endpoint).map_err(StartError::system(format!("cannot listen on {endpoint}")))
    };
    endpoints.iter().map(bind).collect()
}

/// Binds a TCP address; `*` is every address.
pub(crate) fn bind_tcp(host: &str, port: u16) -> io::Result<TcpListener> {
    match host {
        "*" => TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port))),
        host => TcpListener::bind((host, port)),
    }
}

/// A socket file that nobody listens on is left over and replaced; a live one is somebody else's.
fn bind_unix(endpoint: &Endpoint) -> io::Result<(UnixListener, SocketFile)> {
    let path = endpoint.socket_path().ok_or(io::ErrorKind::InvalidInput)?;
    if path.exists() && UnixStream::connect(&path).is_err() {
        std::fs::remove_file(&path)?;
    }
    Ok((UnixListener::bind(&path)?, SocketFile(path)))
}

/// Accepts clients until pgwarden drains. Cancel safe.
pub(crate) async fn accept(
    listener: Listener,
    turn: Arc<AtomicUsize>,
    workers: Arc<Workers>,
    shutdown: Shutdown,
) -> io::Result<()> {
    let draining = shutdown.draining();
    let Listener { socket, file: _file, .. } = listener;
    let accepting = async {
        match socket {
            Socket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                let socket = tokio::net::TcpListener::from_std(socket)?;
                loop {
                    let accepted = socket.accept().await.and_then(|(client, address)| {
                        Ok(Accepted::Tcp(client.into_std()?, Peer::Address(address)))
                    });
                    hand_out(accepted, &turn, &workers).await;
                }
            }
            Socket::Unix(socket) => {
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

async fn hand_out(accepted: io::Result<Accepted>, turn: &AtomicUsize, workers: &Workers) {
    match accepted {
        Ok(client) => workers.serve(turn.fetch_add(1, Ordering::Relaxed), client),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(BREATHER).await;
        }
    }
}
