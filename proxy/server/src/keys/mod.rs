//! The keys that verify tokens: loaded once, then kept fresh.
//!
//! A [`KeyStore`] is a handle that every session has; [`KeyStore::keep_fresh`] is the one task behind
//! it. A source that fails leaves the old keys in use: issuers rotate with an overlap, and a short
//! outage must not lock everybody out. Files and addresses are read on blocking threads.

mod error;
mod fetch;
mod read;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pgwarden_auth::jwt::KeySet;
use pgwarden_config::KeySource;
use tokio::sync::Notify;
use tokio::{task, time};

pub(crate) use self::error::KeyStoreError;
use crate::causes::WithCauses;

/// The least time between two readings that unknown keys cause.
const HINT_PAUSE: Duration = Duration::from_secs(10);

/// The current keys; cheap to clone, and every clone sees the same ones.
#[derive(Debug, Clone)]
pub(crate) struct KeyStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    keys: ArcSwap<KeySet>,
    hint: Notify,
}

/// Whether the source answered last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Answers,
    Fails,
}

impl KeyStore {
    /// Reads the keys for the first time.
    ///
    /// This blocks, for an address up to [`fetch::TIMEOUT`]: call it before the runtime starts, or on
    /// a blocking thread.
    ///
    /// # Errors
    ///
    /// [`KeyStoreError`] if there are no keys to start with.
    pub(crate) fn load(source: &KeySource) -> Result<KeyStore, KeyStoreError> {
        let keys = ArcSwap::from_pointee(read::read(source)?);
        Ok(KeyStore { shared: Arc::new(Shared { keys, hint: Notify::new() }) })
    }

    /// The keys of this moment.
    pub(crate) fn current(&self) -> Arc<KeySet> {
        self.shared.keys.load_full()
    }

    /// Says that a token named a key that is not there, as happens after a rotation.
    ///
    /// The source is read soon, but not within 10 seconds of the last reading: anybody can
    /// send such tokens. Costs nothing and never blocks.
    pub(crate) fn hint_unknown_key(&self) {
        self.shared.hint.notify_one();
    }

    /// Reads the source again whenever `every` has passed, or sooner after a hint; for ever.
    ///
    /// Returns at once for [`KeySource::Literal`], which cannot change. The first failure of a streak
    /// is logged as a warning, the end of the streak as information.
    ///
    /// Cancel safe: dropped at any point, it leaves whole keys in place. A reading under way then ends
    /// by itself on its thread, unused.
    pub(crate) async fn keep_fresh(self, source: KeySource, every: Duration) {
        let place = match &source {
            KeySource::Literal(_) => return,
            KeySource::File(path) => path.display().to_string(),
            KeySource::Url(url) => fetch::shown(url).to_owned(),
        };
        let source = Arc::new(source);
        let pause = HINT_PAUSE.min(every);
        let mut health = Health::Answers;
        loop {
            time::sleep(pause).await;
            // A hint that came during the pause is remembered and ends this at once.
            let _ = time::timeout(every.saturating_sub(pause), self.shared.hint.notified()).await;
            health = self.refresh(&source, &place, health).await;
        }
    }

    async fn refresh(&self, source: &Arc<KeySource>, place: &str, before: Health) -> Health {
        let source = Arc::clone(source);
        let read = task::spawn_blocking(move || read::read(&source)).await;
        match read.unwrap_or(Err(KeyStoreError::Abandoned)) {
            Ok(keys) => {
                if before == Health::Fails {
                    tracing::info!(source = place, keys = keys.len(), "token keys can be read again");
                }
                self.shared.keys.store(Arc::new(keys));
                Health::Answers
            }
            Err(error) => {
                if before == Health::Answers {
                    let error = WithCauses(&error);
                    tracing::warn!(
                        source = place,
                        %error,
                        "token keys cannot be read, the old ones stay in use"
                    );
                }
                Health::Fails
            }
        }
    }
}

#[cfg(test)]
mod tests;
