//! Whatever is done to a trail is noticed.

use super::*;
use crate::chain::{Chain, Moment};
use crate::checkpoint::Signer;
use crate::detail::Cut;
use crate::kind::Life;
use proptest::prelude::*;

/// The signer of every test.
fn signer() -> Signer {
    Signer::parse(&"5a".repeat(32)).unwrap()
}

/// A trail of so many records, each fifth a checkpoint; and the last checkpoint.
fn trail(count: u64) -> (Vec<String>, Checkpoint) {
    let (mut chain, mut lines, mut last) = (Chain::default(), Vec::new(), None);
    for number in 1..=count {
        let mut record = Record::of(Life::Reloaded);
        if number % 5 == 0 {
            let mut checkpoint = Checkpoint {
                seq: chain.seq(),
                hash: chain.hash(),
                count: 4,
                time: chain.time(),
                instance: "one".to_owned(),
                signature: None,
            };
            signer().sign(&mut checkpoint);
            last = Some(checkpoint.clone());
            record = Record::of(Life::Checkpoint).with(Detail::Checkpoint(checkpoint));
        }
        let now = Timestamp(i64::try_from(number).unwrap() * 1_000);
        let mut line = Vec::new();
        chain.link(&mut record, Moment { now, random: [7; 10] }, &mut line);
        lines.push(String::from_utf8(line).unwrap().trim_end().to_owned());
    }
    (lines, last.unwrap())
}

fn name_of(line: &str) -> String {
    let record: Record = serde_json::from_str(line).unwrap();
    format!("trail-{:020}.jsonl", record.seq)
}

fn examine(lines: &[impl AsRef<[u8]>], kept: Option<Checkpoint>) -> Examined {
    let mut verifier = Verifier::new(Some(signer().public_key()));
    kept.into_iter().for_each(|checkpoint| verifier.keep(checkpoint));
    verifier.file("trail-00000000000000000001.jsonl");
    for line in lines {
        verifier.line(line.as_ref());
    }
    verifier.finish()
}

fn breaks(lines: &[impl AsRef<[u8]>], kept: Option<Checkpoint>) -> Vec<Break> {
    examine(lines, kept).breaks.into_iter().map(|broken| broken.what).collect()
}

#[test]
fn an_intact_trail_has_no_breaks() {
    let (lines, last) = trail(12);
    let examined = examine(&lines, Some(last));
    assert_eq!(examined.breaks, []);
    assert_eq!((examined.records, examined.first, examined.last), (12, Some(1), Some(12)));
    assert_eq!((examined.signed, examined.kept), (Some(9), 1));
}

#[test]
fn an_altered_record_is_named() {
    let (mut lines, last) = trail(12);
    lines[6] = lines[6].replace("reloaded", "stopped");
    let examined = examine(&lines, Some(last));
    let [broken] = &examined.breaks[..] else { panic!("{examined:?}") };
    assert_eq!((broken.line, broken.seq, &broken.what), (7, Some(7), &Break::Altered));
}

#[test]
fn a_missing_record_is_named() {
    let (mut lines, last) = trail(12);
    lines.remove(6);
    assert_eq!(breaks(&lines, Some(last)), [Break::Missing { from: 7, to: 7 }]);
}

#[test]
fn records_that_changed_places_are_named() {
    let (mut lines, last) = trail(12);
    lines.swap(6, 7);
    let found = breaks(&lines, Some(last));
    assert!(found.contains(&Break::Missing { from: 7, to: 7 }), "{found:?}");
    assert!(found.contains(&Break::OutOfOrder { expected: 9 }), "{found:?}");
}

#[test]
fn a_record_of_another_chain_is_named() {
    let (mut lines, last) = trail(12);
    let mut other = (Chain::default(), Vec::new());
    for _ in 0..7 {
        other.1.clear();
        let moment = Moment { now: Timestamp(7_000), random: [9; 10] };
        other.0.link(&mut Record::of(Life::Reloaded), moment, &mut other.1);
    }
    lines[6] = String::from_utf8(other.1).unwrap().trim_end().to_owned();
    let found = breaks(&lines, Some(last));
    assert_eq!(found, [Break::Spliced, Break::Spliced]);
}

