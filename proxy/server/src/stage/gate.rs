//! Who may pass to enforcement: what the verdict says, or whoever answers for it.

use super::failure::Failure;

/// Lets a promotion pass.
///
/// # Errors
/// [`Failure::Refused`] unless the verdict is READY, or somebody answers for it.
pub(crate) fn pass(verdicts: &[(String, Verdict)], forced: Option<&str>) -> Result<(), Failure> {
    let Some((table, verdict)) = verdicts.iter().find(|(_, verdict)| *verdict != Verdict::Ready) else {
        return Ok(());
    };
    match forced {
        Some(_) => Ok(()),
        None => Err(Failure::refused(
            format!("the verdict on {table} is {}", verdict.word()),
            verdict.why(),
            "Let the detectors run until it is READY, or answer for it: --force --reason '…'.",
        )),
    }
}

/// What the detectors say about a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing would change for the application.
    Ready,
    /// Something would.
    NotReady,
    /// It is not known: nobody has looked, or not for long enough.
    InsufficientData,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::NotReady => "NOT READY",
            Self::InsufficientData => "INSUFFICIENT DATA",
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::Ready => "",
            Self::NotReady => "With its policies in force, statements of the application would be refused or answered otherwise.",
            Self::InsufficientData => "What was never evaluated is not clean.",
        }
    }
}
