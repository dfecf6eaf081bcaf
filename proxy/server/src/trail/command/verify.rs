//! Whether a trail is intact.

use super::{TrailError, public_key};
use crate::cli::Verify;
use crate::trail::files::{Line, files};
use crate::trail::store::is_written_to;
use pgwarden_audit::{Checkpoint, Examined, Verifier};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Reads the whole trail.
pub(super) fn verify(flags: &Verify) -> Result<Examined, TrailError> {
    let key = flags.public_key.as_deref().map(public_key).transpose()?;
    let mut verifier = Verifier::new(key);
    // In front of the trail: what a checkpoint knows is there by now.
    if let Some(path) = &flags.checkpoints {
        for checkpoint in checkpoints(path)? {
            verifier.keep(checkpoint);
        }
    }
    let directory = &flags.directory;
    let is_written_to = is_written_to(directory);
    let files = files(directory).map_err(TrailError::of(directory))?;
    if files.is_empty() {
        return Err(TrailError::NoTrail(directory.clone()));
    }
    let last = files.len() - 1;
    for (index, file) in files.iter().enumerate() {
        verifier.file(&file.name());
        let wrong = || TrailError::of(&file.path);
        let mut lines = file.lines().map_err(wrong())?;
        while let Some(line) = lines.next().map_err(wrong())? {
            match line {
                Line::Whole(line) => drop(verifier.line(&line)),
                // Somebody is just writing it.
                Line::Torn(_) if is_written_to && index == last => (),
                Line::Torn(line) => verifier.torn(u64::try_from(line.len()).unwrap_or(u64::MAX)),
            }
        }
    }
    Ok(verifier.finish())
}

fn checkpoints(path: &Path) -> Result<Vec<Checkpoint>, TrailError> {
    let text = fs::read_to_string(path).map_err(TrailError::of(path))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = lines.map(|(index, line)| {
        let wrong = |_| TrailError::Checkpoint { path: path.to_owned(), line: index + 1 };
        serde_json::from_str(line).map_err(wrong)
    });
    read.collect()
}

/// What was found, for people.
pub(super) fn shown(examined: &Examined) -> String {
    let Examined { files, records, first, last, signed, kept, breaks, further } = examined;
    let mut text = String::new();
    let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
    let verdict = if breaks.is_empty() { "intact" } else { "NOT INTACT" };
    let _fits = writeln!(text, "{verdict}: {records} records ({first} to {last}) in {files} files");
    let _fits = match signed.map(|signed| (signed, last.saturating_sub(signed))) {
        // What follows is the checkpoint, which no checkpoint signs yet.
        Some((signed, 1)) => writeln!(text, "signed up to record {signed}, by the one behind it"),
        Some((signed, more)) => {
            writeln!(text, "signed up to record {signed}; the {more} behind it are not signed yet")
        }
        None => writeln!(text, "no signature was verified"),
    };
    let _fits = match kept {
        0 => {
            writeln!(text, "no checkpoint of a second place was compared: a missing end would not be noticed")
        }
        _ => writeln!(text, "{kept} checkpoints of the second place are as the trail says"),
    };
    for broken in breaks {
        let _fits = writeln!(text, "{broken}");
    }
    if *further > 0 {
        let _fits = writeln!(text, "and {further} more");
    }
    text
}
