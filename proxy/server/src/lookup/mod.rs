//! Questions of pgwarden's own to the server, on connections of its own.
//!
//! No client ever uses one of these connections, and no value of a client reaches one except as a bind parameter. Each
//! question is a transaction with a fixed `search_path`, so that neither what a role was given by ALTER ROLE nor what
//! somebody left behind in a pooler decides what its names mean (CVE-2025-12819).

mod connection;
mod error;
mod line;
mod listener;

pub(crate) use connection::{Column, Question, Row, Table};
pub(crate) use error::LookupError;
pub(crate) use line::Line;
pub(crate) use listener::Listener;
