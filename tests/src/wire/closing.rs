//! How a connection ends: with an error and nothing behind it.

use std::io::{ErrorKind, Write as _};

use super::message::Fields;
use super::{Frontend, Message, Wire};

impl Wire {
    /// Breaks the connection: what the other side reads next is a reset.
    pub fn reset(self) {
        let at_once = Some(std::time::Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&self.socket, at_once).expect("a TCP socket has this option");
    }

    /// Sends messages; false when the other side takes no more.
    pub fn try_send(&mut self, messages: &Frontend) -> bool {
        self.stream.write_all(messages.bytes()).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Sends what ends a session: the FATAL error that comes back before anything else. See [`Wire::ended`].
    #[track_caller]
    pub fn fatal(&mut self, messages: &Frontend) -> Fields {
        self.send(messages);
        let before = self.ended();
        let (fatal, others) = before.split_last().expect("the end comes with an error");
        assert_eq!(others, [], "in front of {fatal:?}");
        assert_eq!((fatal.tag, fatal.fields().severity()), (b'E', "FATAL"), "{fatal:?}");
        fatal.fields()
    }

    /// Everything up to the end of the connection, which has to come by itself: silence is not an end.
    #[track_caller]
    pub fn ended(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            match self.try_receive() {
                Ok(Some(message)) => messages.push(message),
                // Closed with bytes of ours unread: the kernel says so with a reset.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return messages,
                Ok(None) => return messages,
                Err(error) => panic!("still open after {messages:?}: {error}"),
            }
        }
    }

    /// Every byte up to the end of the connection.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        loop {
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return std::mem::take(&mut self.buffer),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return std::mem::take(&mut self.buffer);
                }
                Err(error) => panic!("still open: {error}"),
            }
        }
    }
}
