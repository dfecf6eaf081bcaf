//! The thread that writes the trail: takes what was handed in, and nobody waits for it.
//!
//! What cannot be written waits here, findings of the same sort count on where they happen, and it is tried again until
//! there is room.

use super::desk::{Call, Desk};
use super::health::Health;
use super::scribe::Scribe;
use super::tallies::{Place, Tally};
use super::terms::Terms;
use crate::clock;
use pgwarden_audit::{Detail, Event, Interruption, Life, Record, Timestamp};
use pgwarden_config::Fsync;
use pgwarden_shadow::{Coverage, Finding, Query};
use std::collections::VecDeque;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

/// How often it is tried again while nothing can be written.
const RETRY: Duration = Duration::from_millis(500);
/// How far a clock may go back without a word: that is how NTP puts it right.
const SLACK: i64 = 1_000_000;

/// Who writes the trail.
pub(super) struct Writer {
    desk: Arc<Desk>,
    scribe: Scribe,
    health: Arc<Health>,
    /// Records that have no place in the chain yet.
    waiting: VecDeque<Record>,
    /// Since when nothing can be written, and why.
    broken: Option<(Instant, String)>,
    /// The latest time that was seen.
    latest: Timestamp,
    mode: &'static str,
    /// Those of databases and users that have one of their own.
    modes: BTreeMap<String, &'static str>,
    due: Due,
}

/// When what happens next.
struct Due {
    window: Instant,
    coverage: Instant,
    sync: Instant,
    checkpoint: Instant,
    retry: Instant,
}

/// Whether there is another turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Next,
    Last,
}

impl Writer {
    /// One that begins with these records.
    pub(super) fn new(desk: Arc<Desk>, scribe: Scribe, health: Arc<Health>, first: VecDeque<Record>) -> Self {
        let terms = desk.terms.load_full();
        let (now, latest) = (Instant::now(), scribe.time());
        let due = Due {
            window: now + terms.audit.window,
            coverage: now + terms.audit.coverage_window,
            sync: now + terms.audit.fsync_interval,
            checkpoint: now + terms.audit.checkpoint_interval,
            retry: now,
        };
        let (mode, modes) = (terms.mode_word(), terms.modes.clone());
        Self { desk, scribe, health, waiting: first, broken: None, latest, mode, modes, due }
    }

