//! The audit trail that a pgwarden keeps, read as its files are.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::reload;
use crate::wait::until;
use crate::{Exit, Pgwarden, PgwardenBuilder, Server, lane};

/// A pgwarden in front of two tenants and a service, whose trail is in the directory `audit` of the first process;
/// `audit` is the rest of `[audit]`.
pub fn told(server: &Server, audit: &str) -> PgwardenBuilder {
    lane::told(server, &configured(audit))
}

/// Writes another `[audit]` into the configuration, and reloads it.
#[track_caller]
pub fn reload(pgwarden: &Pgwarden, server: &Server, audit: &str) {
    let more = format!("{}\npool.size = 1\n{}", reload::TRUST, configured(audit));
    let more = more.replace("{before}", &pgwarden.directory().to_string_lossy());
    reload::rewrite(pgwarden, &reload::upstream(server), &more);
    reload::reload(pgwarden, reload::OK);
}

fn configured(audit: &str) -> String {
    format!("{}max_sessions = 100\n[audit]\ndirectory = \"{{before}}/audit\"\n{audit}\n", lane::MIGRATIONS)
}

/// Where the trail of a first process is.
pub fn directory(pgwarden: &Pgwarden) -> PathBuf {
    pgwarden.directory().join("audit")
}

/// The files of a trail, in their order.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).map(|entries| entries.flatten().map(|entry| entry.path()));
    let is_file =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("trail-"));
    let mut files: Vec<PathBuf> = entries.into_iter().flatten().filter(is_file).collect();
    files.sort();
    files
}

/// All whole lines of a trail, as JSON.
pub fn records(directory: &Path) -> Vec<Value> {
    let texts = files(directory).into_iter().filter_map(|path| fs::read_to_string(path).ok());
    let lines = texts.flat_map(|text| {
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(str::to_owned).collect::<Vec<_>>()
    });
    lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
}

/// The records of one kind.
pub fn of_kind(directory: &Path, kind: &str) -> Vec<Value> {
    records(directory).into_iter().filter(|record| record["kind"] == kind).collect()
}

/// The first record of a kind, as soon as there is one.
#[track_caller]
pub fn until_recorded(directory: &Path, kind: &str) -> Value {
    until(&format!("{kind} is in the trail"), || of_kind(directory, kind).into_iter().next())
}

/// How `pgwarden audit verify` ends.
#[track_caller]
pub fn verify(directory: &Path, arguments: &[&str]) -> Exit {
    let directory = directory.to_string_lossy();
    let words: Vec<&str> =
        ["audit", "verify", &directory].into_iter().chain(arguments.iter().copied()).collect();
    Pgwarden::builder().run(&words)
}

/// Asserts that a trail is intact.
#[track_caller]
pub fn assert_intact(directory: &Path, arguments: &[&str]) {
    let exit = verify(directory, arguments);
    assert_eq!(exit.status.code(), Some(0), "{}", exit.stderr);
    assert!(exit.stderr.starts_with("intact: "), "{}", exit.stderr);
}

/// Asserts that it is not, and that `verify` says so.
#[track_caller]
pub fn assert_broken(directory: &Path, arguments: &[&str], says: &str) {
    let exit = verify(directory, arguments);
    assert_eq!(exit.status.code(), Some(1), "{}", exit.stderr);
    assert!(exit.stderr.contains(says), "{says:?} is not in {}", exit.stderr);
}
