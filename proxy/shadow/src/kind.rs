//! What can be found.

use serde::{Deserialize, Serialize};

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A statement that names a table, by a client without a context.
    ContextMissing,
    /// The application says another tenant or user than its token.
    ContextDisagrees,
    /// What the client shows of its tenant stands for nothing, has expired, or changes within a transaction.
    ContextInvalid,
    /// A statement touches a setting that pgwarden sets, or may.
    SettingTouched,
    /// A statement changes the role, the session authorization or row security.
    RoleTouched,
    /// Rows of another tenant are on their way to the client.
    RowsForeign,
    /// A query returns something else with the policies.
    ResultDiffers,
    /// A query whose result depends on the plan (LIMIT without a total order, say) may return something else.
    ResultUnstable,
    /// A query is much slower with the policies.
    Slower,
    /// A write that the policies would refuse (42501).
    WriteRefused,
    /// A write whose rows the policies would hide: it would change nothing there.
    WriteHidden,
    /// A referential action reaches rows of another tenant. Policies never stop those.
    WriteCascade,
    /// TRUNCATE, which asks no policy.
    Truncate,
    /// COPY FROM, which fails with row level security for who does not own the table.
    CopyFrom,
    /// The server has refused a statement because of a policy that is in force.
    Denied,
    /// A policy could not be evaluated for a write.
    PolicyError,
    /// A query could not be replayed.
    ReplayError,
    /// A service has worked past all policies.
    ServiceUsed,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the record: nothing is wrong.
    Info,
    /// Somebody should look at it.
    Warning,
    /// With the policies in force the application would behave differently.
    Blocker,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::ContextMissing,
        Self::ContextDisagrees,
        Self::ContextInvalid,
        Self::SettingTouched,
        Self::RoleTouched,
        Self::RowsForeign,
        Self::ResultDiffers,
        Self::ResultUnstable,
        Self::Slower,
        Self::WriteRefused,
        Self::WriteHidden,
        Self::WriteCascade,
        Self::Truncate,
        Self::CopyFrom,
        Self::Denied,
        Self::PolicyError,
        Self::ReplayError,
        Self::ServiceUsed,
    ];

    /// The kind as it is written in records, reports and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::ContextMissing => "context_missing",
            Self::ContextDisagrees => "context_disagrees",
            Self::ContextInvalid => "context_invalid",
            Self::SettingTouched => "setting_touched",
            Self::RoleTouched => "role_touched",
            Self::RowsForeign => "rows_foreign",
            Self::ResultDiffers => "result_differs",
            Self::ResultUnstable => "result_unstable",
            Self::Slower => "slower",
            Self::WriteRefused => "write_refused",
            Self::WriteHidden => "write_hidden",
            Self::WriteCascade => "write_cascade",
            Self::Truncate => "truncate",
            Self::CopyFrom => "copy_from",
            Self::Denied => "denied",
            Self::PolicyError => "policy_error",
            Self::ReplayError => "replay_error",
            Self::ServiceUsed => "service_used",
        }
    }

    /// How much findings of this kind weigh.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::ContextMissing
            | Self::ContextInvalid
            | Self::RowsForeign
            | Self::ResultDiffers
            | Self::WriteRefused
            | Self::WriteHidden
            | Self::CopyFrom
            | Self::PolicyError
            | Self::ReplayError => Severity::Blocker,
            Self::ContextDisagrees
            | Self::SettingTouched
            | Self::RoleTouched
            | Self::ResultUnstable
            | Self::Slower
            | Self::WriteCascade
            | Self::Truncate
            | Self::Denied => Severity::Warning,
            Self::ServiceUsed => Severity::Info,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_what_records_hold() {
        for kind in Kind::ALL {
            let written = serde_json::to_value(kind).expect("a word");
            assert_eq!(written, kind.label());
        }
    }
}
