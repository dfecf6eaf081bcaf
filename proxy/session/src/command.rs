//! What a completed command did to the session, told by its CommandComplete.

use crate::engine::{Definitions, Engine, Resetting};
use crate::output::Output;
use crate::pins::{Pin, Pins};
use crate::queue::{Fate, Naming};
use crate::settings::Settings;
use crate::tenancy::Tenancy;
use std::sync::Arc;

/// What a command drops besides its reply.
#[derive(Debug, Default)]
pub(crate) enum Effect {
    /// Nothing that matters here.
    #[default]
    Nothing,
    /// RESET ALL is among the statements.
    Reset,
    /// One prepared statement.
    Deallocate(Box<Naming>),
}

impl Fate {
    /// Takes what the command that was just completed did, as far as its tag does not tell.
    pub(crate) fn take_effect(&mut self) -> Effect {
        match self {
            Self::Command(effect) => match effect {
                Effect::Reset => Effect::Reset,
                effect => std::mem::take(effect),
            },
            Self::Script(insertions) if insertions.resets == Resetting::Settings => Effect::Reset,
            _ => Effect::Nothing,
        }
    }
}

/// Whether a prepared statement may return other columns behind the command.
fn changes_definitions(tag: &[u8]) -> bool {
    [b"ALTER ".as_slice(), b"DROP ", b"CREATE VIEW", b"CREATE FUNCTION"]
        .iter()
        .any(|one| tag.starts_with(one))
}

impl<T: Tenancy> Engine<T> {
    /// A command of the client was completed.
    pub(crate) fn completed(&mut self, tag: &[u8], effect: Effect) {
        match (tag, effect) {
            (b"DISCARD ALL\0", _) => {
                self.statements_dropped();
                self.resetting = Resetting::Everything;
            }
            (b"DEALLOCATE ALL\0", _) => self.statements_dropped(),
            (b"DEALLOCATE\0", Effect::Deallocate(naming)) => {
                self.statements.remove_exactly(&naming.name, &naming.statement);
                if let Some(backend) = &mut self.lease {
                    backend.shelf.forget_any(&naming.statement);
                }
            }
            (b"RESET\0", Effect::Reset) if self.resetting == Resetting::Nothing => {
                self.resetting = Resetting::Settings;
            }
            _ if changes_definitions(tag) => self.definitions = Definitions::Changed,
            _ => (),
        }
    }

    fn statements_dropped(&mut self) {
        self.statements.clear();
        if let Some(backend) = &mut self.lease {
            backend.statements_dropped();
        }
    }

    /// After DISCARD ALL. What that leaves behind is nothing for the next client: the backend will be closed.
    fn unpin(&mut self) {
        if self.pins.iter().any(Pin::outlives_discard) {
            self.taint();
        }
        self.pins = Pins::default();
    }

    /// What PostgreSQL reports, and has gone back to what the backend began with, becomes what the client began with.
    pub(crate) fn fall_back_to_start(&mut self, concerns: impl Fn(&str) -> bool, out: &mut Output) {
        let Some(backend) = &self.lease else { return };
        let mut profile = (*self.profile).clone();
        let mut changed = false;
        for (name, value) in self.initial.reported.iter().filter(|(name, _)| concerns(name)) {
            let reset = profile.reported.value(name) == backend.fresh.reported.value(name);
            if reset && profile.reported.set(name, value) {
                changed = true;
                out.client.write(|w| {
                    w.parameter_status(name.as_bytes(), value.as_bytes());
                });
            }
        }
        if changed {
            self.profile = Arc::new(profile);
        }
    }

    /// RESET ALL means what the *client* started with; the backend fell back to what it started with itself.
    pub(crate) fn fall_back(&mut self, resetting: Resetting, out: &mut Output) {
        self.fall_back_to_start(|_| true, out);
        if self.profile.carried != self.initial.carried {
            let mut profile = (*self.profile).clone();
            profile.carried = self.initial.carried.clone();
            self.profile = Arc::new(profile);
        }
        let Some(backend) = &mut self.lease else { return };
        let mut emptied = (*backend.profile).clone();
        emptied.carried = Settings::default();
        backend.profile = Arc::new(emptied);
        if resetting == Resetting::Everything {
            self.unpin();
        }
        if !self.pins.is_empty() {
            self.bring_along(out);
        }
    }
}
