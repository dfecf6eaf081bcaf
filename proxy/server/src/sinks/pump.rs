//! From the files to one sink: batch by batch, again and again until each is delivered.

use super::cursor::{Cursor, CursorFile};
use super::entry::Entry;
use super::failure::{Class, Failure};
use super::follow::{Batch, Follower};
use super::state::SinkState;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often the files are looked at while there is nothing to deliver.
const LOOK: Duration = Duration::from_millis(200);
/// How often the cursor is written while there is more to deliver.
const MARK: Duration = Duration::from_secs(1);
/// How long the first pause behind a failure is; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// How long a pause is at most, unless the other side asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How many batches are held while nobody has taken anything, to find one that is taken.
const ROOM_FOR_PROOF: usize = 4;
/// The longest pause that the other side may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// Who takes records.
pub(super) trait Sink: Send {
    /// Delivers records; returns how many of them the other side has said that it will not have. To be delivered twice
    /// does no harm.
    ///
    /// # Errors
    /// [`Failure`] when it is not sure that all have been taken.
    fn deliver(&mut self, entries: &[Entry]) -> impl Future<Output = Result<u64, Failure>> + Send;
}

/// How far a trail goes.
pub(crate) trait Reach: fmt::Debug + Send + Sync {
    /// The number of the last record that is there for good; 0 before the first.
    fn written(&self) -> u64;
}

/// How long a pump works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// For ever.
    Running,
    /// Until everything that is there has been delivered, or a delivery fails.
    Finishing,
}

/// What a pump works with.
#[derive(Debug)]
pub(super) struct Course {
    /// Where the trail is.
    pub(super) directory: PathBuf,
    /// How far it goes.
    pub(super) reach: Arc<dyn Reach>,
    /// The most records of one batch.
    pub(super) batch: usize,
    /// Where it says how it stands.
    pub(super) state: Arc<SinkState>,
    /// How long it works.
    pub(super) phase: watch::Receiver<Phase>,
}

/// Why a pump ends.
enum End {
    /// Everything is delivered, and nothing more is expected.
    Delivered,
    /// It was to finish, and could not.
    Failed,
}

/// Delivers the trail to a sink. Cancel safe: what was not marked is delivered again by the next one.
pub(super) async fn pump(sink: impl Sink, course: Course) {
    let file = CursorFile::of(&course.directory, course.state.kind().label());
    let cursor = file.read().unwrap_or_else(|error| {
        tracing::warn!(sink = course.state.kind().label(), %error, "the sink's cursor cannot be read");
        None
    });
    if let Some(cursor) = &cursor {
        course.state.reached(cursor.seq);
    }
    let follower = Follower::new(&course.directory, cursor);
    let mut pump = Pump {
        sink,
        course,
        follower,
        file,
        unmarked: None,
        pause: FIRST_PAUSE,
        receiver: Receiver::Unproved,
    };
    while pump.round().await.is_none() {}
    pump.mark(Due::Now);
}

struct Pump<S> {
    sink: S,
    course: Course,
    follower: Follower,
    file: CursorFile,
    /// The last record that was dealt with, while the cursor does not say so, and since when there is one.
    unmarked: Option<(Cursor, Instant)>,
    pause: Duration,
    receiver: Receiver,
}

/// Whether the other side has taken anything since the last failure: else its refusals say nothing about records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiver {
    Unproved,
    Proved,
}

/// When the cursor is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Now,
    Sometimes,
}

impl<S: Sink> Pump<S> {
    /// One batch, or one look.
    async fn round(&mut self) -> Option<End> {
        // Asked first: what was written before it was told to finish is delivered.
        let phase = *self.course.phase.borrow_and_update();
        match self.follower.next(self.course.batch, self.course.reach.written()) {
            Ok(batch) => self.deliver(batch, phase).await,
            Err(error) => self.stumble(&Failure::new(Class::Trail, error.to_string())).await,
        }
    }

    async fn deliver(&mut self, batch: Batch, phase: Phase) -> Option<End> {
        self.tell_gap(batch.skipped);
        let Some(mut last) = batch.entries.last().map(Entry::cursor) else {
            self.mark(Due::Now);
            return self.idle(phase).await;
        };
        let mut left = batch.entries;
        loop {
            let before = self.receiver;
            let refused = match self.attempt(&left).await {
                Ok(refused) => refused,
                Err(end) => return Some(end),
            };
            if before == Receiver::Proved && self.receiver == Receiver::Proved {
                self.give_up(&refused);
                break;
            }
            // Whoever takes nothing at all is no judge of records, nor whoever was put right in the middle of it.
            left.retain(|entry| refused.iter().any(|(seq, _)| *seq == entry.seq));
            let Some((_, failure)) = refused.first() else { break };
            if self.receiver == Receiver::Unproved {
                if let Some(end) = self.stumble(failure).await {
                    return Some(end);
                }
                // The next ones may show that these are at fault.
                last = self.more(&mut left).unwrap_or(last);
            }
        }
        self.passed(last);
        self.mark(Due::Sometimes);
        None
    }

