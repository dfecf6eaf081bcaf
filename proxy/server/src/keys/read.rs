//! Keys from their source, once.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use pgwarden_auth::jwt::{KeyError, KeySet};
use pgwarden_config::KeySource;
use zeroize::Zeroizing;

use super::{KeyStoreError, fetch};

/// Reads the keys of a source. Blocks.
///
/// What an address returns has to be JWKS; an error page would make a fine HMAC secret.
pub(super) fn read(source: &KeySource) -> Result<KeySet, KeyStoreError> {
    let (place, keys) = match source {
        KeySource::Literal(text) => ("the environment".to_owned(), KeySet::parse(text.expose().as_bytes())),
        KeySource::File(path) => {
            let text = contents(path);
            let text = text.map_err(|source| KeyStoreError::Unreadable { path: path.clone(), source })?;
            (path.display().to_string(), KeySet::parse(&text))
        }
        KeySource::Url(url) => {
            let place = fetch::shown(url).to_owned();
            match fetch::fetch(url) {
                Ok(text) => (place, KeySet::parse_jwks(&text)),
                Err(problem) => return Err(KeyStoreError::Unfetched { place, problem }),
            }
        }
    };
    keys.map_err(|source: KeyError| KeyStoreError::NoKeys { place, source })
}

/// A byte more than a key may have, at most: that is enough to have it refused.
fn contents(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::new());
    File::open(path)?.take(fetch::MAX_BYTES + 1).read_to_end(&mut text)?;
    Ok(text)
}
