//! The table in `tests/FAULTS.md`: a section a fault, a line a state.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::PathBuf;

/// What came of a fault in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub state: &'static str,
    /// What the client reads.
    pub client: String,
    /// What becomes of the backend.
    pub backend: &'static str,
}

const HEAD: &str = "# What happens when something breaks

Every state of the protocol, every fault: what a client that is left reads, and what becomes of the backend. Whatever
breaks, no client waits for ever, another tenant that comes next sees its own rows alone, and no place in the pool is lost.
`tests/tests/faults.rs` does all of this with real servers, and checks this file; `./run faults` writes it.
";

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/FAULTS.md"))
}

/// The section of this fault as it should be.
fn section(fault: &str, outcomes: &[Outcome]) -> String {
    let mut text = format!("\n## {fault}\n| the client was | it reads | its backend |\n|---|---|---|\n");
    for Outcome { state, client, backend } in outcomes {
        let _ = writeln!(text, "| {state} | {client} | {backend} |");
    }
    text
}

/// Compares with the checked-in table, or writes it where `PGWARDEN_FAULTS=write`.
#[track_caller]
pub fn check(fault: &str, outcomes: &[Outcome]) {
    let expected = section(fault, outcomes);
    if std::env::var("PGWARDEN_FAULTS").is_ok_and(|wish| wish == "write") {
        return write(fault, &expected);
    }
    let text = fs::read_to_string(path()).unwrap_or_default();
    let (_, sections) = split(&text);
    let found = sections.into_iter().find(|(name, _)| name == fault).map(|(_, text)| text);
    assert_eq!(
        found.as_deref(),
        Some(expected.trim()),
        "tests/FAULTS.md on the left; ./run faults writes it"
    );
}

/// What stands in front of the sections, and the sections by their names.
fn split(text: &str) -> (String, Vec<(String, String)>) {
    let mut parts = text.split("\n## ");
    let head = parts.next().unwrap_or_default().to_owned();
    let sections = parts.map(|part| {
        let name = part.lines().next().unwrap_or_default().to_owned();
        (name, format!("## {}", part.trim()))
    });
    (head, sections.collect())
}

/// The tests run at the same time, each with a section of its own.
fn write(fault: &str, section: &str) {
    let directory = path().parent().expect("a file is in a directory").to_owned();
    let lock = File::open(directory).expect("the directory of the tests");
    lock.lock().expect("a directory can be locked");
    let text = fs::read_to_string(path()).unwrap_or_default();
    let (_, mut sections) = split(&text);
    sections.retain(|(name, _)| name != fault);
    sections.push((fault.to_owned(), section.trim().to_owned()));
    sections.sort();
    let sections: String = sections.iter().map(|(_, text)| format!("\n{text}\n")).collect();
    fs::write(path(), format!("{HEAD}{sections}")).expect("the table can be written");
}
