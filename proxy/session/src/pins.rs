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

/// Several reasons at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pins(u16);

impl Pins {
    /// Whether there is no reason.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The first reason.
    pub(crate) fn first(self) -> Option<Pin> {
        self.iter().next()
    }

    /// All reasons.
    pub(crate) fn iter(self) -> impl Iterator<Item = Pin> {
        Pin::ALL.into_iter().filter(move |pin| self.contains(*pin))
    }

    /// Whether this is one of them.
    pub(crate) fn contains(self, pin: Pin) -> bool {
        self.0 & pin.bit() != 0
    }

    /// One more.
    pub(crate) fn insert(&mut self, pin: Pin) {
        self.0 |= pin.bit();
    }

    /// One less.
    pub(crate) fn remove(&mut self, pin: Pin) {
        self.0 &= !pin.bit();
    }
}

impl Pin {
    fn bit(self) -> u16 {
        match self {
            Self::Listen => 1,
            Self::TemporaryTable => 1 << 1,
            Self::AdvisoryLock => 1 << 2,
            Self::HoldCursor => 1 << 3,
            Self::Prepare => 1 << 4,
            Self::Setting => 1 << 5,
            Self::Role => 1 << 6,
            Self::Load => 1 << 7,
            Self::Seed => 1 << 8,
        }
    }

    /// Whether DISCARD ALL leaves the cause where it is: nothing unloads a library or forgets a seed.
    pub(crate) fn outlives_discard(self) -> bool {
        matches!(self, Self::Load | Self::Seed)
    }
}

/// What a statement leaves behind that PostgreSQL does not report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace<'a> {
    /// Nothing, or what is reported.
    Nothing,
    /// State that only this backend has.
    Pins(Pins),
    /// The value of a setting.
    Setting(&'a str, Change),
    /// A setting that is reported went back to what the backend began with.
    Reported(&'a str),
    /// The settings that new transactions begin with.
    Characteristics,
}

/// How a setting was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It has a value of its own.
    Set,
    /// It went back to what the session began with.
    Reset,
}

/// What `statement` would leave on its backend.
pub(crate) fn trace<'a>(statement: &'a Statement, reported: &Settings) -> Trace<'a> {
    match statement.verb {
        Verb::Listen => Trace::of(Pin::Listen),
        Verb::Declare { hold: true } => Trace::of(Pin::HoldCursor),
        Verb::Prepare => Trace::of(Pin::Prepare),
        Verb::Load => Trace::of(Pin::Load),
        Verb::SetSessionCharacteristics => Trace::Characteristics,
        Verb::SetRole | Verb::SetSessionAuthorization => Trace::of(Pin::Role),
        Verb::Set => setting_trace(statement, Change::Set, reported),
        Verb::Reset => setting_trace(statement, Change::Reset, reported),
        _ => marked(statement.marks),
    }
}

impl Trace<'_> {
    fn of(pin: Pin) -> Self {
        let mut pins = Pins::default();
        pins.insert(pin);
        Self::Pins(pins)
    }
}

fn setting_trace<'a>(statement: &'a Statement, change: Change, reported: &Settings) -> Trace<'a> {
    let Some(setting) = &statement.setting else { return Trace::Nothing };
    let is_reported = reported.iter().any(|(name, _)| name.eq_ignore_ascii_case(&setting.name));
    match &*setting.name {
        name if is_reported && change == Change::Reset => Trace::Reported(name),
        _ if setting.local || is_reported => Trace::Nothing,
        "seed" => Trace::of(Pin::Seed),
        // They end with the transaction, whatever they are set by.
        "transaction_isolation" | "transaction_read_only" | "transaction_deferrable" => Trace::Nothing,
        name => Trace::Setting(name, change),
    }
}

fn marked<'a>(marks: Marks) -> Trace<'a> {
    let mut pins = Pins::default();
    for (mark, pin) in [
        (Marks::TEMPORARY, Pin::TemporaryTable),
        (Marks::ADVISORY_LOCK, Pin::AdvisoryLock),
        (Marks::SETSEED, Pin::Seed),
    ] {
        if marks.contains(mark) {
            pins.insert(pin);
        }
    }
    if pins.is_empty() { Trace::Nothing } else { Trace::Pins(pins) }
}

/// Whether the cause of one of the pins may be gone behind the statement.
pub(crate) fn may_end(statement: &Statement, pins: Pins) -> bool {
    match statement.verb {
        Verb::Unlisten => pins.contains(Pin::Listen),
        Verb::ClosePortal => pins.contains(Pin::HoldCursor),
        Verb::Deallocate { .. } => pins.contains(Pin::Prepare),
        Verb::ResetIdentity | Verb::SetRole => pins.contains(Pin::Role),
        // DROP, whatever it drops, and what a transaction drops at its end.
        Verb::DiscardOther | Verb::Other | Verb::Commit { .. } => pins.contains(Pin::TemporaryTable),
        _ => statement.marks.contains(Marks::ADVISORY_UNLOCK) && pins.contains(Pin::AdvisoryLock),
    }
}
