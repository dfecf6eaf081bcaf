//! What a service's session does: watched from beside it, and summed up.
//!
//! Services act for no tenant, so each of their sessions gives an account of itself: who it was, from where, what for, how
//! many transactions and statements, and which tables. [`Witness`] reads the messages that pass between the client and
//! pgwarden, after they were dealt with: it decides nothing, and a session that has none pays nothing. It tells
//! [`Observation`]s; [`Account`] sums them up. Which tables a text names is found out elsewhere, because it takes time; the
//! account is told of it later.
//!
//! Everything is bounded: how many tables and kinds of commands an account holds, how long a text may be to be looked at,
//! how many statements of a client are remembered. What finds no place is counted.

mod account;
mod frames;
mod statements;
mod witness;

pub use account::{Account, Party, Tables};
pub use witness::{Observation, Witness};
