//! What the trails of the lanes that keep one say, when their pgwardens have ended.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::matrix::Lane;
use crate::targets::TestBed;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Findings of rows of other tenants, repeats included.
    pub foreign: u64,
    /// Executions that were run again and compared.
    pub replayed: u64,
}

/// Ends the pgwardens that keep a trail, and adds up what they have written.
pub fn read(bed: &mut TestBed) -> Totals {
    let mut totals = Totals::default();
    for lane in [Lane::PgwardenTrail, Lane::PgwardenReplay] {
        if bed.targets().iter().any(|target| target.lane == lane) {
            let directory = bed.finish(lane);
            directory.iter().for_each(|directory| totals.add_all(directory));
        }
    }
    totals
}

impl Totals {
    fn add_all(&mut self, directory: &Path) {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        for text in entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()) {
            text.lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .for_each(|record| self.add(&record));
        }
    }

    fn add(&mut self, record: &Value) {
        let count = record["count"].as_u64().unwrap_or_default();
        if record["kind"] == "rows_foreign" {
            self.foreign += count;
        }
        if record["coverage"]["detector"] == "replay" && record["coverage"]["uncovered"].is_null() {
            self.replayed += count;
        }
    }
}