    /// Reads on, as long as not too much is held; returns the last record that there is then.
    fn more(&mut self, left: &mut Vec<Entry>) -> Option<Cursor> {
        if left.len() >= self.course.batch * ROOM_FOR_PROOF {
            return None;
        }
        let written = self.course.reach.written();
        let more = self.follower.next(self.course.batch, written).unwrap_or_default();
        self.tell_gap(more.skipped);
        let last = more.entries.last().map(Entry::cursor);
        left.extend(more.entries);
        last
    }

    /// Delivers records, and returns those that are refused, one by one.
    async fn attempt(&mut self, entries: &[Entry]) -> Result<Vec<(u64, Failure)>, End> {
        self.course.state.tip(self.course.reach.written());
        let mut refused = Vec::new();
        // What is left, in parts; the last one first.
        let mut parts = vec![entries];
        while let Some(part) = parts.pop() {
            match self.sink.deliver(part).await {
                Ok(rejected) => self.succeeded(part, rejected),
                Err(failure) if failure.class == Class::Rejected => {
                    match part.split_at_checked(part.len() / 2) {
                        // One of them is at fault: the others shall get through.
                        Some((front, back)) if !front.is_empty() => parts.extend([back, front]),
                        _ => refused.extend(part.first().map(|entry| (entry.seq, failure))),
                    }
                }
                Err(failure) => {
                    parts.push(part);
                    if let Some(end) = self.stumble(&failure).await {
                        return Err(end);
                    }
                }
            }
        }
        Ok(refused)
    }

    fn tell_gap(&self, skipped: u64) {
        if skipped > 0 {
            self.course.state.skipped(skipped);
            let sink = self.course.state.kind().label();
            tracing::warn!(
                sink,
                records = skipped,
                "records of the audit trail were removed before they were delivered"
            );
        }
    }

    fn succeeded(&mut self, part: &[Entry], rejected: u64) {
        let state = &self.course.state;
        let sink = state.kind().label();
        if state.is_failing() {
            tracing::info!(sink, behind = state.behind(), "the sink takes records of the audit trail again");
        }
        if rejected > 0 {
            state.rejected(rejected);
            tracing::error!(
                sink,
                records = rejected,
                "the sink has refused records of the audit trail for good"
            );
        }
        let count = u64::try_from(part.len()).unwrap_or_default();
        state.delivered(count.saturating_sub(rejected));
        self.pause = FIRST_PAUSE;
        self.receiver = Receiver::Proved;
    }

    fn give_up(&self, refused: &[(u64, Failure)]) {
        let state = &self.course.state;
        for (seq, error) in refused {
            let sink = state.kind().label();
            tracing::error!(sink, seq, %error, "the sink has refused a record of the audit trail for good");
        }
        state.rejected(u64::try_from(refused.len()).unwrap_or_default());
    }

    /// Everything up to this record has been dealt with.
    fn passed(&mut self, last: Cursor) {
        self.course.state.reached(last.seq);
        let since = self.unmarked.take().map_or_else(Instant::now, |(_, since)| since);
        self.unmarked = Some((last, since));
    }

    /// Says that something is wrong, once, and waits before the next attempt.
    async fn stumble(&mut self, failure: &Failure) -> Option<End> {
        self.receiver = Receiver::Unproved;
        let state = &self.course.state;
        state.tip(self.course.reach.written());
        if state.failed(failure.class) {
            let (sink, hint) = (state.kind().label(), failure.class.hint());
            tracing::warn!(sink, class = failure.class.label(), error = %failure, hint,
                "the sink does not take the audit trail; its records wait in the files");
        }
        let pause = failure.after.map_or(self.pause, |asked| asked.clamp(self.pause, LONGEST_ASKED));
        // So that several proxies do not come back at the same moment.
        let pause = pause.mul_f64(1.0 + rand::random::<f64>() / 4.0);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        match tokio::time::timeout(pause, self.course.phase.wait_for(|phase| *phase == Phase::Finishing))
            .await
        {
            Ok(_finishing) => Some(End::Failed),
            Err(_elapsed) => None,
        }
    }

    /// Waits for more to deliver.
    async fn idle(&mut self, phase: Phase) -> Option<End> {
        if phase == Phase::Finishing {
            return Some(End::Delivered);
        }
        // Nobody is left to say anything when the sender is gone.
        match tokio::time::timeout(LOOK, self.course.phase.changed()).await {
            Ok(Err(_gone)) => Some(End::Delivered),
            Ok(Ok(())) | Err(_) => None,
        }
    }

    /// Writes down how far everything has been delivered.
    fn mark(&mut self, due: Due) {
        let Some((cursor, since)) = &self.unmarked else { return };
        if due == Due::Sometimes && since.elapsed() < MARK {
            return;
        }
        match self.file.write(cursor) {
            Ok(()) => self.unmarked = None,
            Err(error) => {
                let sink = self.course.state.kind().label();
                tracing::warn!(sink, %error, "the sink's cursor cannot be written: more is delivered twice after a start");
                self.unmarked = Some((cursor.clone(), Instant::now()));
            }
        }
    }
}

/// Says how far the trail goes, from time to time, while its sinks may be waiting for somebody.
pub(super) async fn watch(reach: &dyn Reach, states: &[Arc<SinkState>]) {
    loop {
        let written = reach.written();
        states.iter().for_each(|state| state.tip(written));
        tokio::time::sleep(MARK).await;
    }
}

#[cfg(test)]
mod tests;
