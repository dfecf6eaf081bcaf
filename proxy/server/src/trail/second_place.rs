//! Checkpoints in a second place: whoever holds them knows how far the trail went.

use pgwarden_audit::Checkpoint;
use pgwarden_config::SecondPlace;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

/// Writes a checkpoint as a line there.
///
/// # Errors
/// What the system says.
pub(super) fn keep(place: &SecondPlace, checkpoint: &Checkpoint) -> io::Result<()> {
    let mut line = serde_json::to_vec(checkpoint)?;
    line.push(b'\n');
    match place {
        SecondPlace::Stdout => io::stdout().lock().write_all(&line).and_then(|()| io::stdout().flush()),
        SecondPlace::File(path) => {
            let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
            file.write_all(&line)?;
            file.sync_data()
        }
    }
}
