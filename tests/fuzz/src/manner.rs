//! How sessions work, and what the server can do, as an input chooses it.

use std::sync::Arc;

use pgwarden_session::{
    Backend, Capabilities, Faults, Interner, Limits, Options, PinPolicy, Pooling, Profile, Reassert, Route,
    SimpleForm, Vehicle,
};

use crate::choices::Choices;
use crate::play::Play;
use crate::server::Tenant;

/// Longer messages are refused.
const LIMITS: Limits =
    Limits { message: 1 << 20, held: 1 << 16, client_statements: 8, backend_statements: 4 };

/// How sessions work, and what the server can do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) options: Options,
    pub(crate) capabilities: Capabilities,
}

impl Manner {
    pub(crate) fn choose(choices: &mut Choices<'_>) -> Manner {
        let (vehicle, form, route) = choices.one_of(&[
            (Vehicle::Prepared, SimpleForm::Front, Route::Direct),
            (Vehicle::Prepared, SimpleForm::Text, Route::Direct),
            (Vehicle::InBatch, SimpleForm::Text, Route::Pooler),
            (Vehicle::Commands, SimpleForm::Text, Route::Direct),
        ]);
        let options = Options {
            pooling: choices.one_of(&[Pooling::Transaction, Pooling::Transaction, Pooling::Session]),
            pins: choices.one_of(&[PinPolicy::Allow, PinPolicy::Refuse]),
            reassert: choices.one_of(&[Reassert::Transaction, Reassert::Statement]),
            limits: LIMITS,
            faults: Faults::default(),
        };
        Manner { options, capabilities: Capabilities { vehicle, form, route } }
    }

    pub(crate) fn backend(&self) -> Box<Backend> {
        Box::new(Backend::new(self.capabilities, profile(), 7))
    }

    /// A client that has logged in as that tenant, and may act for the tenant's other one.
    pub(crate) fn begin(&self, interner: &Arc<Interner>, tenant: Tenant) -> Play {
        let contexts = [tenant, tenant.other()].map(|one| [one.value().to_owned(), "somebody".to_owned()]);
        Play::begin(self.options, &contexts, Arc::clone(interner), profile())
    }
}

fn profile() -> Arc<Profile> {
    let mut profile = Profile::default();
    profile.reported.set("client_encoding", "UTF8");
    profile.reported.set("standard_conforming_strings", "on");
    Arc::new(profile)
}
