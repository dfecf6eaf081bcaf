//! Where everything is handed in that the writer writes down. Nobody waits here.

use super::tallies::{Place, Tallies};
use super::terms::Terms;
use arc_swap::ArcSwap;
use pgwarden_audit::{Event, Timestamp};
use pgwarden_shadow::{Coverage, Finding};
use std::collections::{BTreeMap, VecDeque};
use std::mem::take;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

/// The most events that wait, findings and coverage aside: those of services, mostly.
const EVENTS: usize = 10_000;

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Call {
    /// There is something to write.
    Look,
    /// Write everything, and end; then say so.
    Close(SyncSender<()>),
}

/// Where everything is handed in.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) findings: Tallies<Finding>,
    pub(super) coverage: Tallies<Coverage>,
    pub(super) terms: Arc<ArcSwap<Terms>>,
    /// The number of the last record that is in the trail for good; readers go no further.
    written: AtomicU64,
    events: Mutex<VecDeque<Event>>,
    /// What there was no place for, by kind.
    dropped: Mutex<BTreeMap<String, u64>>,
    is_any_dropped: AtomicBool,
    /// The last rows of journals that were recorded, by database.
    journal: Mutex<BTreeMap<String, i64>>,
    calls: Sender<Call>,
    /// Whether the writer was told to look, and has not looked yet.
    is_rung: AtomicBool,
}

impl Desk {
    /// An empty one; the writer listens to these calls.
    pub(super) fn new(terms: Arc<ArcSwap<Terms>>, calls: Sender<Call>) -> Self {
        let sorts = terms.load().audit.sorts;
        Self {
            findings: Tallies::new(sorts),
            coverage: Tallies::new(sorts),
            terms,
            written: AtomicU64::new(0),
            events: Mutex::default(),
            dropped: Mutex::default(),
            is_any_dropped: AtomicBool::new(false),
            journal: Mutex::default(),
            calls,
            is_rung: AtomicBool::new(false),
        }
    }

    /// Something was found.
    pub(super) fn found(&self, finding: Finding, now: Timestamp) {
        let (kind, count) = (finding.kind, finding.count);
        match self.findings.add(finding, now) {
            Place::New => self.ring(),
            Place::Known => (),
            Place::None => self.drop(kind.label(), count),
        }
    }

    /// Something was looked at. It is written at the end of its window.
    pub(super) fn covered(&self, coverage: Coverage, now: Timestamp) {
        let count = coverage.count;
        if self.coverage.add(coverage, now) == Place::None {
            self.drop("coverage", count);
        }
    }

    /// Something else happened.
    pub(super) fn happened(&self, event: Event) {
        let kind = kind_of(&event);
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = events.len() >= EVENTS;
        if !is_full {
            events.push_back(event);
        }
        drop(events);
        match is_full {
            true => self.drop(kind, 1),
            false => self.ring(),
        }
    }

    /// What has happened since the last time.
    pub(super) fn take_events(&self) -> VecDeque<Event> {
        take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What there was no place for since the last time.
    pub(super) fn take_dropped(&self) -> Option<BTreeMap<String, u64>> {
        if !self.is_any_dropped.swap(false, Ordering::AcqRel) {
            return None;
        }
        Some(take(&mut *self.dropped.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The number of the last record that is written.
    pub(super) fn last(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// The last row of the journal of a database that was recorded.
    pub(super) fn journal_position(&self, database: &str) -> Option<i64> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).get(database).copied()
    }

    /// Says what the last rows are that were recorded.
    pub(super) fn journals_are(&self, positions: &BTreeMap<String, i64>) {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).clone_from(positions);
    }

    /// Says what the number of the last record is that is written.
    pub(super) fn written(&self, seq: u64) {
        self.written.store(seq, Ordering::Release);
    }

    /// Wakes the writer, unless somebody has already.
    pub(super) fn ring(&self) {
        if !self.is_rung.swap(true, Ordering::AcqRel) {
            let _ended = self.calls.send(Call::Look);
        }
    }

    /// The writer looks now: what comes from here on rings again.
    pub(super) fn looking(&self) {
        self.is_rung.store(false, Ordering::Release);
    }

    /// Tells the writer to end.
    pub(super) fn close(&self, done: SyncSender<()>) {
        let _ended = self.calls.send(Call::Close(done));
    }

    fn drop(&self, kind: &str, count: u64) {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        match dropped.get_mut(kind) {
            Some(sum) => *sum = sum.saturating_add(count),
            None => drop(dropped.insert(kind.to_owned(), count)),
        }
        drop(dropped);
        self.is_any_dropped.store(true, Ordering::Release);
    }
}

fn kind_of(event: &Event) -> &'static str {
    match event {
        Event::Finding(finding) => finding.kind.label(),
        Event::Coverage(_) => "coverage",
        Event::Service(_) => "service",
        Event::Started { .. } => "started",
        Event::Stopped => "stopped",
        Event::Reloaded { .. } => "reloaded",
        Event::PoliciesChanged { .. } => "policies_changed",
        Event::Staging(_) => "staging",
    }
}
