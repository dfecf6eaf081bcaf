//! The files of `deploy/examples`.

use std::path::PathBuf;
use std::process::Output;

use crate::postgres::psql;
use crate::version::root;

/// Where a file is, by its path below `deploy/examples`.
pub fn path(file: &str) -> PathBuf {
    root().join("deploy/examples").join(file)
}

/// The text of a file.
#[track_caller]
pub fn text(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Runs a file with psql, which has to succeed.
#[track_caller]
pub fn run(url: &str, file: &str) -> Output {
    let output = psql(url, &["-f", &path(file).to_string_lossy()]);
    assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
