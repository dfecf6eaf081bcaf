//! The life of a session after login: what the relay cannot do by itself, and the end.

use crate::app::App;
use crate::cancel::BackendKey;
use crate::clock;
use crate::meters::CloseReason;
use crate::pool::{AcquireError, Link, Pool};
use crate::relay::deadlines::{Deadlines, Doing, Overdue};
use crate::relay::{Event, Relay, Resume, TERMINATE};
use crate::signals::{Phase, Shutdown};
use crate::stream::Stream;
use crate::upstream::Server;
use pgwarden_session::{Health, Refusal};
use pgwarden_wire::{Severity, Writer};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a client has to take its last words.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long a cancel may take to be heard of, before it is sent again.
const PATIENCE: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(500), Duration::from_secs(5)];

/// A cancel that comes before the statement has begun is lost: it is sent again until the server says that it has
/// cancelled something, or goes away. That it does once it has nothing to run: no block stays open behind a statement
/// that ended by itself.
async fn insist(mut stream: Stream, server: &Server, key: &BackendKey) {
    let _broken = tokio::time::timeout(LAST_WORDS, stream.shutdown()).await;
    for patience in PATIENCE {
        if tokio::time::timeout(patience, cancelled_or_gone(&mut stream)).await.is_ok() {
            return;
        }
        let _undelivered = server.cancel(key).await;
    }
}

/// Ends when the server reports 57014, or nothing more comes.
async fn cancelled_or_gone(stream: &mut Stream) {
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let read = buffer.get(..length).unwrap_or_default();
        if read.windows(7).any(|field| field == b"C57014\0") {
            return;
        }
    }
}

/// Serves a session until it ends. Dropping the future closes both connections.
pub(crate) async fn run(relay: Box<Relay>) {
    let mut relay = relay;
    let shutdown = relay.app.shutdown.clone();
    let mut deadlines = Deadlines::new(&relay.app.settings.limits);
    let event = loop {
        let phase = shutdown.phase();
        if phase == Phase::Stopped {
            break Event::Refused(shutting_down());
        }
        let event = match relay.until_needed(&shutdown, phase, &mut deadlines).await {
            Wake::Event(event) => event,
            Wake::Phase => continue,
            Wake::Look => match relay.overdue(&mut deadlines) {
                Some(event) => event,
                None => continue,
            },
        };
        // What is rare has its room to itself, for its time: most sessions are idle most of the time.
        let handled = tokio::select! {
            handled = Box::pin(relay.handle(event)) => handled,
            () = shutdown.stopped() => continue,
        };
        if let Err(event) = handled {
            break event;
        }
    };
    Box::pin(relay.end(event)).await;
}

/// Whether a future has been polled, so that it will wake the task.
#[derive(PartialEq, Eq)]
enum Asked {
    Never,
    Once,
}

/// Why the session's loop goes round.
enum Wake {
    /// The relay needs something, or is at its end.
    Event(Event),
    /// pgwarden begins to drain, or stops.
    Phase,
    /// It is time to look at the limits.
    Look,
}

