//! The audit trail, as far as it needs no file and no clock: records, their chain, and what proves it.
//!
//! A record is one line of JSON. Its hash covers the hash of the line before it, so that none can be altered, left out,
//! moved or put in between without a trace.

mod event;

pub use event::{Event, Staging, Step};
