//! What people see of a running pgwarden: each session writes on a board what it does, and whoever asks reads it there.
//!
//! Nobody's name is in it but the database and the login on the server, which the operator has configured: no tenant, no
//! user of a client, no statement. Services are shown with all that they account for.

mod board;
pub(crate) mod command;
mod gather;
mod report;

pub(crate) use board::{Board, Doing, Edge, Presence};
pub(crate) use report::{LastReload, Report, ServiceReport, ServiceSessionReport, SinkReport, StagingReport};

use std::fmt;

/// Where the status comes from.
pub(crate) trait Source: fmt::Debug + Send + Sync {
    /// Everything, as of now.
    fn report(&self) -> Report;

    /// The server processes that sessions hold in a database.
    fn processes(&self, database: &str) -> Vec<u32>;
}
