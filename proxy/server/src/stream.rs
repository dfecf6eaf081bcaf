//! A connection to a client or a server: TCP, unix socket, or either side of TLS.

use pgwarden_auth::scram::ChannelBinding;
use pgwarden_config::{Keepalive, Tcp};
use socket2::{SockRef, TcpKeepalive};
use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// A byte stream to a peer.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<Encrypted>),
}

/// TLS over TCP, and what a login can be bound to.
#[derive(Debug)]
pub(crate) struct Encrypted {
    /// The bytes.
    pub(crate) stream: TlsStream<TcpStream>,
    /// The certificate of the side that is the server.
    pub(crate) binding: ChannelBinding,
}

/// Where a client comes from: what its socket says, or the load balancer that brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// An address.
    Address(SocketAddr),
    /// The same machine, through a unix socket.
    Local,
}

impl Peer {
    /// The client's address, IPv4 as IPv4 whatever socket it came through; none through a unix socket.
    pub(crate) fn address(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address.ip().to_canonical()),
            Self::Local => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.address()) {
            (Self::Address(address), Some(ip)) => write!(out, "{}", SocketAddr::new(ip, address.port())),
            _ => out.write_str("unix"),
        }
    }
}

/// Sees to it that a dead peer is noticed, and that nothing waits for more to be sent.
///
/// # Errors
/// When the system does not take an option.
pub(crate) fn prepare(socket: &SockRef<'_>, tcp: &Tcp) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if let Some(Keepalive { idle, interval, count }) = tcp.keepalive {
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(count);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    if tcp.user_timeout.is_some() {
        socket.set_tcp_user_timeout(tcp.user_timeout)?;
    }
    Ok(())
}

impl Stream {
    /// What a SCRAM exchange over this connection can be bound to; nothing without TLS.
    pub(crate) fn channel_binding(&self) -> ChannelBinding {
        match self {
            Self::Tls(encrypted) => encrypted.binding.clone(),
            Self::Tcp(_) | Self::Unix(_) => ChannelBinding::Unavailable,
        }
    }

    /// Whether a peer that should be silent still is: nothing to read and not closed.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(self).poll_read(&mut context, &mut buffer).is_pending()
    }

    /// Says that nothing more comes, where that is a message of its own: TLS' close_notify, as `be_tls_close` of
    /// PostgreSQL does. What the socket does not take at once stays unsaid.
    pub(crate) fn say_end(&mut self) {
        if let Self::Tls(encrypted) = self {
            let mut context = Context::from_waker(Waker::noop());
            let _unsaid = Pin::new(&mut encrypted.stream).poll_shutdown(&mut context);
        }
    }

    /// Moves the socket of a peer that should be silent to the reactor of the calling worker; a TLS stream stays where
    /// it is and works from there.
    ///
    /// # Errors
    /// When the peer is not silent, or the socket cannot be registered.
    pub(crate) fn rehome(self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => {
                let socket = socket.into_std()?;
                silent(&SockRef::from(&socket))?;
                TcpStream::from_std(socket).map(Self::Tcp)
            }
            Self::Unix(socket) => {
                let socket = socket.into_std()?;
                silent(&SockRef::from(&socket))?;
                UnixStream::from_std(socket).map(Self::Unix)
            }
            mut tls @ Self::Tls(_) => {
                if tls.is_quiet() {
                    Ok(tls)
                } else {
                    Err(io::ErrorKind::ConnectionReset.into())
                }
            }
        }
    }
}

/// Asks the system itself: a reactor that has just met the socket knows nothing of it yet.
fn silent(socket: &SockRef<'_>) -> io::Result<()> {
    match socket.peek(&mut [MaybeUninit::uninit()]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Ok(_) => Err(io::ErrorKind::ConnectionReset.into()),
        Err(error) => Err(error),
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(socket) => Pin::new(&mut socket.stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(socket) => Pin::new(&mut socket.stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Self::Tls(socket) => Pin::new(&mut socket.stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(socket) => Pin::new(&mut socket.stream).poll_flush(cx),
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(socket) => Pin::new(&mut socket.stream).poll_shutdown(cx),
        }
    }
}
