use super::*;
use std::fs::OpenOptions;
use std::io::Write;
use tempfile::TempDir;

/// A trail that a test writes.
struct Trail {
    directory: TempDir,
    first: u64,
}

impl Trail {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), first: 1 }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes at the end of the last segment.
    fn write(&self, text: &str) {
        let path = self.path().join(segment_name(self.first));
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
    }

    fn records(&self, numbers: std::ops::RangeInclusive<u64>) {
        self.write(&numbers.map(|seq| record(seq, "a")).collect::<String>());
    }

    fn rotate(&mut self, first: u64) {
        self.first = first;
        self.write("");
    }

    fn remove(&self, first: u64) {
        fs::remove_file(self.path().join(segment_name(first))).expect("removed");
    }
}

fn record(seq: u64, hash: &str) -> String {
    format!("{{\"seq\":{seq},\"hash\":\"{hash}{seq}\"}}\n")
}

fn cursor(seq: u64) -> Cursor {
    Cursor { seq, hash: format!("a{seq}") }
}

/// What is given until there is nothing more, and what was skipped.
fn all(follower: &mut Follower) -> (Vec<u64>, u64) {
    let (mut numbers, mut skipped) = (Vec::new(), 0);
    loop {
        let batch = follower.next(3, u64::MAX).expect("readable");
        skipped += batch.skipped;
        if batch.entries.is_empty() {
            return (numbers, skipped);
        }
        assert!(batch.entries.len() <= 3);
        numbers.extend(batch.entries.iter().map(|entry| entry.seq));
    }
}

#[test]
fn records_are_given_in_order_over_all_segments_as_they_are_written() {
    let mut trail = Trail::new();
    let mut follower = Follower::new(trail.path(), None);
    assert_eq!(all(&mut follower), (vec![], 0));
    trail.records(1..=5);
    assert_eq!(all(&mut follower), ((1..=5).collect(), 0));
    trail.records(6..=6);
    trail.rotate(7);
    assert_eq!(all(&mut follower), (vec![6], 0));
    trail.records(7..=8);
    trail.rotate(9);
    trail.rotate(9);
    trail.records(9..=20);
    assert_eq!(all(&mut follower), ((7..=20).collect(), 0));
}

#[test]
fn a_line_counts_when_it_is_whole() {
    let trail = Trail::new();
    let mut follower = Follower::new(trail.path(), None);
    let line = record(1, "a");
    let (front, back) = line.split_at(9);
    trail.write(front);
    assert_eq!(all(&mut follower), (vec![], 0));
    trail.write(back);
    assert_eq!(all(&mut follower), (vec![1], 0));
    // Long ones, too: longer than what is read at once.
    trail.write(&format!("{{\"seq\":2,\"long\":\"{}\"}}\n", "x".repeat(3 * CHUNK)));
    trail.write(&record(3, "a"));
    assert_eq!(all(&mut follower), (vec![2, 3], 0));
}

#[test]
fn a_follower_goes_on_behind_its_cursor() {
    let mut trail = Trail::new();
    trail.records(1..=5);
    trail.rotate(6);
    trail.records(6..=9);
    for last in 1..=9 {
        let mut follower = Follower::new(trail.path(), Some(cursor(last)));
        assert_eq!(all(&mut follower), ((last + 1..=9).collect(), 0), "behind {last}");
    }
}

#[test]
fn what_was_removed_before_it_was_given_is_counted() {
    let mut trail = Trail::new();
    trail.records(1..=4);
    trail.rotate(5);
    trail.records(5..=6);
    trail.remove(1);
    let mut follower = Follower::new(trail.path(), Some(cursor(2)));
    assert_eq!(all(&mut follower), (vec![5, 6], 2));
    // In the middle of following as well.
    trail.rotate(7);
    trail.records(7..=8);
    trail.rotate(9);
    trail.records(9..=9);
    trail.remove(5);
    trail.remove(7);
    assert_eq!(all(&mut follower), (vec![9], 2));
    // A cursor at the very end of what is gone has missed nothing.
    assert_eq!(all(&mut Follower::new(trail.path(), Some(cursor(8)))), (vec![9], 0));
}

#[test]
fn a_trail_that_has_lost_its_end_is_given_from_the_begin_of_the_segment() {
    let mut trail = Trail::new();
    trail.records(1..=3);
    trail.rotate(4);
    trail.write(&record(4, "a"));
    trail.write(&record(5, "b"));
    // Five was another one, and six has never been here.
    assert_eq!(all(&mut Follower::new(trail.path(), Some(cursor(5)))), (vec![4, 5], 0));
    assert_eq!(all(&mut Follower::new(trail.path(), Some(cursor(6)))), (vec![4, 5], 0));
    assert_eq!(all(&mut Follower::new(trail.path(), Some(cursor(4)))), (vec![5], 0));
    // The same while it is followed: a part that was written is taken back.
    let mut follower = Follower::new(trail.path(), Some(cursor(3)));
    assert_eq!(all(&mut follower), (vec![4, 5], 0));
    fs::write(trail.path().join(segment_name(4)), record(4, "a")).expect("shorter");
    assert_eq!(all(&mut follower), (vec![4], 0), "once more");
    trail.write(&record(5, "c"));
    assert_eq!(all(&mut follower), (vec![5], 0));
}

#[test]
fn what_is_no_record_stops_nobody() {
    let trail = Trail::new();
    trail.write(&format!("{}nonsense\n\n{}", record(1, "a"), record(2, "a")));
    fs::write(trail.path().join("trail-x.jsonl"), "no").expect("another file");
    assert_eq!(all(&mut Follower::new(trail.path(), None)), (vec![1, 2], 0));
}

#[test]
fn a_batch_is_not_much_longer_than_a_megabyte() {
    let trail = Trail::new();
    for seq in 1..=5 {
        trail.write(&format!("{{\"seq\":{seq},\"long\":\"{}\"}}\n", "x".repeat(400_000)));
    }
    let mut follower = Follower::new(trail.path(), None);
    let sizes: Vec<usize> =
        (0..5).map(|_| follower.next(100, u64::MAX).expect("readable").entries.len()).collect();
    assert!(sizes.iter().all(|size| *size <= 3) && sizes.iter().sum::<usize>() == 5, "{sizes:?}");
}

#[test]
fn nobody_is_given_what_the_writer_may_take_back() {
    let mut trail = Trail::new();
    trail.records(1..=5);
    let numbers = |batch: Batch| batch.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>();
    let mut follower = Follower::new(trail.path(), None);
    assert_eq!(numbers(follower.next(9, 0).expect("readable")), [0; 0]);
    assert_eq!(numbers(follower.next(9, 3).expect("readable")), [1, 2, 3]);
    assert_eq!(numbers(follower.next(9, 3).expect("readable")), [0; 0]);
    fs::write(trail.path().join(segment_name(1)), (1..=3).map(|seq| record(seq, "a")).collect::<String>())
        .expect("taken back");
    trail.records(4..=4);
    trail.rotate(5);
    trail.records(5..=5);
    assert_eq!(numbers(follower.next(9, 5).expect("readable")), [4]);
    assert_eq!(numbers(follower.next(9, 5).expect("readable")), [5]);
}
