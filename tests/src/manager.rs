//! A service manager, as far as a service sees it: the socket that it reports to.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;

use crate::directory::Directory;
use crate::wait::{DEADLINE, until};

/// Where a service reports to (`NOTIFY_SOCKET`).
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    heard: Mutex<Vec<String>>,
    directory: Directory,
}

impl Manager {
    /// One that has heard nothing yet.
    #[track_caller]
    pub fn listen() -> Manager {
        let directory = Directory::create("manager");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a socket can be bound");
        socket.set_read_timeout(Some(DEADLINE)).expect("a socket has this option");
        Manager { socket, heard: Mutex::default(), directory }
    }

    /// The path of the socket.
    pub fn path(&self) -> String {
        self.directory.path().join("notify").to_string_lossy().into_owned()
    }

    /// Waits for a message with this line, and returns the whole message; those before it are forgotten.
    #[track_caller]
    pub fn until_told(&self, line: &str) -> String {
        until(&format!("the service manager is told {line}"), || {
            let message = self.next().unwrap_or_else(|| panic!("never told {line}, but {:?}", self.heard));
            message.lines().any(|told| told.starts_with(line)).then_some(message)
        })
    }

    /// All that was heard so far.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("nobody panics with it").clone()
    }

    fn next(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        match self.socket.recv(&mut buffer) {
            Ok(length) => {
                let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
                self.heard.lock().expect("nobody panics with it").push(message.clone());
                Some(message)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("the service manager's socket: {error}"),
        }
    }
}
