//! The table in `SECURITY.md`: a line a vector, a column a set of layers.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use pgwarden_tests::Version;

const BEGIN: &str = "<!-- attacks -->\n";
const END: &str = "<!-- end of attacks -->\n";

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../SECURITY.md"))
}

/// What came of each way on one version, column by column.
type Found = (Version, Vec<Vec<&'static str>>);

/// The table as it should be, by all versions that were tried.
fn table(columns: &[&str], ways: &[&str], found: &[Found]) -> String {
    let mut text = format!("| way | {} |\n|---|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for (line, way) in ways.iter().enumerate() {
        let cells: Vec<String> = (0..columns.len()).map(|column| cell(found, column, line)).collect();
        let _ = writeln!(text, "| {way} | {} |", cells.join(" | "));
    }
    text
}

/// What came of it on the newest version, and on those that differ.
fn cell(found: &[Found], column: usize, line: usize) -> String {
    let outcome = |(version, columns): &Found| (*version, columns[column][line]);
    let (_, newest) = found.last().map(outcome).expect("a version");
    let others = found.iter().map(outcome).filter(|(_, outcome)| *outcome != newest);
    let others: Vec<String> = others.map(|(version, outcome)| format!("{version}: {outcome}")).collect();
    if others.is_empty() { newest.to_owned() } else { format!("{newest} ({})", others.join(", ")) }
}

/// What a cell says about a version.
fn said(cell: &str, version: Version) -> &str {
    let Some((newest, others)) = cell.trim_end_matches(')').split_once(" (") else { return cell };
    let prefix = format!("{version}: ");
    others.split(", ").find_map(|other| other.strip_prefix(&prefix)).unwrap_or(newest)
}

/// Compares with the checked-in table, or writes it where `PGWARDEN_ATTACKS=write`.
#[track_caller]
pub fn check(columns: &[&str], ways: &[&str], found: &[Found]) {
    let text = fs::read_to_string(path()).expect("SECURITY.md can be read");
    let (head, rest) = text.split_once(BEGIN).expect("SECURITY.md says where the table begins");
    let (written, tail) = rest.split_once(END).expect("SECURITY.md says where the table ends");
    if std::env::var("PGWARDEN_ATTACKS").is_ok_and(|wish| wish == "write") {
        let expected = table(columns, ways, found);
        return fs::write(path(), format!("{head}{BEGIN}{expected}{END}{tail}")).expect("it can be written");
    }
    for one in found {
        let as_written: String = written.lines().map(|line| line_for(line, one.0)).collect();
        let expected = table(columns, ways, std::slice::from_ref(one));
        assert_eq!(as_written, expected, "SECURITY.md for {} on the left; ./run attacks writes it", one.0);
    }
}

/// A line of the table, as if there were this version alone.
fn line_for(line: &str, version: Version) -> String {
    let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
    let Some((way, outcomes)) = cells.split_first().filter(|_| line.starts_with("| ")) else {
        return format!("{line}\n");
    };
    let outcomes: Vec<&str> = outcomes.iter().map(|cell| said(cell, version)).collect();
    format!("| {way} | {} |\n", outcomes.join(" | "))
}
