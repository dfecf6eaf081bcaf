//! What is said of rows on their way to clients.

/// What happens to a foreign row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RowGuard {
    /// It goes on its way, and is a finding.
    #[default]
    Off,
    /// In `enforce`, the result is cut off in front of it, on tables whose policy is the standard one.
    Block,
}

/// What is said of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowRules {
    /// Whether they are looked at.
    pub sight: RowSight,
    /// What happens to a foreign one.
    pub guard: RowGuard,
    /// Tenants whose rows everybody may see.
    pub global_tenants: Vec<String>,
    /// Whom a client acts for of whom nothing else is known.
    pub default_tenant: Option<String>,
}

/// Whether rows are looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RowSight {
    /// They are.
    #[default]
    On,
    /// They are not.
    Off,
}
