//! What the service manager is told (`sd_notify(3)`). Where there is none, nothing; and that it does not listen changes
//! nothing.

use crate::worker::Workers;
use sd_notify::NotifyState;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// The status while clients are served.
pub(crate) const SERVING: &str = "serving clients";

/// Clients are served, or again after a reload.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// This process has taken over from another one, which was the service manager's until now.
pub(crate) fn succeeded() {
    let pid = NotifyState::MainPid(std::process::id());
    tell(&[pid, NotifyState::Ready, NotifyState::Status(SERVING)]);
}

/// The configuration is read again; [`ready`] ends that.
pub(crate) fn reloading() {
    // Type=notify-reload wants to know when, on the clock of the machine's start.
    let now = NotifyState::monotonic_usec_now().ok();
    let state = [NotifyState::Reloading, NotifyState::Status("reading the configuration again")];
    tell(&state.into_iter().chain(now).collect::<Vec<_>>());
}

/// No new clients; that can take so long.
pub(crate) fn stopping(patience: Duration) {
    let patience = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("draining: running transactions finish"),
        NotifyState::ExtendTimeoutUsec(patience),
    ]);
}

/// Says that all workers are alive, as often as the service manager wants to hear it; for ever. Ends at once where it
/// does not.
pub(crate) async fn keep_watchdog_calm(workers: Arc<Workers>) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = interval((patience / 3).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match timeout(patience, workers.answer()).await {
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(_) => tracing::error!("a worker does not answer"),
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}
