//! Session state that a shared backend cannot carry: it pins the client to its backend, or is refused.

use crate::refusal::Refusal;
use crate::settings::Settings;
use pgwarden_sql::{Marks, Statement, Verb};

/// Why a client keeps its backend between transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pin {
    /// LISTEN.
    Listen,
    /// A temporary table.
    TemporaryTable,
    /// A session advisory lock.
    AdvisoryLock,
    /// A cursor WITH HOLD.
    HoldCursor,
    /// PREPARE in SQL.
    Prepare,
    /// A setting that PostgreSQL does not report.
    Setting,
    /// A role or session authorization.
    Role,
    /// LOAD.
    Load,
    /// The seed of random().
    Seed,
}

impl Pin {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Listen,
        Self::TemporaryTable,
        Self::AdvisoryLock,
        Self::HoldCursor,
        Self::Prepare,
        Self::Setting,
        Self::Role,
        Self::Load,
        Self::Seed,
    ];

    /// The reason as a metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::TemporaryTable => "temporary_table",
            Self::AdvisoryLock => "advisory_lock",
            Self::HoldCursor => "hold_cursor",
            Self::Prepare => "prepare",
            Self::Setting => "setting",
            Self::Role => "role",
            Self::Load => "load",
            Self::Seed => "seed",
        }
    }

    /// The error where pins are forbidden.
    pub(crate) fn refusal(self) -> Refusal {
        let what = match self {
            Self::Listen => "LISTEN",
            Self::TemporaryTable => "a temporary table",
            Self::AdvisoryLock => "a session advisory lock",
            Self::HoldCursor => "a cursor WITH HOLD",
            Self::Prepare => "PREPARE",
            Self::Setting => "a setting that outlives the transaction",
            Self::Role => "a role that outlives the transaction",
            Self::Load => "LOAD",
            Self::Seed => "a random seed",
        };
        Refusal::new(
            "0A000",
            format!("{what} is not available with transaction pooling"),
            "A shared backend cannot carry this state from one transaction to the next, and pool.pins is \"refuse\".",
            "Use pool.mode = \"session\" for this client, or pool.pins = \"allow\".",
        )
    }
}

/// The state that `statement` would leave on its backend, if a shared one cannot carry it.
pub(crate) fn reason(statement: &Statement, reported: &Settings) -> Option<Pin> {
    match statement.verb {
        Verb::Listen => Some(Pin::Listen),
        Verb::Declare { hold: true } => Some(Pin::HoldCursor),
        Verb::Prepare => Some(Pin::Prepare),
        Verb::Load => Some(Pin::Load),
        Verb::SetSessionCharacteristics => Some(Pin::Setting),
        Verb::SetRole | Verb::SetSessionAuthorization => Some(Pin::Role),
        Verb::Set => setting_reason(statement, reported),
        _ => marked_reason(statement.marks),
    }
}

fn setting_reason(statement: &Statement, reported: &Settings) -> Option<Pin> {
    let setting = statement.setting.as_ref()?;
    let is_reported = reported.iter().any(|(name, _)| name.eq_ignore_ascii_case(&setting.name));
    match () {
        () if setting.local || is_reported => None,
        () if &*setting.name == "seed" => Some(Pin::Seed),
        () => Some(Pin::Setting),
    }
}

fn marked_reason(marks: Marks) -> Option<Pin> {
    [
        (Marks::TEMPORARY, Pin::TemporaryTable),
        (Marks::ADVISORY_LOCK, Pin::AdvisoryLock),
        (Marks::SETSEED, Pin::Seed),
        (Marks::SET_CONFIG, Pin::Setting),
    ]
    .into_iter()
    .find_map(|(mark, pin)| marks.contains(mark).then_some(pin))
}
