//! The new process: gets the sockets, says that it serves, and passes cancels on.

use crate::cancel::ClientKey;
use crate::listen::{Listener, Socket};
use crate::meters::{CancelOutcome, Label};
use crate::takeover::message::{Line, Role, receive};
use crate::takeover::{GREETING, trusted};
use pgwarden_config::Endpoint;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

/// How long the running process may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take until it says something: another one may be about to take over, and has its time for that.
const TURN: Duration = Duration::from_secs(150);

/// How long to wait before it is looked for again.
const BREATHER: Duration = Duration::from_millis(20);

/// The process that runs already, and the sockets that it offers.
#[derive(Debug)]
pub(crate) struct Predecessor {
    socket: UnixStream,
    offers: Vec<(Line, Option<OwnedFd>)>,
}

/// A cancel for the predecessor, and where the answer goes.
type Question = (ClientKey, oneshot::Sender<CancelOutcome>);

/// The way to a predecessor that drains, for cancels of its clients.
#[derive(Debug, Clone)]
pub(crate) struct Cancels(mpsc::UnboundedSender<Question>);

impl Predecessor {
    /// Connects to the process that runs already, if there is one. Where another one takes over at the same time, it is
    /// that one, as soon as it serves. This blocks.
    ///
    /// # Errors
    /// When there is one that cannot be trusted, or that says something else, or nothing.
    pub(crate) fn find(path: &Path) -> io::Result<Option<Self>> {
        let start = Instant::now();
        loop {
            match Self::ask(path) {
                Err(error) if hung_up(&error) && start.elapsed() < TURN => std::thread::sleep(BREATHER),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"));
                }
                found => return found,
            }
        }
    }

    fn ask(path: &Path) -> io::Result<Option<Self>> {
        let socket = match UnixStream::connect(path) {
            Ok(socket) => socket,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        trusted(&socket)?;
        socket.set_read_timeout(Some(TURN))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let (text, descriptors) = receive(&socket)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut lines = text.lines();
        let greeting = lines.next();
        let offers: Option<Vec<Line>> = lines.take_while(|line| !line.is_empty()).map(Line::read).collect();
        match offers {
            Some(offers) if greeting == Some(GREETING) && offers.len() == descriptors.len() => {
                let offers = offers.into_iter().zip(descriptors.into_iter().map(Some)).collect();
                Ok(Some(Self { socket, offers }))
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the running process offers no takeover")),
        }
    }

    /// Its socket for clients at this endpoint, if it has one.
    pub(crate) fn clients(&mut self, endpoint: &Endpoint) -> Option<Listener> {
        let (role, descriptor) = self.take(&endpoint.to_string(), |role| role != Role::Admin)?;
        let socket = match endpoint {
            Endpoint::Tcp(..) => Socket::Tcp(descriptor.into()),
            Endpoint::Unix { .. } => Socket::Unix(descriptor.into()),
        };
        let listener = Listener::taken_over(endpoint, socket);
        Some(if role == Role::Owned { listener } else { listener.lent() })
    }

    /// Its admin listener at this address, if it has one.
    pub(crate) fn admin(&mut self, address: &str) -> Option<TcpListener> {
        self.take(address, |role| role == Role::Admin).map(|(_, descriptor)| descriptor.into())
    }

    fn take(&mut self, address: &str, fits: impl Fn(Role) -> bool) -> Option<(Role, OwnedFd)> {
        let (line, descriptor) = self
            .offers
            .iter_mut()
            .find(|(line, descriptor)| line.address == address && fits(line.role) && descriptor.is_some())?;
        Some((line.role, descriptor.take()?))
    }

    /// Says that this process serves; the running one takes no new clients from then on. This blocks.
    ///
    /// # Errors
    /// When the running one has not understood.
    pub(crate) fn succeed(self) -> io::Result<Leaving> {
        let kept = self.offers.iter().enumerate().filter(|(_, (_, descriptor))| descriptor.is_none());
        let kept: String = kept.map(|(index, _)| format!(" {index}")).collect();
        (&self.socket).write_all(format!("serving{kept}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(&self.socket).read_line(&mut answer)?;
        match answer.as_str() {
            "leaving\n" => Ok(Leaving(self.socket)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the running process does not leave")),
        }
    }
}

/// A predecessor that takes no new clients.
#[derive(Debug)]
pub(crate) struct Leaving(UnixStream);

impl Leaving {
    /// The way for cancels, until it has left. Must be called inside a runtime.
    ///
    /// # Errors
    /// When the socket cannot be registered.
    pub(crate) fn cancels(self) -> io::Result<Cancels> {
        self.0.set_nonblocking(true)?;
        let socket = tokio::net::UnixStream::from_std(self.0)?;
        let (sender, questions) = mpsc::unbounded_channel();
        tokio::spawn(pass_on(socket, questions));
        Ok(Cancels(sender))
    }
}

impl Cancels {
    /// Asks the predecessor to cancel; `Unknown` when it does not know the key either, or has left. Cancel safe.
    pub(crate) async fn cancel(&self, key: &ClientKey) -> CancelOutcome {
        let (sender, answer) = oneshot::channel();
        let _left = self.0.send((key.clone(), sender));
        answer.await.unwrap_or(CancelOutcome::Unknown)
    }
}

/// Whether the running process has gone without a word, because it has left or another one has taken over.
fn hung_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// One after the other, until the predecessor has left.
async fn pass_on(socket: tokio::net::UnixStream, mut questions: mpsc::UnboundedReceiver<Question>) {
    let mut socket = tokio::io::BufReader::new(socket);
    let mut line = String::new();
    loop {
        line.clear();
        let (key, answer) = tokio::select! {
            // It has nothing to say unless it is asked: this is its end.
            _ = socket.read_line(&mut line) => break,
            question = questions.recv() => match question {
                Some(question) => question,
                None => break,
            },
        };
        let asked = socket.get_mut().write_all(written(&key).as_bytes()).await;
        line.clear();
        if asked.is_err() || !matches!(socket.read_line(&mut line).await, Ok(1..)) {
            break;
        }
        let outcome = CancelOutcome::ALL.iter().find(|outcome| outcome.label() == line.trim_end());
        let _gone = answer.send(outcome.copied().unwrap_or(CancelOutcome::Unknown));
    }
    tracing::info!("the process before this one has left");
}

/// A cancel as a line.
fn written(key: &ClientKey) -> String {
    let secret: String = key.secret.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("cancel {} {secret}\n", key.pid)
}

/// A cancel as it was written.
pub(super) fn read_cancel(line: &str) -> Option<ClientKey> {
    let (pid, secret) = line.trim_end().strip_prefix("cancel ")?.split_once(' ')?;
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let secret = secret.as_bytes().chunks(2).map(byte).collect::<Option<_>>()?;
    Some(ClientKey { pid: pid.parse().ok()?, secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_reads_back_as_it_was_written() {
        let key = ClientKey { pid: 4_000_000_000, secret: vec![0, 15, 16, 255] };
        assert_eq!(written(&key), "cancel 4000000000 000f10ff\n");
        assert_eq!(read_cancel(&written(&key)), Some(key));
        for odd in ["", "cancel", "cancel 1", "cancel x 00", "cancel 1 0g", "stop 1 00"] {
            assert_eq!(read_cancel(odd), None, "{odd}");
        }
    }
}
