//! The audit trail, as far as it needs no file and no clock: records, their chain, and what proves it.
//!
//! A record is one line of JSON. Its hash covers the hash of the line before it, so that none can be altered, left out,
//! moved or put in between without a trace.
//!
//! * Writing: a [`Record`] is made of an event ([`Record::finding`], …), and a [`Chain`] gives it its place.
//! * Reading: each line of a file is a [`Record`] for serde; [`Verifier`] takes the lines of all files in their order, and
//!   says whether they are one chain.
//! * Proof: a [`Checkpoint`] is signed by a [`Signer`]; who keeps one, or the [`PublicKey`], notices when the end of the
//!   trail is missing, or when it was made anew.

mod chain;
mod checkpoint;
mod detail;
mod entry;
mod event;
mod hash;
mod kind;
mod nul;
mod pseudonym;
mod record;
mod timestamp;
mod verify;

pub use chain::{Chain, Moment};
pub use checkpoint::{Checkpoint, NotASigningKey, PublicKey, Signer};
pub use detail::{Carried, Cut, Detail, Interruption, Start, Tail};
pub use entry::finding_id;
pub use event::{Event, Staging};
pub use hash::hash_of;
pub use kind::{Life, RecordKind, UnknownKind};
pub use nul::without_nul;
pub use pgwarden_shadow::verdict::Step;
pub use pseudonym::Pseudonyms;
pub use record::{
    Covered, Evidence, Proxy, Record, RecordedActor, RecordedOrigin, RecordedTenant, Seen, VERSION,
};
pub use timestamp::{NotATimestamp, Timestamp};
pub use verify::{Break, Broken, Examined, Verifier};
