//! What the guard and the context check find: counted in every mode, refused in `enforce`.

use crate::warden::Mode;

/// Something a statement did that `enforce` refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offence {
    /// It names a relation, and the client has no context.
    ContextMissing,
    /// The client's token has expired.
    ContextExpired,
    /// What it shows of its tenant stands for nothing.
    ContextDenied,
    /// It would change the tenant within a transaction.
    ContextChanged,
    /// The application says something else of itself than its token.
    ClaimDisagrees,
    /// It touches a setting that pgwarden sets.
    SettingTouched,
    /// It changes the role, the session authorization or row security.
    RoleTouched,
    /// A value that it hands to a function of the application names a setting that pgwarden sets.
    SettingNamed,
    /// It calls a function that the configuration says changes the context.
    FunctionCalled,
    /// It runs, or makes, code that pgwarden cannot read.
    CodeUnread,
    /// Its text cannot be tokenised.
    Unreadable,
}

impl Offence {
    /// Every offence.
    pub const ALL: [Self; 11] = [
        Self::ContextMissing,
        Self::ContextExpired,
        Self::ContextDenied,
        Self::ContextChanged,
        Self::ClaimDisagrees,
        Self::SettingTouched,
        Self::RoleTouched,
        Self::SettingNamed,
        Self::FunctionCalled,
        Self::CodeUnread,
        Self::Unreadable,
    ];

    /// The offence as a metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::ContextMissing => "context_missing",
            Self::ContextExpired => "context_expired",
            Self::ContextDenied => "context_denied",
            Self::ContextChanged => "context_changed",
            Self::ClaimDisagrees => "claim_disagrees",
            Self::SettingTouched => "setting_touched",
            Self::RoleTouched => "role_touched",
            Self::SettingNamed => "setting_named",
            Self::FunctionCalled => "function_called",
            Self::CodeUnread => "code_unread",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Hears of every offence.
pub trait Observer: std::fmt::Debug + Send + Sync {
    /// A statement of a client in this mode did this.
    fn found(&self, offence: Offence, mode: Mode);
}
