//! Why there are no keys.

use std::io;
use std::path::PathBuf;

use pgwarden_auth::jwt::KeyError;

/// Why the keys could not be read: from where, and what was wrong; never anything of a key, nor the
/// query of an address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyStoreError {
    /// The file cannot be read.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What stops it.
        source: io::Error,
    },
    /// What was read is no key.
    #[error("no keys in {place}")]
    NoKeys {
        /// Where it was read from.
        place: String,
        /// What is wrong with it.
        source: KeyError,
    },
    /// An address gives no answer, or none that can be used.
    #[error("cannot fetch {place}: {problem}")]
    Unfetched {
        /// The address, without its query.
        place: String,
        /// What happened.
        problem: String,
    },
    /// The reading thread came to an unexpected end.
    #[error("the reading was abandoned")]
    Abandoned,
}
