//! How contexts are encoded: of which variables, and who seals them.

use crate::seal::Sealing;
use pgwarden_session::{Carrier, Sealer};
use pgwarden_tenant::{Variable, encode, encode_sealed};
use std::sync::Arc;

/// What all contexts of one configuration have in common.
#[derive(Debug, Clone)]
pub(crate) struct Encoding {
    /// What a context consists of.
    pub(crate) variables: Vec<Variable>,
    /// Who seals it, and the variable of the seal.
    pub(crate) seal: Option<(Arc<Sealing>, String)>,
}

impl Encoding {
    /// Encodes one value for each variable; `None` when there is no variable.
    pub(super) fn carrier(&self, values: &[String]) -> Option<Arc<Carrier>> {
        let names: Vec<&str> = self.variables.iter().map(|variable| variable.name.as_str()).collect();
        (!names.is_empty()).then(|| {
            Arc::new(match &self.seal {
                None => encode(&names, values),
                Some((sealing, name)) => {
                    let sealer: Arc<dyn Sealer> = Arc::<Sealing>::clone(sealing);
                    encode_sealed(&names, values, name, sealer)
                }
            })
        })
    }

    /// The settings that are set, that of the seal last.
    pub(crate) fn names(&self) -> Arc<[String]> {
        let seal = self.seal.as_ref().map(|(_, name)| name.clone());
        self.variables.iter().map(|variable| variable.name.clone()).chain(seal).collect()
    }
}
