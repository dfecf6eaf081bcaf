//! The running process: offers its sockets, and leaves once another one serves.

use crate::cancel::Registry;
use crate::listen::{Listener, SocketFile};
use crate::meters::Label;
use crate::signals::Shutdown;
use crate::takeover::address::{Door, DoorFile};
use crate::takeover::heir::read_cancel;
use crate::takeover::message::{LONGEST, Line, MOST, Role, send};
use crate::takeover::{GREETING, trusted};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::{UnixListener, UnixStream};

/// How long a new process may take until it serves: it logs in to the server meanwhile.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a process that serves may take until it can be found itself.
const MOVE: Duration = Duration::from_secs(10);

/// How long to wait when the system has no more file descriptors.
const BREATHER: Duration = Duration::from_millis(100);

/// What can be handed over.
#[derive(Debug, Default)]
pub(crate) struct Estate(Vec<Item>);

#[derive(Debug)]
struct Item {
    line: Line,
    socket: OwnedFd,
    file: Option<Arc<SocketFile>>,
}

impl Estate {
    /// Adds a socket for clients.
    ///
    /// # Errors
    /// When the system has no more file descriptors.
    pub(crate) fn add(&mut self, listener: &Listener) -> io::Result<()> {
        let (address, file) = (listener.endpoint.to_string(), listener.file());
        let role = if file.is_some() { Role::Owned } else { Role::Lent };
        self.push(Item { line: Line { role, address }, socket: listener.descriptor()?, file })
    }

    /// Adds the admin listener, which the settings call by this address.
    ///
    /// # Errors
    /// When the system has no more file descriptors.
    pub(crate) fn add_admin(&mut self, listener: &TcpListener, address: String) -> io::Result<()> {
        let socket = listener.as_fd().try_clone_to_owned()?;
        self.push(Item { line: Line { role: Role::Admin, address }, socket, file: None })
    }

    fn push(&mut self, item: Item) -> io::Result<()> {
        if self.0.len() == MOST {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets for a takeover"));
        }
        self.0.push(item);
        Ok(())
    }
}

/// Offers the estate to whoever comes to the door, until one of them serves; then tells `shutdown`, and a task of its
/// own passes on what it is asked to cancel. Ends when that process has a door: who stands at this one meanwhile is sent
/// away and comes there. Must be called inside a runtime.
///
/// # Errors
/// When the door cannot be registered with the reactor.
pub(crate) fn leave(
    door: Door,
    estate: Estate,
    shutdown: Shutdown,
    cancels: Arc<Registry>,
) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    let (listener, mut file) = door.into_parts();
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    Ok(async move {
        if let Some(heir) = until_taken(&listener, &mut file, estate, &shutdown).await {
            tokio::spawn(async move { answer_cancels(heir, &cancels).await });
            let _never = tokio::time::timeout(MOVE, file.replaced()).await;
        }
        drop(listener);
    })
}

async fn until_taken(
    listener: &UnixListener,
    file: &mut DoorFile,
    estate: Estate,
    shutdown: &Shutdown,
) -> Option<BufReader<UnixStream>> {
    loop {
        let offered = tokio::select! {
            offered = accept(listener, &estate) => offered,
            () = shutdown.draining() => return None,
        };
        let (mut heir, kept) = match offered {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(%error, "another process wanted to take over and did not; this one goes on");
                tokio::time::sleep(BREATHER).await;
                continue;
            }
        };
        for item in kept.iter().filter_map(|index| estate.0.get(*index)) {
            item.file.iter().for_each(|file| file.hand_over());
        }
        file.hand_over();
        tracing::info!("another process has taken over: no new clients, running transactions finish");
        shutdown.hand_over();
        // The sockets and their copies are closed by now, or will be before the other process hears of it.
        drop(estate);
        let _gone = heir.get_mut().write_all(b"leaving\n").await;
        return Some(heir);
    }
}

/// One process that wants to take over; returns which sockets it uses.
async fn accept(listener: &UnixListener, estate: &Estate) -> io::Result<(BufReader<UnixStream>, Vec<usize>)> {
    let (heir, _) = listener.accept().await?;
    trusted(&heir)?;
    tokio::time::timeout(PATIENCE, offer(heir, estate)).await?
}

async fn offer(heir: UnixStream, estate: &Estate) -> io::Result<(BufReader<UnixStream>, Vec<usize>)> {
    let lines: String = estate.0.iter().map(|item| item.line.written()).collect();
    let text = format!("{GREETING}\n{lines}\n");
    let descriptors: Vec<BorrowedFd<'_>> = estate.0.iter().map(|item| item.socket.as_fd()).collect();
    let sent = heir.async_io(Interest::WRITABLE, || send(&heir, text.as_bytes(), &descriptors)).await?;
    let mut heir = BufReader::new(heir);
    heir.get_mut().write_all(text.as_bytes().get(sent..).unwrap_or_default()).await?;
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    let mut line = String::new();
    (&mut heir).take(limit).read_line(&mut line).await?;
    let kept = line.strip_suffix('\n').and_then(|line| line.strip_prefix("serving"));
    let kept = kept.ok_or(io::ErrorKind::UnexpectedEof)?;
    let kept = kept.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>();
    Ok((heir, kept.map_err(|_| io::ErrorKind::InvalidData)?))
}

/// Cancels of clients of this process that reach the other one.
async fn answer_cancels(mut heir: BufReader<UnixStream>, cancels: &Registry) {
    let mut line = String::new();
    while let Ok(1..) = heir.read_line(&mut line).await {
        let Some(key) = read_cancel(&line) else { return };
        let outcome = cancels.cancel(&key).await;
        if heir.get_mut().write_all(format!("{}\n", outcome.label()).as_bytes()).await.is_err() {
            return;
        }
        line.clear();
    }
}
