//! Who may pass to enforcement.

use super::failure::Failure;

/// Lets a promotion pass. No verdict is known where this command runs, and never evaluated is not clean: somebody has to
/// answer for it.
///
/// # Errors
/// [`Failure::Refused`] unless somebody does.
pub(crate) fn pass(tables: &[&str], answered_for: Option<&str>) -> Result<(), Failure> {
    match answered_for {
        Some(_) => Ok(()),
        None => Err(Failure::refused(
            format!("the verdict on {} is INSUFFICIENT DATA", tables.join(", ")),
            "What was never evaluated is not clean.",
            "Let the detectors run until it is READY, or answer for it: --force --reason '…'.",
        )),
    }
}
