//! Sealed contexts: the key in force, and the commands that bring it into being and into databases.

pub(crate) mod command;

use crate::clock;
use arc_swap::ArcSwap;
use pgwarden_config::SealSettings;
use pgwarden_session::{Process, Seal, Sealer};
use pgwarden_tenant::{ROLE, SealKey, Variable};
use std::sync::Arc;
use std::time::Duration;

/// Makes the seals of all sessions with these variables, whatever configuration they began with: a key that is retired in
/// the databases must not be in use here.
#[derive(Debug)]
pub(crate) struct Sealing {
    /// A key stands for a list of variables.
    names: Vec<String>,
    terms: ArcSwap<Terms>,
}

/// What a reload may change.
#[derive(Debug)]
struct Terms {
    key: SealKey,
    lifetime: i64,
}

impl Sealing {
    /// Who seals these variables under these settings; sessions that go on with `before` take the new key along, unless
    /// it stands for another list than theirs.
    pub(crate) fn after(
        before: Option<&Arc<Self>>,
        variables: &[Variable],
        settings: Option<&SealSettings>,
        key: Option<SealKey>,
    ) -> Option<Arc<Self>> {
        let sealed = variables.iter().filter(|variable| variable.name != ROLE);
        let names: Vec<String> = sealed.map(|variable| variable.name.clone()).collect();
        let terms = settings.zip(key).map(|(settings, key)| Terms::new(key, settings.lifetime))?;
        tracing::info!(key = terms.key.id(), "contexts are sealed");
        Some(match before.filter(|sealing| sealing.names == names) {
            Some(sealing) => {
                sealing.terms.store(Arc::new(terms));
                Arc::clone(sealing)
            }
            None => Arc::new(Self { names, terms: ArcSwap::from_pointee(terms) }),
        })
    }
}

impl Terms {
    fn new(key: SealKey, lifetime: Duration) -> Self {
        Self { key, lifetime: i64::try_from(lifetime.as_micros()).unwrap_or(i64::MAX) }
    }
}

impl Sealer for Sealing {
    fn seal(&self, process: &Process, number: u64, digest: &[u8; 32]) -> Seal {
        let terms = self.terms.load();
        let expiry = clock::micros().saturating_add(process.ahead).saturating_add(terms.lifetime);
        terms.key.seal(&process.identity, u64::try_from(expiry).unwrap_or_default(), number, digest)
    }
}
