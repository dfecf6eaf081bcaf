//! What all contexts of one configuration have in common: their variables, and who seals them.

use crate::seal::Sealing;
use pgwarden_config::SealSettings;
use pgwarden_session::{Carrier, Sealer};
use pgwarden_tenant::{ROLE, Variable, encode, encode_sealed};
use std::ops::Deref;
use std::sync::Arc;

/// The variables of contexts.
#[derive(Debug, Clone)]
pub(crate) struct Variables {
    list: Vec<Variable>,
    /// Who seals them, and the variable of the seal.
    seal: Option<(Arc<Sealing>, String)>,
}

impl Variables {
    /// These variables, sealed where the settings say so.
    pub(crate) fn new(
        list: Vec<Variable>,
        settings: Option<&SealSettings>,
        sealing: Option<&Arc<Sealing>>,
    ) -> Self {
        let seal = sealing.zip(settings);
        Self { list, seal: seal.map(|(sealing, seal)| (Arc::clone(sealing), seal.variable.clone())) }
    }

    /// The settings that are set, that of the seal last.
    pub(crate) fn names(&self) -> Arc<[String]> {
        let seal = self.seal.as_ref().map(|(_, name)| name.clone());
        self.list.iter().map(|variable| variable.name.clone()).chain(seal).collect()
    }

    /// The same without a role: services have one of their own, and may change it.
    pub(super) fn without_role(&self) -> Self {
        let list = self.list.iter().filter(|variable| variable.name != ROLE).cloned().collect();
        Self { list, seal: self.seal.clone() }
    }

    /// Encodes one value for each.
    pub(super) fn encode(&self, values: &[String]) -> Carrier {
        let names: Vec<&str> = self.list.iter().map(|variable| variable.name.as_str()).collect();
        match &self.seal {
            None => encode(&names, values),
            Some((sealing, name)) => {
                let sealer: Arc<dyn Sealer> = Arc::<Sealing>::clone(sealing);
                encode_sealed(&names, values, name, sealer)
            }
        }
    }
}

impl Deref for Variables {
    type Target = [Variable];

    fn deref(&self) -> &[Variable] {
        &self.list
    }
}
