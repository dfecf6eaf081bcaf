//! What the trail says about each statement of a case.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::case::{Case, letters};
use crate::rates::Said;
use crate::statement::Statement;

/// What the detectors have said about one statement.
#[derive(Debug, Clone, Default)]
pub struct Sighting {
    /// Kinds of findings, by detector.
    pub findings: BTreeSet<(String, String)>,
    /// By detector: why it could not look, or that it did (`None`).
    pub coverage: BTreeMap<String, BTreeSet<Option<String>>>,
}

/// Findings of these kinds say that a statement would do something else.
const DIFFERENCES: [&str; 5] =
    ["rows_foreign", "result_differs", "write_refused", "write_hidden", "copy_from"];
/// And these that it could not be told for certain.
const DOUBTS: [&str; 3] = ["policy_error", "replay_error", "result_unstable"];

/// Statements that are nobody's: they stand around those that write.
const BLOCK: [&str; 2] = ["begin", "rollback"];

impl Sighting {
    /// Whether somebody has found this.
    pub fn found(&self, kind: &str) -> bool {
        self.findings.iter().any(|(_, found)| found == kind)
    }

    /// What one detector says.
    pub fn of(&self, detector: &str) -> Said {
        let kinds = || self.findings.iter().filter(|(by, _)| by == detector).map(|(_, kind)| kind.as_str());
        if kinds().any(|kind| DIFFERENCES.contains(&kind)) {
            return Said::Differs;
        }
        if let Some(kind) = kinds().find(|kind| DOUBTS.contains(kind)) {
            return Said::NotEvaluated(kind.to_owned());
        }
        let Some(coverage) = self.coverage.get(detector) else { return Said::Silent };
        match coverage.iter().flatten().next() {
            // The triggers have seen one half; the other is for a replay.
            Some(reason) if detector == "writes" && reason == "reads_elsewhere" => {
                match self.coverage.contains_key("replay").then(|| self.of("replay")) {
                    Some(Said::Clean) => Said::Clean,
                    _ => Said::NotEvaluated(reason.clone()),
                }
            }
            Some(reason) => Said::NotEvaluated(reason.clone()),
            None => Said::Clean,
        }
    }

    /// What all say together: who finds something is believed, and nothing is clean unless `judge` has looked at it.
    pub fn together(&self, judge: &str) -> Said {
        match () {
            () if self.findings.iter().any(|(_, kind)| DIFFERENCES.contains(&kind.as_str())) => Said::Differs,
            () if self.found("truncate") => Said::NotEvaluated("no policy is asked".to_owned()),
            () => self.of(judge),
        }
    }
}

/// What the records say, by statement, and those that are about none.
pub fn sightings<'a>(case: &Case, records: &'a [Value]) -> (Vec<Sighting>, Vec<&'a Value>) {
    let mut sightings = vec![Sighting::default(); case.statements.len()];
    let (mut strays, mut known) = (Vec::new(), BTreeMap::new());
    for record in records {
        let text = |path: &str| record.pointer(path).and_then(Value::as_str);
        let fingerprint = text("/query/fingerprint");
        // Of coverage, the text stands in the first record alone.
        if let (Some(fingerprint), Some(text)) = (fingerprint, text("/query/text")) {
            known.insert(fingerprint, text);
        }
        let written = fingerprint.and_then(|fingerprint| known.get(fingerprint).copied());
        let about = written.and_then(|text| statement_of(case, text));
        let finding = text("/evidence/detector").map(|detector| (detector, None));
        let coverage =
            text("/coverage/detector").map(|detector| (detector, Some(text("/coverage/uncovered"))));
        let Some((detector, coverage)) = coverage.or(finding) else { continue };
        let Some(number) = about else {
            if !written.is_some_and(|text| BLOCK.contains(&text)) {
                strays.push(record);
            }
            continue;
        };
        let detector = detector.to_owned();
        match coverage {
            Some(uncovered) => {
                let reasons = sightings[number].coverage.entry(detector).or_default();
                reasons.insert(uncovered.map(str::to_owned));
            }
            None => {
                let kind = text("/kind").expect("a finding has a kind").to_owned();
                sightings[number].findings.insert((detector, kind));
            }
        }
    }
    (sightings, strays)
}

/// The statement that a normalised text is one of: its names end with the number.
fn statement_of(case: &Case, text: &str) -> Option<usize> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let numbered = words.filter_map(|word| {
        let (name, number) = word.rsplit_once('_')?;
        let named = name == "whole" || name.len() > 1 && name[1..].bytes().all(|byte| byte.is_ascii_digit());
        number.parse().ok().filter(|_| named)
    });
    let number = numbered.into_iter().next();
    number.filter(|&number| number < case.statements.len()).or_else(|| {
        // COPY FROM has no names of its own, but its list of columns.
        let same = |statement: &&Statement| letters(&statement.text) == letters(text);
        case.statements.iter().find(same).map(|statement| statement.number)
    })
}
