//! Sockets that the service manager has opened (`sd_listen_fds(3)`): clients connect to them instead of to what `listen`
//! says, and those named `admin` take the place of `admin.listen`.

use crate::listen::{Listener, Socket};
use crate::start_error::StartError;
use listenfd::ListenFd;
use pgwarden_config::{Admin, Endpoint, Settings};
use socket2::SockRef;
use std::io;
use std::net::TcpListener;

/// The name (`FileDescriptorName=`) of a socket for health checks and metrics.
const ADMIN: &str = "admin";

/// What was inherited.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// For clients.
    pub(crate) clients: Vec<Listener>,
    /// For health checks and metrics.
    pub(crate) admin: Option<TcpListener>,
}

impl Inherited {
    /// Takes over what the environment names. To be called before any thread is started: it clears the variables.
    ///
    /// # Errors
    /// [`StartError::Inherited`] for what is no socket that listens.
    pub(crate) fn from_environment() -> Result<Self, StartError> {
        let mut inherited = Self::default();
        // Meant for another process that has passed its environment on.
        let meant = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
        if !meant {
            return Ok(inherited);
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut sockets = ListenFd::from_env();
        for index in 0..sockets.len() {
            let name = names.next().unwrap_or_default();
            let socket =
                take(&mut sockets, index).map_err(|source| StartError::Inherited { index, source })?;
            match socket {
                Socket::Tcp(socket) if name == ADMIN => inherited.admin = Some(socket),
                socket => {
                    let listener = Listener::inherited(socket);
                    inherited
                        .clients
                        .push(listener.map_err(|source| StartError::Inherited { index, source })?);
                }
            }
        }
        Ok(inherited)
    }

    /// Makes the settings say what is in force.
    ///
    /// # Errors
    /// [`StartError::Sockets`] where the settings forbid such sockets.
    pub(crate) fn replace(&self, settings: &mut Settings) -> Result<(), StartError> {
        if !self.clients.is_empty() {
            settings.listen = self.clients.iter().map(|listener| listener.endpoint.clone()).collect();
        }
        if let Some(address) = self.admin.as_ref().and_then(|socket| socket.local_addr().ok()) {
            let token = settings.admin.take().and_then(|admin| admin.token);
            settings.admin = Some(Admin { host: address.ip().to_string(), port: address.port(), token });
        }
        match settings.conflicts().into_iter().next() {
            Some(mistake) => Err(StartError::Sockets(mistake)),
            None => Ok(()),
        }
    }
}

fn take(sockets: &mut ListenFd, index: usize) -> io::Result<Socket> {
    let socket = match sockets.take_unix_listener(index) {
        Ok(socket) => socket.map(Socket::Unix),
        Err(_) => sockets.take_tcp_listener(index)?.map(Socket::Tcp),
    };
    let socket = socket.ok_or(io::ErrorKind::NotFound)?;
    let listens = match &socket {
        Socket::Tcp(socket) => SockRef::from(socket).is_listener()?,
        Socket::Unix(socket) => SockRef::from(socket).is_listener()?,
    };
    match listens {
        true => Ok(socket),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket does not listen (Accept=no?)")),
    }
}

/// The endpoint that a socket of the service manager is.
pub(crate) fn endpoint(socket: &Socket) -> io::Result<Endpoint> {
    match socket {
        Socket::Tcp(socket) => {
            let address = socket.local_addr()?;
            Ok(Endpoint::Tcp(address.ip().to_string(), address.port()))
        }
        Socket::Unix(socket) => {
            let address = socket.local_addr()?;
            let named = address.as_pathname().and_then(Endpoint::of_socket);
            named.ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the file of a unix socket has to be named .s.PGSQL.<port>",
                )
            })
        }
    }
}
