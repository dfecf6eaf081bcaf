//! A client that never holds more than a piece of what it reads, and a look at pgwarden's memory.

use std::fmt;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use pgwarden_tests::wire::PROTOCOL_3_0;
use pgwarden_tests::{Frontend, Pgwarden};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// How much more memory pgwarden may ever have had, in kB: what its sockets' buffers and its workers' take.
const ALLOWED: u64 = 64 * 1024;

/// Bytes as the protocol sees them, in clear text or through TLS.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// A connection of `acme`.
pub struct Flow {
    socket: TcpStream,
    stream: Box<dyn Stream>,
}

impl Flow {
    /// Connects; says nothing yet.
    #[track_caller]
    fn connect(port: u16) -> Flow {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("pgwarden listens");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a TCP socket has this option");
        socket.set_write_timeout(Some(Duration::from_secs(60))).expect("a TCP socket has this option");
        let stream = Box::new(socket.try_clone().expect("a socket can be shared"));
        Flow { socket, stream }
    }

    /// The same, logged in.
    #[track_caller]
    pub fn open(port: u16) -> Flow {
        let mut flow = Flow::connect(port);
        flow.log_in();
        flow
    }

    /// The same through TLS.
    #[track_caller]
    pub fn open_encrypted(port: u16, config: Arc<ClientConfig>) -> Flow {
        let mut flow = Flow::connect(port);
        flow.send(Frontend::new().ssl_request().bytes());
        let mut answer = [0];
        flow.socket.read_exact(&mut answer).expect("pgwarden answers");
        assert_eq!(answer, *b"S", "TLS is refused");
        let name = ServerName::try_from("localhost").expect("a host name");
        let connection = ClientConnection::new(config, name).expect("a client of TLS");
        let socket = flow.socket.try_clone().expect("a socket can be shared");
        flow.stream = Box::new(StreamOwned::new(connection, socket));
        flow.log_in();
        flow
    }

    #[track_caller]
    fn log_in(&mut self) {
        let parameters = [("user", "acme"), ("database", "postgres")];
        self.send(Frontend::new().startup(PROTOCOL_3_0, &parameters).bytes());
        self.until_ready();
    }

    /// Sends bytes; waits until they are taken.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).expect("pgwarden takes it");
    }

    /// Sends the same message until none of it has been taken for a while; returns how many bytes were.
    #[track_caller]
    pub fn send_until_it_stops(&mut self, message: &[u8]) -> usize {
        let patience = self.socket.write_timeout().expect("a TCP socket has this option");
        self.socket
            .set_write_timeout(Some(Duration::from_millis(500)))
            .expect("a TCP socket has this option");
        let mut taken = 0;
        loop {
            match self.stream.write(&message[taken % message.len()..]) {
                Ok(count) => taken += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("after {taken} bytes: {error}"),
            }
            if taken > 1 << 28 {
                break;
            }
        }
        self.socket.set_write_timeout(patience).expect("a TCP socket has this option");
        taken
    }

    /// Sends a query and reads everything up to ReadyForQuery.
    #[track_caller]
    pub fn query(&mut self, sql: &str) -> (String, usize) {
        self.send(Frontend::new().query(sql).bytes());
        self.until_ready()
    }

    /// The tags and the bytes of everything up to ReadyForQuery.
    #[track_caller]
    pub fn until_ready(&mut self) -> (String, usize) {
        self.until(b'Z')
    }

    /// The tags and the bytes of everything up to a message with this tag.
    #[track_caller]
    pub fn until(&mut self, last: u8) -> (String, usize) {
        let (mut tags, mut bytes) = (String::new(), 0);
        let mut piece = vec![0; 256 * 1024];
        loop {
            let mut header = [0; 5];
            self.stream
                .read_exact(&mut header)
                .unwrap_or_else(|error| panic!("after {bytes} bytes: {error}"));
            let [tag, length @ ..] = header;
            tags.push(char::from(tag));
            let mut rest = usize::try_from(u32::from_be_bytes(length)).expect("a length") - 4;
            bytes += 5 + rest;
            while rest > 0 {
                let wanted = rest.min(piece.len());
                let count = self.stream.read(&mut piece[..wanted]).expect("pgwarden sends");
                assert!(count > 0, "closed in the middle of a message");
                rest -= count;
            }
            if tag == last {
                return (tags, bytes);
            }
        }
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Flow").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// pgwarden's memory since a moment.
#[derive(Debug)]
pub struct Watch {
    process: u32,
    begin: u64,
}

impl Watch {
    /// From now on.
    pub fn begin(pgwarden: &Pgwarden) -> Watch {
        let process = pgwarden.process_id();
        Watch { process, begin: most(process) }
    }

    /// Panics when pgwarden has ever had much more than at the beginning.
    #[track_caller]
    pub fn assert_flat(&self, what: &str) {
        let now = most(self.process);
        // The kernel counts by the page and by the thread: the figure may even fall by a few kB.
        let more = now.saturating_sub(self.begin);
        assert!(more < ALLOWED, "{what}: pgwarden grew from {} kB to {now} kB", self.begin);
    }
}

/// The most resident memory that a process ever had, in kB.
fn most(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
}