#[test]
fn a_truncated_trail_is_noticed_by_a_checkpoint_kept_elsewhere() {
    let (mut lines, last) = trail(12);
    lines.truncate(8);
    assert_eq!(breaks(&lines, None), []);
    assert_eq!(breaks(&lines, Some(last)), [Break::Truncated { known: 9 }]);
}

#[test]
fn a_trail_made_anew_is_noticed_by_its_signatures() {
    let (lines, last) = trail(12);
    let mut chain = Chain::default();
    let mut anew = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let mut record: Record = serde_json::from_str(line).unwrap();
        if index == 1 {
            record = Record::of(Life::Stopped);
        }
        let mut written = Vec::new();
        let moment = Moment { now: record.time, random: [7; 10] };
        chain.link(&mut record, moment, &mut written);
        anew.push(String::from_utf8(written).unwrap().trim_end().to_owned());
    }
    assert!(breaks(&anew, None).contains(&Break::Checkpoint));
    assert!(breaks(&anew, Some(last)).contains(&Break::Checkpoint));
    let without: Vec<String> = anew.into_iter().take(4).collect();
    assert_eq!(breaks(&without, None), [Break::NeverSigned]);
}

#[test]
fn a_beginning_that_retention_removed_is_explained_by_its_record() {
    let (lines, _) = trail(12);
    let mut chain = Chain::after(&serde_json::from_str(&lines[11]).unwrap()).unwrap();
    let cut: Record = serde_json::from_str(&lines[2]).unwrap();
    let cut = Cut { files: vec!["a".to_owned()], seq: 3, hash: cut.hash };
    let mut line = Vec::new();
    let mut record = Record::of(Life::Retention).with(Detail::Retention(cut));
    chain.link(&mut record, Moment { now: Timestamp(90_000), random: [7; 10] }, &mut line);
    let mut kept = lines[3..].to_vec();
    let first = name_of(&kept[0]);
    let told = |lines: &[String]| {
        let mut verifier = Verifier::new(None);
        verifier.file(&first);
        lines.iter().for_each(|line| drop(verifier.line(line.as_bytes())));
        verifier.finish().breaks.into_iter().map(|broken| broken.what).collect::<Vec<_>>()
    };
    assert_eq!(told(&kept), [Break::Beginning]);
    kept.push(String::from_utf8(line).unwrap().trim_end().to_owned());
    assert_eq!(told(&kept), []);
}

#[test]
fn a_checkpoint_of_somebody_else_is_not_believed() {
    let (lines, mut last) = trail(12);
    Signer::parse(&"11".repeat(32)).unwrap().sign(&mut last);
    assert_eq!(breaks(&lines, Some(last)), [Break::Signature]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_byte_can_be_changed_unnoticed(line in 0..12_usize, at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let (lines, last) = trail(12);
        let mut lines: Vec<Vec<u8>> = lines.into_iter().map(String::into_bytes).collect();
        let index = at.index(lines[line].len());
        prop_assume!(lines[line][index] != to && to != b'\n');
        lines[line][index] = to;
        prop_assert!(!breaks(&lines, Some(last)).is_empty());
    }

    #[test]
    fn no_byte_can_be_removed_or_put_in_unnoticed(
        line in 0..12_usize,
        at in any::<prop::sample::Index>(),
        put in proptest::option::of(any::<u8>()),
    ) {
        let (lines, last) = trail(12);
        let mut lines: Vec<Vec<u8>> = lines.into_iter().map(String::into_bytes).collect();
        let index = at.index(lines[line].len());
        match put {
            Some(byte) => lines[line].insert(index, byte),
            None => drop(lines[line].remove(index)),
        }
        prop_assert!(!breaks(&lines, Some(last)).is_empty());
    }

    #[test]
    fn no_records_can_be_removed_moved_or_repeated_unnoticed(from in 0..12_usize, to in 0..12_usize, what in 0..3) {
        let (mut lines, last) = trail(12);
        prop_assume!(from != to);
        // The last checkpoint knows record 9: what is behind it may be cut off until there is another one.
        prop_assume!(what != 0 || from < 9);
        match what {
            0 => drop(lines.drain(from..(from + 1).max(to))),
            1 => {
                let line = lines.remove(from);
                lines.insert(to, line);
            }
            _ => lines.insert(to, lines[from].clone()),
        }
        prop_assert!(!breaks(&lines, Some(last)).is_empty());
    }
}
