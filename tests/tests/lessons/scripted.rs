//! A server that says what a test wants it to say.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use pgwarden_tests::{Frontend, Message, Pgwarden, PgwardenBuilder};

const CANCEL_REQUEST: [u8; 4] = 80_877_102_u32.to_be_bytes();

/// A listener whose connections run a script, each in a thread of its own.
#[derive(Debug)]
pub struct Scripted {
    port: u16,
}

impl Scripted {
    /// `script` gets each connection; an error ends it.
    pub fn start(script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static) -> Scripted {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let script = Arc::clone(&script);
                std::thread::spawn(move || script(&mut Peer { stream }));
            }
        });
        Scripted { port }
    }

    /// A pgwarden in front of it, without a context; `password` is that of its login.
    pub fn pgwarden(&self, password: &str) -> PgwardenBuilder {
        let url = pgwarden_tests::client::url(self.port, "app", password, "postgres");
        Pgwarden::builder()
            .upstream(&format!("{url}?sslmode=disable"))
            .env("PGWARDEN_AUTH", "trust")
            .env("PGWARDEN_POOL_SIZE", "1")
            .env("PGWARDEN_WORKERS", "1")
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// The server's end of a connection.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
}

impl Peer {
    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads a first packet; returns what follows its length.
    pub fn first_packet(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut packet = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap_or(0).saturating_sub(4)];
        self.stream.read_exact(&mut packet)?;
        Ok(packet)
    }

    /// Reads a message.
    pub fn receive(&mut self) -> io::Result<Message> {
        let mut tag = [0];
        self.stream.read_exact(&mut tag)?;
        Ok(Message { tag: tag[0], body: self.first_packet()? })
    }

    /// Reads messages up to one with this tag.
    pub fn receive_until(&mut self, tag: u8) -> io::Result<Message> {
        loop {
            let message = self.receive()?;
            if message.tag == tag {
                return Ok(message);
            }
        }
    }

    /// Lets anybody in; a CancelRequest is answered by hanging up.
    pub fn let_in(&mut self) -> io::Result<()> {
        if self.first_packet()?.starts_with(&CANCEL_REQUEST) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.send(&[authentication(0, b""), greeting()].concat())
    }

    /// Answers every query with a row, up to one that mentions `word`, which is left to the caller. What pgwarden
    /// asks for itself (whether it may execute set_config) is true.
    pub fn serve_until(&mut self, word: &str, value: &str) -> io::Result<()> {
        loop {
            let text = String::from_utf8_lossy(&self.receive_until(b'Q')?.body).into_owned();
            if text.contains(word) {
                return Ok(());
            }
            self.send(&row(if text.contains("has_function_privilege") { "t" } else { value }))?;
        }
    }

    /// Reads until the client hangs up.
    pub fn wait_for_the_end(&mut self) -> io::Result<()> {
        while self.receive().is_ok() {}
        Ok(())
    }
}

/// Any message.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    Frontend::new().message(tag, body).bytes().to_vec()
}

/// An authentication request.
pub fn authentication(kind: u32, data: &[u8]) -> Vec<u8> {
    message(b'R', &[&kind.to_be_bytes(), data].concat())
}

/// What follows AuthenticationOk.
pub fn greeting() -> Vec<u8> {
    let parameter = |name: &str, value: &str| message(b'S', format!("{name}\0{value}\0").as_bytes());
    [
        parameter("server_version", "15.4"),
        parameter("client_encoding", "UTF8"),
        parameter("standard_conforming_strings", "on"),
        message(b'K', &[0, 0, 0, 7, 1, 2, 3, 4]),
        ready(),
    ]
    .concat()
}

/// ReadyForQuery outside of a block.
pub fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// DataRow with one value.
pub fn data(value: &str) -> Vec<u8> {
    let length = u32::try_from(value.len()).expect("a short value").to_be_bytes();
    message(b'D', &[&[0, 1], &length[..], value.as_bytes()].concat())
}

/// CommandComplete.
pub fn complete() -> Vec<u8> {
    message(b'C', b"SELECT 1\0")
}

/// RowDescription of one column.
pub fn description() -> Vec<u8> {
    message(b'T', b"\0\x01c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0")
}

/// The whole answer to a query that returns a value.
pub fn row(value: &str) -> Vec<u8> {
    [description(), data(value), complete(), ready()].concat()
}
