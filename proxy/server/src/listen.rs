//! The sockets that clients connect to.

use crate::activation;
use crate::signals::Shutdown;
use crate::start_error::StartError;
use crate::stream::Peer;
use crate::worker::{Accepted, Workers};
use pgwarden_config::Endpoint;
use socket2::{Domain, Type};
use std::fs::Permissions;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How long to wait when the system has no more file descriptors.
const BREATHER: Duration = Duration::from_millis(100);

/// How many clients may wait to be accepted; the system's own limit (`net.core.somaxconn`) is lower as a rule.
const BACKLOG: i32 = 4096;

/// `EAFNOSUPPORT` of Linux: the machine has no IPv6.
const NO_IPV6: i32 = 97;

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

    /// Binds an endpoint; the file of a unix socket gets the permissions.
    ///
    /// # Errors
    /// [`StartError::System`] naming the endpoint.
    pub(crate) fn open(endpoint: &Endpoint, permissions: Option<u32>) -> Result<Self, StartError> {
        Self::bind(endpoint, permissions).map_err(StartError::system(format!("cannot listen on {endpoint}")))
    }

    fn bind(endpoint: &Endpoint, permissions: Option<u32>) -> io::Result<Self> {
        let (socket, file) = match endpoint {
            Endpoint::Unix { .. } => {
                let (socket, file) = bind_unix(endpoint, permissions)?;
                (Socket::Unix(socket), Some(Arc::new(file)))
            }
            Endpoint::Tcp(host, port) => (Socket::Tcp(bind_tcp(host, *port)?), None),
        };
        Ok(Self { endpoint: endpoint.clone(), socket, file })
    }
}

/// Binds a TCP address. `*` is every address, IPv4 and IPv6, where the machine has IPv6; an IPv6 address is never one
/// of IPv4 as well, as in PostgreSQL (`ListenServerPort` in `pqcomm.c`).
pub(crate) fn bind_tcp(host: &str, port: u16) -> io::Result<TcpListener> {
    if host == "*" {
        let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        return match bind_address(every, V6Only::No) {
            Err(error) if error.raw_os_error() == Some(NO_IPV6) => {
                bind_address(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), V6Only::Yes)
            }
            bound => bound,
        };
    }
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (host, port).to_socket_addrs()? {
        match bind_address(address, V6Only::Yes) {
            Ok(bound) => return Ok(bound),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Whether a socket for IPv6 takes clients of IPv4, too; whatever `net.ipv6.bindv6only` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum V6Only {
    Yes,
    No,
}

fn bind_address(address: SocketAddr, v6_only: V6Only) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(v6_only == V6Only::Yes)?;
    }
    // Old connections in TIME_WAIT are no obstacle; another listener is.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket file that nobody listens on is left over and replaced. A live one is somebody else's, and what is no
/// socket stays, too.
fn bind_unix(endpoint: &Endpoint, permissions: Option<u32>) -> io::Result<(UnixListener, SocketFile)> {
    let path = endpoint.socket_path().ok_or(io::ErrorKind::InvalidInput)?;
    let is_left_over = || {
        let refused = UnixStream::connect(&path).map_err(|error| error.kind());
        matches!(refused, Err(io::ErrorKind::ConnectionRefused))
    };
    let is_socket = std::fs::symlink_metadata(&path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && is_left_over() {
        std::fs::remove_file(&path)?;
    }
    let listener = UnixListener::bind(&path)?;
    let file = SocketFile { path, is_ours: AtomicBool::new(true) };
    if let Some(mode) = permissions {
        std::fs::set_permissions(&file.path, Permissions::from_mode(mode))?;
    }
    Ok((listener, file))
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
