//! The sockets that clients connect to.

use crate::activation;
use crate::signals::Shutdown;
use crate::start_error::StartError;
use crate::stream::Peer;
use crate::worker::{Accepted, Workers};
use pgwarden_config::Endpoint;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    file: Option<Arc<SocketFile>>,
}

/// The socket itself.
#[derive(Debug)]
pub(crate) enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

/// The file of a unix socket; removed when this is dropped, if it is this process's then.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    is_ours: AtomicBool,
}

impl SocketFile {
    /// This process removes it.
    pub(crate) fn keep(&self) {
        self.is_ours.store(true, Ordering::Relaxed);
    }

    /// Another process removes it.
    pub(crate) fn hand_over(&self) {
        self.is_ours.store(false, Ordering::Relaxed);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if *self.is_ours.get_mut() {
            let _gone = std::fs::remove_file(&self.path);
        }
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

    /// The socket of another process, which removes its file until [`SocketFile::keep`].
    pub(crate) fn taken_over(endpoint: &Endpoint, socket: Socket) -> Self {
        let file = endpoint.socket_path().map(|path| SocketFile { path, is_ours: AtomicBool::new(false) });
        Self { endpoint: endpoint.clone(), socket, file: file.map(Arc::new) }
    }

    /// The same, but the file belongs to neither process.
    pub(crate) fn lent(self) -> Self {
        Self { file: None, ..self }
    }

    /// Its file, where that is removed with it.
    pub(crate) fn file(&self) -> Option<Arc<SocketFile>> {
        self.file.clone()
    }

    /// The socket once more.
    ///
    /// # Errors
    /// When the system has no more file descriptors.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        match &self.socket {
            Socket::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            Socket::Unix(socket) => socket.as_fd().try_clone_to_owned(),
        }
    }

    /// Binds an endpoint.
    ///
    /// # Errors
    /// [`StartError::System`] naming the endpoint.
    pub(crate) fn open(endpoint: &Endpoint) -> Result<Self, StartError> {
        Self::bind(endpoint).map_err(StartError::system(format!("cannot listen on {endpoint}")))
    }

    fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        let (socket, file) = match endpoint {
            Endpoint::Unix { .. } => {
                let (socket, file) = bind_unix(endpoint)?;
                (Socket::Unix(socket), Some(Arc::new(file)))
            }
            Endpoint::Tcp(host, port) => (Socket::Tcp(bind_tcp(host, *port)?), None),
        };
        Ok(Self { endpoint: endpoint.clone(), socket, file })
    }
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
    Ok((UnixListener::bind(&path)?, SocketFile { path, is_ours: AtomicBool::new(true) }))
}

/// Accepts clients until pgwarden drains or another process does. Cancel safe.
pub(crate) async fn accept(
    listener: Listener,
    turn: Arc<AtomicUsize>,
    workers: Arc<Workers>,
    shutdown: Shutdown,
) -> io::Result<()> {
    let leaving = shutdown.leaving();
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
        () = leaving => Ok(()),
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
