//! What is said in a takeover: lines, and with the first ones the sockets.

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The most sockets that one message can carry (`SCM_MAX_FD`, unix(7)).
pub(super) const MOST: usize = 253;

/// The longest text that is believed, in bytes.
pub(super) const LONGEST: usize = 64 * 1024;

/// What a socket is for, and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// What it is for.
    pub(super) role: Role,
    /// Where it listens, as the settings write it.
    pub(super) address: String,
}

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// For clients; the running process does not remove its file at the end.
    Lent,
    /// For clients; its file is removed at the end by whoever has it last.
    Owned,
    /// For health checks and metrics.
    Admin,
}

impl Role {
    const ALL: [(Self, &str); 3] = [(Self::Lent, "lent"), (Self::Owned, "owned"), (Self::Admin, "admin")];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(role, _)| *role == self).map_or("", |(_, word)| word)
    }
}

impl Line {
    /// As it is sent.
    pub(super) fn written(&self) -> String {
        format!("{} {}\n", self.role.word(), self.address)
    }

    /// As it is received.
    pub(super) fn read(line: &str) -> Option<Self> {
        let (word, address) = line.split_once(' ')?;
        let (role, _) = Role::ALL.into_iter().find(|(_, known)| *known == word)?;
        Some(Self { role, address: address.to_owned() })
    }
}

/// Sends text together with descriptors, as far as the socket takes it at once; returns how many bytes it took.
///
/// # Errors
/// When it cannot be sent, or not yet.
pub(super) fn send(socket: impl AsFd, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets for a takeover"));
    }
    Ok(sendmsg(socket, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)?)
}

/// Reads until an empty line, and the descriptors that come with it.
///
/// # Errors
/// When the other side hangs up, says too much, or is silent for longer than the socket's timeout.
pub(super) fn receive(socket: impl AsFd) -> io::Result<(String, Vec<OwnedFd>)> {
    let (mut text, mut descriptors) = (Vec::new(), Vec::new());
    while !text.ends_with(b"\n\n") {
        let mut buffer = [0; 4096];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received =
            recvmsg(&socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC);
        let length = match received {
            Err(Errno::INTR) => continue,
            received => received?.bytes,
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        text.extend_from_slice(buffer.get(..length).unwrap_or_default());
        if length == 0 || text.len() > LONGEST {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let text = String::from_utf8(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((text, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_line_reads_back_as_it_was_written() {
        for (role, address) in
            [(Role::Owned, "/run/pg warden:6432"), (Role::Lent, "[::1]:1"), (Role::Admin, "h:2")]
        {
            let line = Line { role, address: address.to_owned() };
            assert_eq!(Line::read(line.written().trim_end_matches('\n')), Some(line));
        }
        for odd in ["", "owned", "stolen h:1", "ownedh:1"] {
            assert_eq!(Line::read(odd), None);
        }
    }

    #[test]
    fn sockets_arrive_as_what_they_are() {
        let (here, there) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        send(&here, b"a\n", &[listener.as_fd()]).unwrap();
        send(&here, b"b\n\n", &[]).unwrap();
        let (text, mut descriptors) = receive(&there).unwrap();
        let received = TcpListener::from(descriptors.pop().unwrap());
        assert_eq!((text.as_str(), descriptors.len()), ("a\nb\n\n", 0));
        assert_eq!(received.local_addr().unwrap(), listener.local_addr().unwrap());
    }

    #[test]
    fn who_hangs_up_or_says_too_much_is_not_waited_for() {
        let (here, there) = UnixStream::pair().unwrap();
        send(&here, b"half", &[]).unwrap();
        drop(here);
        assert_eq!(receive(&there).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let (here, there) = UnixStream::pair().unwrap();
        let talking = std::thread::spawn(move || while send(&here, &[b'x'; 4096], &[]).is_ok() {});
        assert!(receive(&there).is_err());
        drop(there);
        talking.join().unwrap();
    }
}
