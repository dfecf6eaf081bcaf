//! A neighbour on the wire between pgwarden and the server, for what only a network does: bytes that stop, connections
//! that break at one end, another server behind the same address.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::SendFlags;

use crate::wait::until;

/// Listens, and connects every caller to a server.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    state: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    target: u16,
    traffic: Traffic,
    /// Both ends of every connection, the caller's first.
    links: Vec<Link>,
}

/// What happens to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traffic {
    Flows,
    Stands,
}

#[derive(Debug)]
struct Link {
    caller: TcpStream,
    server: Option<TcpStream>,
    health: Health,
    /// Bytes of the caller that did not go on.
    held: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Whole,
    /// The server's end is gone, and the caller's end knows nothing of it.
    HalfOpen,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToCaller,
}

impl Relay {
    /// In front of this port of 127.0.0.1; lives as long as the process.
    pub fn start(server: u16) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let state = State { target: server, traffic: Traffic::Flows, links: Vec::new() };
        let state = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                let target = shared.lock().target;
                // A server that is not there refuses its callers, and so does the relay.
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                shared.join(caller, server);
            }
        });
        Relay { port, state }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connections that are made from now on go to another server.
    pub fn redirect(&self, server: u16) {
        self.state.lock().target = server;
    }

    /// No byte goes on, in either direction; connections stay open, new ones are taken.
    pub fn freeze(&self) {
        self.set(Traffic::Stands);
    }

    /// Goes on where it was frozen.
    pub fn thaw(&self) {
        self.set(Traffic::Flows);
    }

    /// Every connection of now loses its server without a word to the caller, whose bytes go nowhere.
    pub fn half_open(&self) {
        for link in &mut self.state.lock().links {
            link.health = Health::HalfOpen;
            // The last hand on it lets go when the caller leaves.
            let _ = link.server.take().map(|server| server.shutdown(Shutdown::Both));
        }
    }

    /// Says to every caller what the server did not say; at once, unless a caller reads nothing: then when it does.
    pub fn inject(&self, bytes: &[u8]) {
        for link in &self.state.lock().links {
            let sent = rustix::net::send(&link.caller, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            if let (Err(rustix::io::Errno::AGAIN), Ok(mut caller)) = (sent, link.caller.try_clone()) {
                let bytes = bytes.to_vec();
                std::thread::spawn(move || caller.write_all(&bytes));
            }
        }
    }

    /// Waits until bytes of a caller are here that do not go on.
    #[track_caller]
    pub fn until_something_is_held(&self) {
        until("something is held", || self.state.lock().links.iter().any(|link| link.held > 0).then_some(()));
    }

    fn set(&self, traffic: Traffic) {
        self.state.lock().traffic = traffic;
        self.state.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(self: &Arc<Shared>, caller: TcpStream, server: TcpStream) {
        let ends = (caller.try_clone(), server.try_clone(), caller.try_clone(), server.try_clone());
        let (Ok(from), Ok(to), Ok(back_to), Ok(back_from)) = ends else { return };
        let index = {
            let mut state = self.lock();
            state.links.push(Link { caller, server: Some(server), health: Health::Whole, held: 0 });
            state.links.len() - 1
        };
        let (one, other) = (Arc::clone(self), Arc::clone(self));
        std::thread::spawn(move || one.pass(index, Direction::ToServer, from, to));
        std::thread::spawn(move || other.pass(index, Direction::ToCaller, back_from, back_to));
    }

    fn pass(&self, index: usize, direction: Direction, mut from: TcpStream, mut to: TcpStream) {
        let _ = to.set_nodelay(true);
        let mut buffer = [0; 16 * 1024];
        loop {
            let read = from.read(&mut buffer);
            if matches!(&read, Err(error) if error.kind() == ErrorKind::Interrupted) {
                continue;
            }
            let count = read.unwrap_or(0);
            if self.wait(index, direction, count) == Health::HalfOpen {
                match (direction, count) {
                    // What the caller says is swallowed until it leaves.
                    (Direction::ToServer, 1..) => continue,
                    _ => return,
                }
            }
            if count == 0 || to.write_all(&buffer[..count]).is_err() {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        }
    }

    /// Waits until bytes may go on; says where they are.
    fn wait(&self, index: usize, direction: Direction, count: usize) -> Health {
        let mut state = self.lock();
        if direction == Direction::ToServer
            && (state.traffic == Traffic::Stands || state.links[index].health == Health::HalfOpen)
        {
            state.links[index].held += count;
        }
        // The end of a connection is told at once: it is the network that stands, not its ends.
        while count > 0 && state.traffic == Traffic::Stands && state.links[index].health == Health::Whole {
            let waited = self.changed.wait_timeout(state, Duration::from_millis(200));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.links[index].health
    }
}
