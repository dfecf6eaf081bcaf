//! Where the contents behind `file:` and `env:` come from.

use std::ffi::OsString;
use std::io;
use std::path::Path;

/// The outside world, as far as the configuration may look at it.
pub trait Source {
    /// The bytes of a file.
    ///
    /// # Errors
    ///
    /// Whatever stops it from being read.
    fn file(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The value of an environment variable, if it is set; it need not be text.
    fn env(&self, name: &str) -> Option<OsString>;
}
