//! The protocol spoken by hand, one blocking socket at a time: for scripted conversations that
//! no driver would have, and for looking at every byte that comes back.
//!
//! ```no_run
//! use pgwarden_tests::{Frontend, Wire};
//! let mut wire = Wire::connect(5432);
//! wire.log_in("app", "secret", "app");
//! wire.send(&Frontend::new().parse("", "SELECT $1", &[]).bind("", "", &[Some("1")]).execute("", 0).sync());
//! assert_eq!(wire.expect("12DCZ")[2].row(), [Some("1".to_owned())]);
//! ```

mod closing;
mod frontend;
mod login;
mod message;

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

pub use frontend::{Frontend, PROTOCOL_3_0, PROTOCOL_3_2};
pub use message::{Fields, Message, tags};

/// How long a read waits before the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes as the protocol sees them, in clear text or through TLS.
trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A client's end of a connection.
pub struct Wire {
    socket: TcpStream,
    stream: Box<dyn Stream>,
    /// Received and not yet taken.
    buffer: Vec<u8>,
    /// The server's process id and the cancel key, from BackendKeyData.
    pub key: (i32, Vec<u8>),
    /// ParameterStatus as reported last, in order of arrival.
    pub parameters: Vec<(String, String)>,
}

impl Wire {
    /// Connects to a port of 127.0.0.1; says nothing yet.
    #[track_caller]
    pub fn connect(port: u16) -> Wire {
        let stream =
            TcpStream::connect(("127.0.0.1", port)).unwrap_or_else(|error| panic!("port {port}: {error}"));
        stream.set_nodelay(true).expect("a TCP socket has this option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket has this option");
        let socket = stream.try_clone().expect("a socket can be shared");
        let (buffer, key, parameters) = (Vec::new(), (0, Vec::new()), Vec::new());
        Wire { socket, stream: Box::new(stream), buffer, key, parameters }
    }

    /// Connects, logs in and waits for ReadyForQuery.
    #[track_caller]
    pub fn open(port: u16, user: &str, password: &str, database: &str) -> Wire {
        let mut wire = Wire::connect(port);
        wire.log_in(user, password, database);
        wire
    }

    /// SSLRequest, `S`, and the handshake.
    #[track_caller]
    pub fn request_tls(&mut self, config: &Arc<ClientConfig>) {
        self.send(&Frontend::new().ssl_request());
        assert_eq!(self.receive_bytes(1), b"S", "TLS is refused");
        self.start_tls(config).unwrap_or_else(|error| panic!("no TLS: {error}"));
    }

    /// The TLS handshake with `localhost`; without an SSLRequest before it, this is direct TLS.
    pub fn start_tls(&mut self, config: &Arc<ClientConfig>) -> io::Result<()> {
        let name = ServerName::try_from("localhost").expect("a host name");
        let connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, self.socket.try_clone()?);
        stream.conn.complete_io(&mut stream.sock)?;
        self.stream = Box::new(stream);
        Ok(())
    }

    /// Sends messages in one write.
    #[track_caller]
    pub fn send(&mut self, messages: &Frontend) {
        self.send_bytes(messages.bytes());
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let sent = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
        sent.unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// Sends bytes in pieces of `size`, each in a segment of its own as far as the kernel plays along.
    #[track_caller]
    pub fn send_in_pieces(&mut self, bytes: &[u8], size: usize) {
        for piece in bytes.chunks(size) {
            self.send_bytes(piece);
            std::thread::yield_now();
        }
    }

    /// Bytes that are no messages: the answer to SSLRequest.
    #[track_caller]
    pub fn receive_bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill().unwrap_or_else(|error| panic!("no bytes: {error}")), "closed by the server");
        }
        self.buffer.drain(..count).collect()
    }

    /// The next message. Panics when none comes.
    #[track_caller]
    pub fn receive(&mut self) -> Message {
        match self.try_receive() {
            Ok(Some(message)) => message,
            Ok(None) => panic!("closed by the server where a message was expected"),
            Err(error) => panic!("no message: {error}"),
        }
    }

    /// The next message, or None when the server closed the connection.
    pub fn try_receive(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some((message, length)) = Message::split_first(&self.buffer) {
                self.buffer.drain(..length);
                self.note(&message);
                return Ok(Some(message));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// The next message if it is there already; None when the connection has ended or nothing is there.
    #[track_caller]
    pub fn receive_at_once(&mut self) -> Option<Message> {
        self.socket.set_nonblocking(true).expect("a TCP socket has this option");
        let received = self.try_receive();
        self.socket.set_nonblocking(false).expect("a TCP socket has this option");
        match received {
            Ok(message) => message,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("no message: {error}"),
        }
    }

    /// Reads wait at most this long from now on.
    pub fn set_patience(&self, patience: Duration) {
        self.socket.set_read_timeout(Some(patience)).expect("a TCP socket has this option");
    }

    /// Everything up to and including the next ReadyForQuery.
    #[track_caller]
    pub fn until_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            messages.push(self.receive());
            if messages.last().is_some_and(|message| message.tag == b'Z') {
                return messages;
            }
        }
    }

    /// As many messages as `tags` has letters, which must be theirs.
    #[track_caller]
    pub fn expect(&mut self, tags: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        for tag in tags.bytes() {
            let message = self.receive();
            let before = message::tags(&messages);
            assert_eq!(char::from(message.tag), char::from(tag), "after {before:?} came {message:?}");
            messages.push(message);
        }
        messages
    }

    /// Everything up to the end of the connection; an abrupt end counts as one.
    pub fn until_closed(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Ok(Some(message)) = self.try_receive() {
            messages.push(message);
        }
        messages
    }

    /// A simple query and everything up to ReadyForQuery.
    #[track_caller]
    pub fn query(&mut self, sql: &str) -> Vec<Message> {
        self.send(&Frontend::new().query(sql));
        self.until_ready()
    }

    /// The rows of a simple query; panics on an error.
    #[track_caller]
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        let messages = self.query(sql);
        if let Some(error) = messages.iter().find(|message| message.tag == b'E') {
            panic!("{sql}: {error:?}");
        }
        messages.iter().filter(|message| message.tag == b'D').map(Message::row).collect()
    }

    /// The value of a reported parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// No more bytes from here; the server's can still be received.
    pub fn close_sending(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Sends a CancelRequest for this connection over another one, and waits until that is closed.
    #[track_caller]
    pub fn cancel(&self) {
        let port = self.socket.peer_addr().expect("a connected socket has a peer").port();
        let mut other = Wire::connect(port);
        other.send(&Frontend::new().cancel(self.key.0, &self.key.1));
        other.until_closed();
    }

    /// True when there is more: false is the end of the connection.
    fn fill(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        let count = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    }

    fn note(&mut self, message: &Message) {
        match message.tag {
            b'K' => self.key = message.backend_key(),
            b'S' => {
                let (name, value) = message.parameter_status();
                self.parameters.retain(|(known, _)| *known != name);
                self.parameters.push((name, value));
            }
            _ => {}
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Wire")
            .field("socket", &self.socket)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
