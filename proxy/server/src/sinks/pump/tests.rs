use super::super::state::SinkKind;
use super::*;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;

/// A trail of which all is there for good.
#[derive(Debug)]
struct Everything;

impl Reach for Everything {
    fn written(&self) -> u64 {
        1_000_000
    }
}

/// A receiver that a test tells what to do.
#[derive(Debug, Clone, Default)]
struct Fake(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    /// What was taken, in order.
    taken: Vec<u64>,
    /// Records that are refused.
    poison: BTreeSet<u64>,
    /// Failures to come, the next one last.
    failures: Vec<Class>,
    /// Behind so many refusals, nothing is refused any more.
    patience: Option<usize>,
    /// How often it was asked.
    asked: usize,
}

impl Fake {
    fn told<R>(&self, work: impl FnOnce(&mut Told) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sink for Fake {
    async fn deliver(&mut self, entries: &[Entry]) -> Result<u64, Failure> {
        self.told(|told| {
            told.asked += 1;
            if let Some(class) = told.failures.pop() {
                return Err(Failure::new(class, "told so"));
            }
            if told.patience == Some(0) {
                told.poison.clear();
            }
            if entries.iter().any(|entry| told.poison.contains(&entry.seq)) {
                told.patience = told.patience.map(|left| left - 1);
                return Err(Failure::new(Class::Rejected, "poison"));
            }
            told.taken.extend(entries.iter().map(|entry| entry.seq));
            Ok(0)
        })
    }
}

/// A trail, its receiver, and how they stand.
struct Stage {
    directory: TempDir,
    fake: Fake,
    state: Arc<SinkState>,
    phases: watch::Sender<Phase>,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let state = Arc::new(SinkState::new(SinkKind::Otlp));
        Self { directory, fake: Fake::default(), state, phases: watch::Sender::new(Phase::Running) }
    }

    fn records(&self, numbers: std::ops::RangeInclusive<u64>) {
        let lines: String = numbers.map(|seq| format!("{{\"seq\":{seq},\"hash\":\"{seq}\"}}\n")).collect();
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.path().join("trail-00000000000000000001.jsonl"));
        file.and_then(|mut file| file.write_all(lines.as_bytes())).expect("written");
    }

    async fn run(&self) {
        let course = Course {
            directory: self.directory.path().to_owned(),
            reach: Arc::new(Everything),
            batch: 4,
            state: Arc::clone(&self.state),
            phase: self.phases.subscribe(),
        };
        pump(self.fake.clone(), course).await;
    }

    async fn finish(&self) {
        self.phases.send_replace(Phase::Finishing);
        self.run().await;
    }

    /// Runs until something holds of the receiver.
    async fn run_until(&self, holds: impl Fn(&Told) -> bool) {
        let look = async {
            while !self.fake.told(|told| holds(told)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = self.run() => panic!("it ended"),
            () = look => (),
        }
    }

    fn taken(&self) -> Vec<u64> {
        self.fake.told(|told| told.taken.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn everything_is_delivered_once_and_the_next_pump_goes_on_there() {
    let stage = Stage::new();
    stage.records(1..=10);
    stage.finish().await;
    assert_eq!(stage.taken(), (1..=10).collect::<Vec<_>>());
    stage.records(11..=12);
    stage.finish().await;
    assert_eq!(stage.taken(), (1..=12).collect::<Vec<_>>());
    assert_eq!(stage.state.last(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_until_it_is_over() {
    let stage = Stage::new();
    stage.records(1..=10);
    stage
        .fake
        .told(|told| told.failures = vec![Class::Busy, Class::Unreachable, Class::TimedOut, Class::Refused]);
    stage.run_until(|told| told.taken.len() == 10).await;
    assert_eq!(stage.taken(), (1..=10).collect::<Vec<_>>());
    assert_eq!(stage.state.report().retries, 4);
    assert_eq!(stage.state.report().last_failure.as_deref(), Some("busy"));
    assert_eq!(stage.state.report().state, "delivering");
}

#[tokio::test(start_paused = true)]
async fn one_record_that_is_refused_costs_no_other() {
    let stage = Stage::new();
    stage.records(1..=12);
    stage.fake.told(|told| told.poison = BTreeSet::from([1, 7]));
    stage.finish().await;
    let expected: Vec<u64> = (1..=12).filter(|seq| ![1, 7].contains(seq)).collect();
    assert_eq!(stage.taken(), expected);
    assert_eq!(stage.state.report().rejected, 2);
    assert_eq!(stage.state.report().delivered, 10);
}

#[tokio::test(start_paused = true)]
async fn who_refuses_everything_is_not_believed() {
    let stage = Stage::new();
    stage.records(1..=6);
    stage.fake.told(|told| told.poison = (1..=6).collect());
    stage.run_until(|told| told.asked > 100).await;
    assert!(stage.taken().is_empty() && stage.state.report().rejected == 0);
    // The receiver is put right.
    stage.fake.told(|told| told.poison.clear());
    stage.finish().await;
    assert_eq!(stage.taken(), (1..=6).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn who_is_put_right_in_the_middle_has_refused_nothing_for_good() {
    let stage = Stage::new();
    stage.records(1..=8);
    stage.fake.told(|told| {
        told.poison = (1..=8).collect();
        told.patience = Some(6);
    });
    stage.run_until(|told| told.taken.len() == 8).await;
    let mut taken = stage.taken();
    taken.sort_unstable();
    assert_eq!((taken, stage.state.report().rejected), ((1..=8).collect(), 0));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_alone_waits_for_one_that_is_taken() {
    let stage = Stage::new();
    stage.records(1..=1);
    stage.fake.told(|told| told.poison = BTreeSet::from([1]));
    stage.run_until(|told| told.asked > 3).await;
    assert_eq!(stage.state.report().rejected, 0);
    stage.records(2..=2);
    stage.run_until(|told| told.taken == [2]).await;
    stage.finish().await;
    assert_eq!(stage.state.report().rejected, 1);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_finish_ends_all_the_same_and_loses_nothing() {
    let stage = Stage::new();
    stage.records(1..=10);
    stage.fake.told(|told| told.failures = vec![Class::Busy]);
    stage.finish().await;
    assert!(stage.taken().is_empty());
    stage.finish().await;
    assert_eq!(stage.taken(), (1..=10).collect::<Vec<_>>());
}
