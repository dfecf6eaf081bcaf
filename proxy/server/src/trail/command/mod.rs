//! `pgwarden audit verify`, `tail` and `keygen`.

mod tail;
mod verify;

use crate::causes::WithCauses;
use crate::cli::{AuditCommand, Export};
use crate::sinks::export::{self, ExportError, Exported};
use crate::{BAD_CONFIGURATION, BAD_SYSTEM, complain, say};
use pgwarden_audit::{NotASigningKey, Signer};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use thiserror::Error;
use zeroize::Zeroizing;

/// The trail is not intact.
const NOT_INTACT: u8 = 1;

/// Why a trail cannot be looked at.
#[derive(Debug, Error)]
pub(crate) enum TrailError {
    /// Usage: nothing is there.
    #[error("there is no audit trail in {}", .0.display())]
    NoTrail(PathBuf),
    /// Usage: a key is none.
    #[error("the public key")]
    Key(#[from] NotASigningKey),
    /// Usage: a line is no checkpoint.
    #[error("{}:{line}: no checkpoint", .path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// System: something cannot be read or written.
    #[error("{}", .path.display())]
    File {
        /// What.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl TrailError {
    fn of(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), source }
    }
}

/// Runs `pgwarden audit …`.
///
/// # Errors
/// The exit code, after what is wrong was printed.
pub(crate) fn run(command: &AuditCommand) -> Result<(), ExitCode> {
    let done = match command {
        AuditCommand::Verify(flags) => match verify::verify(flags) {
            Ok(examined) => {
                say(&verify::shown(&examined));
                return if examined.breaks.is_empty() { Ok(()) } else { Err(ExitCode::from(NOT_INTACT)) };
            }
            Err(error) => Err(error),
        },
        AuditCommand::Tail(flags) => tail::tail(flags),
        AuditCommand::Export(flags) => return export(flags),
        AuditCommand::Keygen { out } => keygen(out),
    };
    done.map_err(|error| {
        complain(&format_args!("pgwarden: {}", WithCauses(&error)));
        ExitCode::from(match error {
            TrailError::File { .. } => BAD_SYSTEM,
            TrailError::NoTrail(_) | TrailError::Key(_) | TrailError::Checkpoint { .. } => BAD_CONFIGURATION,
        })
    })
}

/// Writes records for other programs, and says what is not among them.
fn export(flags: &Export) -> Result<(), ExitCode> {
    match export::export(flags) {
        Ok(Exported { left_out, unreadable, .. }) => {
            if left_out > 0 {
                complain(&format_args!("pgwarden: {left_out} records are no findings and have no such form"));
            }
            if unreadable > 0 {
                complain(&format_args!(
                    "pgwarden: {unreadable} lines are no records; see `pgwarden audit verify`"
                ));
            }
            Ok(())
        }
        Err(error) => {
            complain(&format_args!("pgwarden: {}", WithCauses(&error)));
            Err(ExitCode::from(match error {
                ExportError::NoTrail(_) => BAD_CONFIGURATION,
                ExportError::File { .. } => BAD_SYSTEM,
            }))
        }
    }
}

/// Writes a new key, and prints the public one.
fn keygen(out: &Path) -> Result<(), TrailError> {
    let mut key = Zeroizing::new(String::with_capacity(65));
    for byte in Zeroizing::new(rand::random::<[u8; 32]>()).iter() {
        let _fits = write!(key, "{byte:02x}");
    }
    let public = Signer::parse(&key)?.public_key();
    key.push('\n');
    super::store::write_aside(out, key.as_bytes()).map_err(TrailError::of(out))?;
    say(&format!("{public}\n"));
    Ok(())
}

/// The key in an argument: 64 digits, or a file that holds them.
///
/// # Errors
/// [`TrailError`] when it is none, or the file cannot be read.
pub(crate) fn public_key(text: &str) -> Result<pgwarden_audit::PublicKey, TrailError> {
    let read = match text.strip_prefix("file:").map(Path::new) {
        Some(path) => fs::read_to_string(path).map_err(TrailError::of(path))?,
        None => text.to_owned(),
    };
    Ok(pgwarden_audit::PublicKey::parse(&read)?)
}