impl Relay {
    /// Works until something else is needed. What is rare is asked for once, which leaves a waker, and then only when
    /// it has happened: a wake-up is nearly always one of the sockets'.
    async fn until_needed(&mut self, shutdown: &Shutdown, phase: Phase, deadlines: &mut Deadlines) -> Wake {
        let mut passed = pin!(shutdown.passed(phase));
        let mut asked = Asked::Never;
        poll_fn(|cx| {
            if let Poll::Ready(event) = self.poll_unless_idle(phase, cx) {
                return Poll::Ready(Wake::Event(event));
            }
            if asked == Asked::Never || !shutdown.is_running() {
                asked = Asked::Once;
                if passed.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Wake::Phase);
                }
            }
            deadlines.poll_tick(cx).map(|()| Wake::Look)
        })
        .await
    }

    /// As [`Relay::poll`]; while pgwarden drains, a session that is idle ends.
    fn poll_unless_idle(&mut self, phase: Phase, cx: &mut Context<'_>) -> Poll<Event> {
        match self.poll(cx) {
            Poll::Pending if self.has_to_go(phase) && self.engine.is_idle() => {
                Poll::Ready(Event::Refused(shutting_down()))
            }
            other => other,
        }
    }

    /// What the session does, for its limits.
    fn doing(&self) -> Doing {
        match self.engine.awaited() {
            Some(place) => Doing::Running(place),
            None if self.engine.is_idle() => Doing::Idle(self.steps),
            None => Doing::IdleInTransaction(self.steps),
        }
    }

    /// The end of the session, if it has passed one of its limits; a statement that has is cancelled first.
    fn overdue(&self, deadlines: &mut Deadlines) -> Option<Event> {
        Some(Event::Refused(match deadlines.look(self.doing(), Instant::now())? {
            Overdue::Idle => {
                Refusal::new("57P05", "terminating connection due to idle-session timeout", "", "")
            }
            Overdue::IdleInTransaction => {
                Refusal::new("25P03", "terminating connection due to idle-in-transaction timeout", "", "")
            }
            Overdue::Stuck => Refusal::new(
                "57014",
                "terminating connection due to statement timeout",
                "The server did not act on a cancel.",
                "",
            ),
            Overdue::Statement => {
                let (app, key) = (Arc::clone(&self.app), self.registration.key());
                tokio::spawn(async move { app.meters.cancel(app.cancels.cancel(&key).await) });
                return None;
            }
        }))
    }

    /// Whether an idle session is told to go. Who came just before another process took over may begin first.
    fn has_to_go(&self, phase: Phase) -> bool {
        match phase {
            Phase::Running => false,
            Phase::HandingOver => self.has_spoken,
            Phase::Draining | Phase::Stopped => true,
        }
    }

    /// Sees to what the relay needs; an event that ends the session comes back.
    async fn handle(&mut self, event: Event) -> Result<(), Event> {
        match event {
            Event::Backend => {
                self.presence.waits(clock::uptime());
                self.resume = self.wait_for_backend().await?;
            }
            Event::Releasing => self.registration.target.finished().await,
            Event::Held => self.app.holds.passed(&self.pool.key.database).await,
            Event::Question(text) => {
                self.answer(text).await;
                self.resume = Resume::Input;
            }
            ending => return Err(ending),
        }
        Ok(())
    }

    /// Finds out what the tenancy has to know before it can decide about `text`.
    async fn answer(&mut self, text: Vec<u8>) {
        match self.engine.tenancy().question() {
            Some(evidence) => {
                self.spare_backend();
                let found = self.app.identities.resolve(&evidence).await;
                self.engine.tenancy().answered(evidence, found);
            }
            None => self.app.parser.look_at(text, &self.app.tenancy.guard).await,
        }
    }

    /// Waits for a backend, unless the client gives up first.
    async fn wait_for_backend(&mut self) -> Result<Resume, Event> {
        let (pool, app, target) =
            (Arc::clone(&self.pool), Arc::clone(&self.app), Arc::clone(&self.registration.target));
        let declined = tokio::select! {
            biased;
            gone = poll_fn(|cx| self.poll_waiting(cx)) => return Err(gone),
            () = target.cancelled() => Box::new(cancelled_while_waiting()),
            acquired = acquire_unheld(&pool, &app) => match acquired {
                Ok(link) => return Ok(Resume::Attach(Box::new(link))),
                Err(AcquireError::Exhausted(refusal)) => refusal,
                Err(AcquireError::Upstream(error)) => return Err(Event::Refused(error.refusal())),
            },
        };
        self.presence.rests(clock::uptime());
        self.engine.decline(declined);
        Ok(Resume::Input)
    }

    async fn end(mut self: Box<Self>, event: Event) {
        match event {
            Event::Failed(error) => {
                if error.sqlstate() == "08006" {
                    self.app.meters.desync();
                    tracing::error!(%error, "the server's replies do not fit what was sent");
                }
                self.say_goodbye(&error.refusal()).await;
            }
            Event::Refused(refusal) => self.say_goodbye(&refusal).await,
            Event::BackendGone => {
                self.link = None;
                self.app.meters.backend_closed(CloseReason::Lost);
                if self.engine.has_ended() {
                    self.deliver().await;
                } else {
                    self.say_goodbye(&lost()).await;
                }
            }
            Event::ClientGone => self.client.say_end(),
            _ => (),
        }
        self.let_go().await;
    }

    /// Tells the client why the session ends, unless that would become a part of a row it has not all of.
    async fn say_goodbye(&mut self, refusal: &Refusal) {
        if !self.engine.is_mid_reply() {
            self.app.meters.errors(&[refusal.class()]);
            refusal.write(Severity::Fatal, &mut Writer::new(self.to_client.bytes()));
        }
        self.deliver().await;
    }

    /// Sees off what the client has not taken yet, and closes its connection.
    async fn deliver(&mut self) {
        let (pending, client) = (&mut self.to_client, &mut self.client);
        let written = poll_fn(|cx| match pending.resume(client, cx) {
            Ok(_) if !pending.is_empty() => Poll::Pending,
            done => Poll::Ready(done.map(drop)),
        });
        if let Ok(Ok(())) = tokio::time::timeout(LAST_WORDS, written).await {
            let _closed =
                tokio::time::timeout(LAST_WORDS, tokio::io::AsyncWriteExt::shutdown(&mut self.client)).await;
        }
    }

    /// Parts with the backend: a clean one goes back, one that still works for this client is told to stop.
    async fn let_go(mut self: Box<Self>) {
        self.app.meters.activity(self.engine.take_activity());
        let busy = !self.engine.is_idle() || !self.to_backend.is_empty();
        let (Some(mut link), Some(state)) = (self.link.take(), self.engine.detach()) else { return };
        let sound = state.health == Health::Sound && !busy && self.engine.shares_backends();
        if sound {
            self.registration.target.finished().await;
            link.state = Some(state);
            let pool = Arc::clone(&self.pool);
            pool.give_back(&self.app, link, clock::uptime());
            return;
        }
        self.app.meters.backend_closed(CloseReason::Tainted);
        if self.to_backend.is_empty() && !self.engine.awaits_replies() {
            // A connection that just ends in a block is worth a line in the server's log.
            let _gone = tokio::time::timeout(LAST_WORDS, link.stream.write_all(TERMINATE)).await;
        }
        if busy && self.engine.awaits_replies() {
            let _undelivered = link.target.server.cancel(&link.key).await;
            let Link { stream, key, target, .. } = link;
            let closing = self.pool.closing.one();
            tokio::spawn(async move {
                insist(stream, &target.server, &key).await;
                drop(closing);
            });
        }
    }
}

/// A backend, as soon as the database's traffic is not held any more. Cancel safe.
async fn acquire_unheld(pool: &Arc<Pool>, app: &App) -> Result<Link, AcquireError> {
    app.holds.passed(&pool.key.database).await;
    pool.acquire(app).await
}

fn shutting_down() -> Refusal {
    Refusal::new(
        "57P01",
        "terminating connection because pgwarden is shutting down",
        "",
        "Open a new connection; another instance takes it, or this one after its restart.",
    )
}

fn cancelled_while_waiting() -> Refusal {
    Refusal::new(
        "57014",
        "canceling statement due to user request",
        "The statement waited for a backend of the pool, and has not been run.",
        "",
    )
}

fn lost() -> Refusal {
    Refusal::new(
        "08006",
        "the connection to the database server was lost",
        "It is not known whether the transaction that was running has been committed.",
        "Open a new connection and look before you repeat it.",
    )
}
