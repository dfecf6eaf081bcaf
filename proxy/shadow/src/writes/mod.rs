//! Rows that are written: what the policies would refuse, and what they would hide.
//!
//! Triggers look at them, because nothing else sees them all: what functions write, what other triggers write, what a
//! statement computes. PostgreSQL itself evaluates the policies there, with the statement's own snapshot.

/// The names of the triggers. The one for each row is the last of its kind, because triggers fire in the order of their
/// names.
pub const TRIGGERS: [&str; 6] = [
    "~pgwarden_writes_begin",
    "~pgwarden_writes_delete",
    "~pgwarden_writes_insert",
    "~pgwarden_writes_proposed",
    "~pgwarden_writes_truncate",
    "~pgwarden_writes_update",
];
