//! What the guard and the context check find, as findings.

use crate::kind::Kind;
use pgwarden_tenant::Offence;

/// The kind of finding that an offence is.
#[must_use]
pub fn kind_of(offence: Offence) -> Kind {
    match offence {
        Offence::ContextMissing => Kind::ContextMissing,
        Offence::ContextExpired | Offence::ContextDenied | Offence::ContextChanged => Kind::ContextInvalid,
        Offence::ClaimDisagrees => Kind::ContextDisagrees,
        Offence::RoleTouched => Kind::RoleTouched,
        // What may touch a setting, and cannot be read to the end, counts as touching it.
        Offence::SettingTouched
        | Offence::SettingNamed
        | Offence::FunctionCalled
        | Offence::CodeUnread
        | Offence::Unreadable => Kind::SettingTouched,
    }
}
