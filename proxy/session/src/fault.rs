//! Rules of safety that can be switched off, so that the tests can show that they would notice. In a release build there
//! is no switch.

/// A rule that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A backend goes back although the server still owes replies.
    Unsettled,
    /// A backend goes back with what its client has left on it.
    Dirty,
    /// Statements go without their context.
    Uninjected,
    /// What is to be refused runs.
    FailOpen,
    /// A cancel reaches a backend that its client has given back.
    StrayCancel,
}

/// The rules that are not kept: at most one, and none in a release build.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    #[cfg(debug_assertions)]
    only: Option<Fault>,
}

impl Faults {
    /// Whether the rule is switched off.
    #[must_use]
    pub fn has(self, fault: Fault) -> bool {
        #[cfg(debug_assertions)]
        return self.only == Some(fault);
        #[cfg(not(debug_assertions))]
        {
            let _never = fault;
            false
        }
    }

    /// The switch of that name.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let only = match name {
            "unsettled" => Fault::Unsettled,
            "dirty" => Fault::Dirty,
            "uninjected" => Fault::Uninjected,
            "fail-open" => Fault::FailOpen,
            "stray-cancel" => Fault::StrayCancel,
            _ => return None,
        };
        Some(Self { only: Some(only) })
    }
}