    /// Writes until it is told to end.
    pub(super) fn run(mut self, calls: &Receiver<Call>) {
        loop {
            self.turn(Turn::Next);
            let patience = self.next_due().saturating_duration_since(Instant::now());
            match calls.recv_timeout(patience) {
                Ok(Call::Look) | Err(RecvTimeoutError::Timeout) => (),
                Ok(Call::Close(done)) => return self.close(&done),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn next_due(&self) -> Instant {
        let Due { window, coverage, sync, checkpoint, retry } = self.due;
        match self.broken {
            Some(_) => retry,
            None => window.min(coverage).min(sync).min(checkpoint),
        }
    }

    fn close(mut self, done: &SyncSender<()>) {
        self.turn(Turn::Last);
        let left: u64 = self.waiting.iter().map(|record| record.count.unwrap_or(1)).sum();
        if left > 0 {
            tracing::error!(left, "the audit trail could not be written to its end");
        }
        let _nobody_waits = done.try_send(());
    }

    /// Writes what there is.
    fn turn(&mut self, turn: Turn) {
        if self.broken.is_some() && turn == Turn::Next && Instant::now() < self.due.retry {
            return;
        }
        self.desk.looking();
        let terms = self.desk.terms.load_full();
        let written = self.write(&terms, turn);
        self.desk.journals_are(&self.scribe.carried().journal);
        self.desk.written(self.scribe.last());
        if let Err(error) = written {
            self.due.retry = Instant::now() + RETRY;
            self.health.broken(&error, terms.audit.required);
            let (_, said) = self.broken.get_or_insert_with(|| (Instant::now(), String::new()));
            *said = error.to_string();
        }
    }

    fn write(&mut self, terms: &Terms, turn: Turn) -> io::Result<()> {
        if self.waiting.is_empty() {
            self.collect(terms, turn);
        }
        self.write_waiting(terms)?;
        if self.broken.is_some() {
            self.mended(terms);
            // What was counted while nothing could be written.
            self.collect(terms, turn);
            self.write_waiting(terms)?;
        }
        let now = Instant::now();
        if turn == Turn::Last || now >= self.due.checkpoint {
            self.due.checkpoint = now + terms.audit.checkpoint_interval;
            self.scribe.clear_out(terms)?;
            self.scribe.sign(terms)?;
        }
        let is_due = match terms.audit.fsync {
            Fsync::Always => true,
            Fsync::Interval => now >= self.due.sync,
            Fsync::Off => false,
        };
        if is_due || turn == Turn::Last {
            self.due.sync = now + terms.audit.fsync_interval;
            self.scribe.sync()?;
        }
        Ok(())
    }

    fn write_waiting(&mut self, terms: &Terms) -> io::Result<()> {
        let before = self.waiting.len();
        let written = self.scribe.write(&mut self.waiting, terms);
        self.health.wrote(before - self.waiting.len());
        written
    }

    /// There is room again: says for how long there was none.
    fn mended(&mut self, terms: &Terms) {
        let Some((since, error)) = self.broken.take() else { return };
        self.health.mended();
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::info!(seconds = since.elapsed().as_secs(), "the audit trail can be written again");
        let detail = Detail::Interrupted(Interruption { micros, error });
        self.waiting.push_back(Record::of(Life::Interrupted).with(detail));
        self.due.window = Instant::now() + terms.audit.window;
    }

    /// Makes records of what was handed in.
    fn collect(&mut self, terms: &Terms, turn: Turn) {
        self.look_at_the_clock();
        if let Some(dropped) = self.desk.take_dropped() {
            let count = dropped.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
            self.health.dropped(count);
            let mut record = Record::of(Life::Dropped).with(Detail::Dropped(dropped));
            record.count = Some(count);
            self.waiting.push_back(record);
        }
        for event in self.desk.take_events() {
            self.happened(event, terms);
        }
        let now = Instant::now();
        let mut findings = self.desk.findings.take_new();
        if turn == Turn::Last || now >= self.due.window {
            self.due.window = now + terms.audit.window;
            findings.extend(self.desk.findings.take_all());
        }
        self.waiting.extend(findings.iter().map(|tally| found(tally, terms)));
        if turn == Turn::Last || now >= self.due.coverage {
            self.due.coverage = now + terms.audit.coverage_window;
            self.waiting.extend(self.desk.coverage.take_all().iter().map(covered));
        }
        if turn == Turn::Last {
            self.waiting.push_back(Record::of(Life::Stopped));
        }
    }

    fn look_at_the_clock(&mut self) {
        let now = clock::timestamp();
        let back = self.latest.0.saturating_sub(now.0);
        if back > SLACK {
            tracing::warn!(microseconds = back, "the clock was put back");
            let detail = Detail::ClockWentBack(back.unsigned_abs());
            self.waiting.push_back(Record::of(Life::ClockWentBack).with(detail));
            self.latest = now;
        }
        self.latest = self.latest.max(now);
    }

    /// Records each mode that is another than before.
    fn modes_are(&mut self, terms: &Terms) {
        let general = std::mem::replace(&mut self.mode, terms.mode_word());
        let special = std::mem::replace(&mut self.modes, terms.modes.clone());
        let before = |whose: &str| special.get(whose).copied().unwrap_or(general);
        let named: BTreeSet<&String> = special.keys().chain(terms.modes.keys()).collect();
        let of_named =
            named.into_iter().map(|whose| (before(whose), terms.mode_word_of(whose), Some(whose.clone())));
        for (before, now, whose) in [(general, self.mode, None)].into_iter().chain(of_named) {
            if before != now {
                let detail = Detail::ModeChanged(before.to_owned(), now.to_owned(), whose);
                self.waiting.push_back(Record::of(Life::ModeChanged).with(detail));
            }
        }
    }

    fn happened(&mut self, event: Event, terms: &Terms) {
        let carried = self.scribe.carried();
        match event {
            Event::Service(account) => self.waiting.push_back(Record::service(account)),
            Event::Reloaded { .. } => {
                self.scribe.reloaded();
                self.waiting.push_back(Record::of(Life::Reloaded));
                self.modes_are(terms);
            }
            Event::PoliciesChanged { database, policy_hash, tables }
                if carried.policies.get(&database) != Some(&policy_hash) =>
            {
                self.waiting.push_back(Record::policies_changed(database, policy_hash, tables));
            }
            // Whoever follows the journal begins again at times with what is here already.
            Event::Staging(staging)
                if carried.journal.get(&staging.database).is_none_or(|last| *last < staging.id) =>
            {
                self.waiting.push_back(Record::staging(staging));
            }
            // Findings and coverage are counted; how pgwarden begins and ends, the writer itself knows.
            Event::PoliciesChanged { .. }
            | Event::Staging(_)
            | Event::Finding(_)
            | Event::Coverage(_)
            | Event::Started { .. }
            | Event::Stopped => (),
        }
    }
}

/// A record of findings.
fn found(tally: &Tally<Finding>, terms: &Terms) -> Record {
    Record::finding(&tally.what, tally.seen, terms.pseudonyms.as_ref())
}

/// A record of what was looked at. The text of the statement stands in the first of its sort.
fn covered(tally: &Tally<Coverage>) -> Record {
    let mut record = Record::coverage(&tally.what, tally.seen);
    if tally.place == Place::Known {
        let query = &tally.what.query;
        record.query = Some(Arc::new(Query { fingerprint: query.fingerprint.clone(), text: None }));
    }
    record
}
