//! Rows that are written: what the policies would refuse, and what they would hide.
//!
//! Triggers look at them, because nothing else sees them all: what functions write, what other triggers write, what a
//! statement computes. PostgreSQL itself evaluates the policies there, with the statement's own snapshot ([`install()`]).
//! What they find travels as an INFO message that pgwarden takes out of the stream ([`Notice`]), and what it means depends
//! on the statement ([`Effect`]).

mod effect;
mod expression;
mod hush;
mod install;
mod notice;
mod reach;
mod watch;

pub use effect::Effect;
pub use hush::Hush;
pub use install::{NotInstalled, Terms, install, remove};
pub use notice::{Group, NONCE, Notice, NoticeCommand};
pub(crate) use reach::{Sight, sight};
pub use watch::{Heard, Judge, Ledger, Statement, Told, Word};

/// The names of the triggers of a table.
#[must_use]
pub fn triggers(table: u32) -> [String; 5] {
    let [begin, delete, insert, update] = STATEMENT.map(str::to_owned);
    [begin, delete, insert, proposed(table), update]
}

/// The name of the trigger for each row that is about to be inserted. It is the last of its kind, because triggers fire in
/// the order of their names; and it has the table's number, because partitions get it as well.
#[must_use]
pub fn proposed(table: u32) -> String {
    format!("~pgwarden_writes_proposed_{table}")
}

/// Those for statements.
const STATEMENT: [&str; 4] = [
    "~pgwarden_writes_begin",
    "~pgwarden_writes_delete",
    "~pgwarden_writes_insert",
    "~pgwarden_writes_update",
];
