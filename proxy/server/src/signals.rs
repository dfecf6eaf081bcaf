//! How the process is told to stop: first to drain, then to leave at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How far the process is on its way out; it only ever moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Clients are served.
    Running,
    /// Another process takes the new clients. Those who are here finish what they have begun, or begin what they came
    /// for, and are told to go.
    HandingOver,
    /// No new clients; running transactions finish.
    Draining,
    /// Everything ends now.
    Stopped,
}

/// The phase, shared by every task on every runtime.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sender: watch::Sender<Phase>,
    /// Whether anything has been said: sessions look here at each wake-up, without a lock.
    begun: AtomicBool,
    /// Whether another process has taken over, however far this one is by now.
    handed_over: AtomicBool,
}

impl Shutdown {
    /// A process that runs.
    pub(crate) fn new() -> Self {
        let (begun, handed_over) = (AtomicBool::new(false), AtomicBool::new(false));
        Self(Arc::new(Shared { sender: watch::Sender::new(Phase::Running), begun, handed_over }))
    }

    /// The phase now.
    pub(crate) fn phase(&self) -> Phase {
        *self.0.sender.borrow()
    }

    /// Whether the process is still in no other phase than the first. Cheap.
    pub(crate) fn is_running(&self) -> bool {
        !self.0.begun.load(Ordering::Acquire)
    }

    /// The phase, for one who waits for it beside other things.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Phase> {
        self.0.sender.subscribe()
    }

    /// Another process has taken over.
    pub(crate) fn hand_over(&self) {
        self.0.handed_over.store(true, Ordering::Release);
        self.advance(Phase::HandingOver);
    }

    /// Whether another process has taken over.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.0.handed_over.load(Ordering::Acquire)
    }

    /// Starts to drain, unless that has happened.
    pub(crate) fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Stops at once.
    pub(crate) fn stop(&self) {
        self.advance(Phase::Stopped);
    }

    /// Ends when the process is further than that. Cancel safe.
    pub(crate) async fn passed(&self, phase: Phase) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.subscribe().wait_for(|now| *now > phase).await;
    }

    /// Ends when the process takes no new clients any more. Cancel safe.
    pub(crate) async fn leaving(&self) {
        self.reached(Phase::HandingOver).await;
    }

    /// Ends when another process has taken over, or this one stops. Cancel safe.
    pub(crate) async fn handed_over_or_stopped(&self) {
        let is_over = |phase: &Phase| *phase == Phase::Stopped || self.is_handed_over();
        let _ = self.subscribe().wait_for(is_over).await;
    }

    /// Ends when the process drains or stops. Cancel safe.
    pub(crate) async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Ends when the process stops. Cancel safe.
    pub(crate) async fn stopped(&self) {
        self.reached(Phase::Stopped).await;
    }

    /// Takes over SIGTERM and SIGINT; the future, which the caller spawns, drains at the first one and stops at the
    /// second. Cancelling it ignores both from then on.
    ///
    /// # Errors
    ///
    /// Whatever stops the handlers from being installed. Must be called inside a runtime.
    pub(crate) fn on_signals(&self) -> io::Result<impl Future<Output = ()> + Send + use<>> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        Ok(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if shutdown.phase() < Phase::Draining {
                    tracing::info!(signal = name, "draining: no new clients, running transactions finish");
                    shutdown.drain();
                } else {
                    tracing::warn!(signal = name, "stopping at once");
                    shutdown.stop();
                    return;
                }
            }
        })
    }

    /// A file that has reached the limit of sizes (`ulimit -f`) is an error of whoever writes it, and not the end of the
    /// process. PostgreSQL ignores SIGXFSZ likewise.
    ///
    /// # Errors
    ///
    /// Whatever stops the handler from being installed. Must be called inside a runtime.
    pub(crate) fn outlive_file_limits() -> io::Result<()> {
        // The handler stays when this is dropped.
        signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
    }

    fn advance(&self, next: Phase) {
        self.0.begun.store(true, Ordering::Release);
        self.0.sender.send_if_modified(|phase| {
            let forward = *phase < next;
            *phase = next.max(*phase);
            forward
        });
    }

    async fn reached(&self, phase: Phase) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.subscribe().wait_for(|now| *now >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn phases_only_move_forward() {
        let shutdown = Shutdown::new();
        assert_eq!(shutdown.phase(), Phase::Running);
        shutdown.stop();
        shutdown.drain();
        assert_eq!(shutdown.phase(), Phase::Stopped);
    }

    #[tokio::test]
    async fn everybody_who_waits_hears_of_it() {
        let shutdown = Shutdown::new();
        let other = shutdown.clone();
        let waiting = tokio::spawn(async move {
            other.draining().await;
            other.stopped().await;
        });
        shutdown.drain();
        shutdown.draining().await;
        assert!(!waiting.is_finished());
        shutdown.stop();
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn the_first_signal_drains_and_the_second_stops() {
        let shutdown = Shutdown::new();
        let signals = tokio::spawn(shutdown.on_signals().unwrap());
        let send = |name: &str| {
            let status = Command::new("kill").args([name, &std::process::id().to_string()]).status();
            assert!(status.unwrap().success());
        };
        send("-TERM");
        shutdown.draining().await;
        assert_eq!(shutdown.phase(), Phase::Draining);
        send("-INT");
        shutdown.stopped().await;
        signals.await.unwrap();
    }
}
