//! Every input that is checked in, old findings among them, through its target.

use std::fs;
use std::path::{Path, PathBuf};

use pgwarden_fuzz::{TARGETS, Target};

/// The grammar of libpg_query recurses.
const STACK: usize = 64 << 20;

fn inputs(target: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn replay(name: &'static str, target: Target) {
    let inputs = inputs(name);
    assert!(!inputs.is_empty(), "{name} has no inputs");
    for path in inputs {
        let bytes = fs::read(&path).expect("an input can be read");
        let shown = path.display().to_string();
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || target(&bytes));
        let outcome = thread.expect("a thread can be started").join();
        assert!(outcome.is_ok(), "./run fuzz {name} {shown}");
    }
}

#[test]
fn every_checked_in_input_passes() {
    for (name, target) in TARGETS {
        replay(name, target);
    }
}

#[test]
fn every_prefix_of_an_input_passes_too() {
    for (name, target) in TARGETS.into_iter().filter(|(name, _)| !matches!(*name, "sql" | "session")) {
        for path in inputs(name) {
            let bytes = fs::read(&path).expect("an input can be read");
            for length in 0..bytes.len() {
                let passed = std::panic::catch_unwind(|| target(&bytes[..length]));
                assert!(passed.is_ok(), "the first {length} bytes of {}", path.display());
            }
        }
    }
}
