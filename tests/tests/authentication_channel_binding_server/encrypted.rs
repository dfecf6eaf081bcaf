//! A server that speaks TLS and says what a test wants it to say.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use pgwarden_tests::certificates::Identity;
use pgwarden_tests::{Frontend, Message, until};
use rustls::{ServerConnection, StreamOwned};

/// The server's end of an encrypted connection.
pub struct Peer(StreamOwned<ServerConnection, TcpStream>);

/// A listener whose connections run a script once they are encrypted; what the script returns is kept.
pub struct Encrypted {
    port: u16,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Encrypted {
    /// The script gets the startup packet of each connection.
    pub fn start(
        identity: &Identity,
        script: impl Fn(&mut Peer, Vec<u8>) -> io::Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Encrypted {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let (heard, config) = (Arc::new(Mutex::new(Vec::new())), identity.acceptor());
        let (kept, script) = (Arc::clone(&heard), Arc::new(script));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (kept, script, config) = (Arc::clone(&kept), Arc::clone(&script), Arc::clone(&config));
                std::thread::spawn(move || {
                    stream.read_exact(&mut [0; 8])?;
                    stream.write_all(b"S")?;
                    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
                    let mut peer = Peer(StreamOwned::new(connection, stream));
                    let startup = peer.first_packet()?;
                    let said = script(&mut peer, startup)?;
                    kept.lock().expect("nobody panics").push(said);
                    Ok::<(), io::Error>(())
                });
            }
        });
        Encrypted { port, heard }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the script returned for the first connection that came so far.
    #[track_caller]
    pub fn heard(&self) -> Vec<u8> {
        until("somebody has connected", || self.heard.lock().expect("nobody panics").first().cloned())
    }
}

impl Peer {
    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).and_then(|()| self.0.flush())
    }

    /// Sends an authentication request.
    pub fn ask(&mut self, kind: u32, data: &[u8]) -> io::Result<()> {
        self.send(Frontend::new().message(b'R', &[&kind.to_be_bytes(), data].concat()).bytes())
    }

    /// Reads what has a length in front, and no tag.
    pub fn first_packet(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut packet = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap_or(0).saturating_sub(4)];
        self.0.read_exact(&mut packet)?;
        Ok(packet)
    }

    /// Reads a message.
    pub fn receive(&mut self) -> io::Result<Message> {
        let mut tag = [0];
        self.0.read_exact(&mut tag)?;
        Ok(Message { tag: tag[0], body: self.first_packet()? })
    }

    /// Everything up to the end.
    pub fn rest(&mut self) -> Vec<u8> {
        let (mut all, mut chunk) = (Vec::new(), [0; 1024]);
        while let Ok(count @ 1..) = self.0.read(&mut chunk) {
            all.extend_from_slice(&chunk[..count]);
        }
        all
    }
}
