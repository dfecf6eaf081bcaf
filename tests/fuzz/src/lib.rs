//! Fuzz targets: everything in pgwarden that reads what a peer sent, as functions of bytes.
//!
//! A target panics when something is wrong. It runs in three ways: `./run fuzz TARGET` lets libFuzzer look for inputs,
//! `./run fuzz TARGET FILE` replays one, and the test `corpus` replays those that are checked in below `corpus/`.
//!
//! | target | what it reads | what must hold |
//! |---|---|---|
//! | `startup` | the first packet of a connection | what is read, written again, reads the same |
//! | `sql` | a text | statements lie in it in order; a text that PostgreSQL's own grammar accepts has as many of them |
//! | `scram` | SCRAM in both roles | only the honest exchange ends well |
//! | `oauth` | OAUTHBEARER of a client | a token that is found is the one that was sent; nothing goes unread |
//! | `frontend` | what a client sends | any split gives the same bytes |
//! | `backend` | what a server sends | any split gives the same bytes |
//! | `session` | a schedule of two clients and a server that share a backend | below, in [`session`] |

mod backend;
mod choices;
mod frontend;
mod manner;
mod oauth;
mod onlooker;
pub mod play;
mod scram;
mod server;
pub mod session;
mod sql;
mod startup;
mod tenancy;

/// A function that panics when an input shows a defect.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 7] = [
    ("startup", startup::run),
    ("sql", sql::run),
    ("scram", scram::run),
    ("oauth", oauth::run),
    ("frontend", frontend::run),
    ("backend", backend::run),
    ("session", session::run),
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}
