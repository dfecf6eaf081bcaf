//! The PostgreSQL server behind the proxy: how to reach it, log in there, and cancel there.

mod authenticate;
mod error;
mod login;
mod process;
mod server;

pub(crate) use error::UpstreamError;
pub(crate) use login::{Credentials, Established, LIMIT, query_reporting};
pub(crate) use server::{Seals, Server};
