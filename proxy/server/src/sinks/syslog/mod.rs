//! Syslog: RFC 5424 over a unix socket, UDP (RFC 5426), TCP (RFC 6587) or TLS (RFC 5425).
//!
//! Syslog has no acknowledgement. Datagrams to another machine can be lost without a trace; on a stream, what the system
//! has taken when the connection breaks can be. So the last batch is sent once more when a connection is found broken;
//! the records' ids tell which are there twice.

mod message;

use super::entry::Entry;
use super::failure::{Class, Failure};
use super::pump::Sink;
use pgwarden_config::{SyslogAddress, SyslogSink};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};
use tokio_rustls::TlsConnector;

/// A receiver.
pub(super) struct Receiver {
    settings: SyslogSink,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    host: String,
    open: Option<Open>,
    /// The last batch on a stream, which may not have arrived.
    last: Vec<u8>,
}

/// A way that is open.
enum Open {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Stream(Box<dyn Both>),
}

/// Both directions of a stream.
trait Both: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Both for T {}

impl Receiver {
    /// The receiver of the settings; over TLS, with the configuration and the name for the handshake.
    pub(super) fn new(settings: &SyslogSink, tls: Option<(Arc<ClientConfig>, ServerName<'static>)>) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { settings: settings.clone(), tls, host, open: None, last: Vec::new() }
    }

    async fn send(&mut self, entries: &[Entry]) -> Result<(), Failure> {
        let facility = self.settings.facility;
        let messages = entries.iter().map(|entry| message::message(entry, facility, &self.host));
        let messages: Vec<String> = messages.collect();
        let open = match self.open.take() {
            Some(Open::Stream(stream)) => match still_open(stream).await {
                Some(stream) => Open::Stream(stream),
                None => self.connect().await?,
            },
            Some(open) => open,
            None => self.connect().await?,
        };
        let open = match open {
            Open::Stream(mut stream) => {
                let frames: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
                stream.write_all(&frames).await?;
                stream.flush().await?;
                self.last = frames;
                Open::Stream(stream)
            }
            Open::Unix(socket) => {
                for message in &messages {
                    socket.send(message.as_bytes()).await.map_err(oversized)?;
                }
                Open::Unix(socket)
            }
            Open::Udp(socket) => {
                for message in &messages {
                    socket.send(message.as_bytes()).await.map_err(oversized)?;
                }
                Open::Udp(socket)
            }
        };
        self.open = Some(open);
        Ok(())
    }

    /// Opens the way, and sends once more what may not have arrived on the one before.
    async fn connect(&self) -> Result<Open, Failure> {
        let mut stream: Box<dyn Both> = match &self.settings.address {
            SyslogAddress::Unix(path) => match unix_datagrams(path) {
                Ok(socket) => return Ok(Open::Unix(socket)),
                // The socket is there, and is none of datagrams.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PROTOTYPE.raw_os_error()) => {
                    Box::new(UnixStream::connect(path).await?)
                }
                Err(error) => return Err(error.into()),
            },
            SyslogAddress::Udp(host, port) => return Ok(Open::Udp(udp(host, *port).await?)),
            SyslogAddress::Tcp(host, port) => Box::new(TcpStream::connect((host.as_str(), *port)).await?),
            SyslogAddress::Tls(host, port) => {
                let socket = TcpStream::connect((host.as_str(), *port)).await?;
                let Some((config, name)) = &self.tls else {
                    return Err(Failure::new(Class::Tls, "TLS is not set up"));
                };
                let connector = TlsConnector::from(Arc::clone(config));
                let connected = connector.connect(name.clone(), socket).await;
                Box::new(connected.map_err(|error| Failure::new(Class::Tls, error.to_string()))?)
            }
        };
        stream.write_all(&self.last).await?;
        Ok(Open::Stream(stream))
    }
}

impl Sink for Receiver {
    async fn deliver(&mut self, entries: &[Entry]) -> Result<u64, Failure> {
        let patience = self.settings.timeout;
        match tokio::time::timeout(patience, self.send(entries)).await {
            Ok(sent) => sent.map(|()| 0),
            Err(_elapsed) => Err(Failure::timed_out(patience)),
        }
    }
}

/// The stream, unless the other side has closed it. Nobody answers on it: what is read is of no interest.
async fn still_open(mut stream: Box<dyn Both>) -> Option<Box<dyn Both>> {
    let mut answer = [0; 512];
    loop {
        // A read that is not ready at once is none: the first poll decides.
        let read = tokio::select! {
            biased;
            read = stream.read(&mut answer) => Some(read),
            () = std::future::ready(()) => None,
        };
        match read {
            None => return Some(stream),
            Some(Ok(0) | Err(_)) => return None,
            Some(Ok(_)) => (),
        }
    }
}

/// A message with its length in front (RFC 6587, 3.4.1).
fn framed(message: &str) -> Vec<u8> {
    let mut frame = message.len().to_string().into_bytes();
    frame.push(b' ');
    frame.extend_from_slice(message.as_bytes());
    frame
}

fn unix_datagrams(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

async fn udp(host: &str, port: u16) -> io::Result<UdpSocket> {
    let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in tokio::net::lookup_host((host, port)).await? {
        let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let bound = UdpSocket::bind(local).await?;
        match bound.connect(address).await {
            Ok(()) => return Ok(bound),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A record that fits in no datagram never will; in a batch, the others shall get through.
fn oversized(error: io::Error) -> Failure {
    match error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) {
        true => Failure::new(Class::Rejected, "the record does not fit in a datagram"),
        false => error.into(),
    }
}
