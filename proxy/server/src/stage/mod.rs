//! The way to enforcement and back: `pgwarden stage`, `unstage`, `staged`, `promote` and `demote`.
//!
//! Nothing here runs beside clients: each command is a session of its own, which changes one table at a time, each in one
//! transaction together with its rows in `pgwarden.staged` and `pgwarden.journal`. A command that ends in the middle
//! leaves whole steps behind, and goes on where it was when it is run again.
//!
//! Staged is what bears these names: policies `pgwarden_…` TO `pgwarden_shadow`, `pgwarden_shadow_2` … (one shadow role
//! for each role of the application, in `pgwarden.shadow_role`), and `pgwarden_open` on a table that had no row level
//! security before.

mod administrator;
mod ahead;
pub(crate) mod arguments;
mod catalog;
mod closure;
mod command;
mod failure;
mod gate;
mod install;
mod listing;
mod lock;
mod moved;
mod neutral;
mod plan;
mod preflight;
mod roles;
mod source;
mod through;
mod withdraw;

pub(crate) use administrator::{Administrator, Effect};
pub(crate) use ahead::ahead;
pub(crate) use closure::UNBOUND;
pub(crate) use command::stage;
pub(crate) use failure::Failure;
pub(crate) use listing::staged;
pub(crate) use moved::{demote, promote};
pub(crate) use withdraw::unstage;
