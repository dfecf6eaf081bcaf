//! The users that may log in with a secret: those of the users file, then those that a query finds on the server.

mod account;
mod answer;
mod cache;
mod list;
mod query;

pub(crate) use account::{Account, Accounts};
pub(crate) use list::{Users, Verifiers};
