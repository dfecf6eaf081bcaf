//! Workers: threads with a runtime each. A client stays on its worker; idle backends are on the shelf of one.

use crate::app::{App, Current};
use crate::clock;
use crate::login;
use crate::pool::{Link, Pool};
use crate::relay::Sampler;
use crate::stream::Peer;
use pgwarden_config::Tcp;
use pgwarden_pool::Shelf;
use pgwarden_session::Output;
use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Bytes read at once; every worker has one buffer of this size, and no client has any.
const SCRATCH: usize = 64 * 1024;

/// How long sessions have to end when pgwarden stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a worker is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve a client.
    Serve(Accepted, Guest),
    /// Offer idle backends to those who wait elsewhere.
    Offer(Arc<Pool>),
    /// Close idle backends as long as clients of other pools wait for their places.
    MakeRoom,
    /// Answer.
    Answer(oneshot::Sender<()>),
}

/// A connection that was accepted, not yet registered with a reactor.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// TCP.
    Tcp(std::net::TcpStream, Peer),
    /// A unix socket.
    Unix(std::os::unix::net::UnixStream),
}

/// The way to all workers.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    senders: Vec<UnboundedSender<Command>>,
    guests: Arc<AtomicUsize>,
}

/// A connection, from the moment it was accepted.
#[derive(Debug)]
pub(crate) struct Guest(Arc<AtomicUsize>);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a worker owns for the time of one step.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Where bytes are read to.
    pub(crate) buffer: Box<[u8]>,
    /// What leaves.
    pub(crate) out: Output,
    /// Which wake-ups of clients are measured.
    pub(crate) from_client: Sampler,
    /// Which wake-ups of servers are measured.
    pub(crate) from_server: Sampler,
}

/// For maps by the address of what is in memory: addresses differ enough by themselves.
type ByAddress = BuildHasherDefault<AddressHasher>;

#[derive(Debug, Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_usize(&mut self, address: usize) {
        // The table takes the uppermost seven bits and the lowest ones; those of an address are always the same.
        self.0 = u64::try_from(address).unwrap_or_default().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

thread_local! {
    static HOME: Cell<usize> = const { Cell::new(usize::MAX) };
    static SHELVES: RefCell<HashMap<usize, Shelf<Link>, ByAddress>> = RefCell::default();
    static STEP: RefCell<Scratch> =
        RefCell::new(Scratch::new());
}

/// The worker that this is.
pub(crate) fn home() -> usize {
    HOME.get()
}

/// Works with this worker's idle backends of a pool.
pub(crate) fn with_shelf<R>(pool: &Pool, work: impl FnOnce(&mut Shelf<Link>) -> R) -> R {
    let key = std::ptr::from_ref(pool).addr();
    SHELVES.with_borrow_mut(|shelves| work(shelves.entry(key).or_default()))
}

/// Works with this worker's buffers; they are empty again for the next step.
pub(crate) fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    STEP.with_borrow_mut(work)
}

impl Scratch {
    fn new() -> Self {
        Self {
            buffer: vec![0; SCRATCH].into_boxed_slice(),
            out: Output::default(),
            from_client: Sampler::default(),
            from_server: Sampler::default(),
        }
    }
}

impl Workers {
    /// Channels to `count` workers, and their other ends.
    pub(crate) fn channels(count: usize) -> (Self, Vec<UnboundedReceiver<Command>>) {
        let (senders, receivers) = (0..count).map(|_| unbounded_channel()).unzip();
        (Self { senders, guests: Arc::default() }, receivers)
    }

    /// Hands a client to a worker, in turn.
    pub(crate) fn serve(&self, turn: usize, client: Accepted) {
        if let Some(sender) = self.senders.get(turn % self.senders.len().max(1)) {
            self.guests.fetch_add(1, Ordering::AcqRel);
            let _stopped = sender.send(Command::Serve(client, Guest(Arc::clone(&self.guests))));
        }
    }

    /// How many connections there are, those included that nothing is known of yet.
    pub(crate) fn guests(&self) -> usize {
        self.guests.load(Ordering::Acquire)
    }

    /// Ends when every worker has answered. Cancel safe.
    pub(crate) async fn answer(&self) {
        let ask = |sender: &UnboundedSender<Command>| {
            let (asked, answered) = oneshot::channel();
            let _stopped = sender.send(Command::Answer(asked));
            answered
        };
        let answers: Vec<_> = self.senders.iter().map(ask).collect();
        for answer in answers {
            let _answered = answer.await;
        }
    }

    /// Asks all workers but one.
    pub(crate) fn send_to_others(&self, home: usize, command: impl Fn() -> Command) {
        for (_, sender) in self.senders.iter().enumerate().filter(|(index, _)| *index != home) {
            let _stopped = sender.send(command());
        }
    }
}

/// Starts a worker.
///
/// # Errors
/// When no thread or runtime can be made.
pub(crate) fn start(
    index: usize,
    commands: UnboundedReceiver<Command>,
    current: Current,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("pgwarden-{index}")).spawn(move || {
        HOME.set(index);
        runtime.block_on(work(commands, current));
        SHELVES.with_borrow_mut(HashMap::clear);
    })
}

async fn work(commands: UnboundedReceiver<Command>, current: Current) {
    let mut commands = commands;
    let mut sessions = JoinSet::new();
    serve_all(&mut commands, &mut sessions, &current).await;
    // They have seen it too, and say goodbye.
    let farewell = async { while sessions.join_next().await.is_some() {} };
    let _overdue = tokio::time::timeout(FAREWELL, farewell).await;
}

async fn serve_all(commands: &mut UnboundedReceiver<Command>, sessions: &mut JoinSet<()>, current: &Current) {
    let shutdown = current.load().shutdown.clone();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Serve(client, guest)) => serve(client, guest, sessions, current.load_full()),
                Some(Command::Offer(pool)) => pool.share_idle(),
                Some(Command::MakeRoom) => make_room(&current.load()),
                Some(Command::Answer(asked)) => drop(asked),
                None => return,
            },
            _ = tick.tick() => {
                let (app, now) = (current.load(), clock::uptime());
                app.pools.each(|pool| pool.prune(&app, now));
            }
            Some(_) = sessions.join_next(), if !sessions.is_empty() => (),
            () = shutdown.stopped() => return,
        }
    }
}

/// Closes idle backends of this worker as long as clients of other pools wait for their places.
pub(crate) fn make_room(app: &App) {
    app.pools.each(|pool| {
        if app.pools.allowance().is_wanted() {
            pool.make_room(app);
        }
    });
}

fn serve(client: Accepted, guest: Guest, sessions: &mut JoinSet<()>, app: Arc<App>) {
    match client.register(&app.settings.tcp) {
        Ok((stream, peer)) => {
            sessions.spawn(async move {
                let _guest = guest;
                login::serve(stream, peer, app).await;
            });
        }
        Err(error) => tracing::warn!(%error, "a client could not be taken over"),
    }
}

impl Accepted {
    fn register(self, tcp: &Tcp) -> io::Result<(crate::stream::Stream, Peer)> {
        match self {
            Self::Tcp(socket, peer) => {
                socket.set_nonblocking(true)?;
                crate::stream::prepare(&SockRef::from(&socket), tcp)?;
                Ok((crate::stream::Stream::Tcp(tokio::net::TcpStream::from_std(socket)?), peer))
            }
            Self::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Ok((crate::stream::Stream::Unix(tokio::net::UnixStream::from_std(socket)?), Peer::Local))
            }
        }
    }
}
