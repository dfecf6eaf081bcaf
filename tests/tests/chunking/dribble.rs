//! A neighbour on the wire that passes the server's bytes on one by one.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// Listens, and connects every caller to a server.
#[derive(Debug)]
pub struct Dribble {
    port: u16,
}

impl Dribble {
    /// In front of this port; lives as long as the process.
    pub fn start(server: u16) -> Dribble {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let ends = (client.try_clone(), server.try_clone());
                let (Ok(client_end), Ok(server_end)) = ends else { continue };
                std::thread::spawn(move || pass(client, server_end, usize::MAX));
                std::thread::spawn(move || pass(server, client_end, 1));
            }
        });
        Dribble { port }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, piece: usize) {
    let _ = to.set_nodelay(true);
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        for bytes in buffer[..count].chunks(piece) {
            if to.write_all(bytes).is_err() {
                return;
            }
            std::thread::yield_now();
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}
