//! A restart that nobody notices: a new process takes the sockets over from the running one.
//!
//! The running process answers on a unix socket, `takeover`. A process that starts with the same path connects there
//! and gets the listening sockets themselves (`SCM_RIGHTS`), so that they are never closed and no connection is
//! refused. Until it says that it serves, the running process serves, too; if it goes away before, nothing has
//! happened.
//!
//! ```text
//! new                          running
//!      ── connects ──────────►
//!      ◄─ "pgwarden 1", a line for each socket, an empty line; with it the sockets
//!         (opens what is new, logs in to the server once)
//!      ── "serving 0 2" ─────►   which of them it uses
//!      ◄─ "leaving" ─────────    it takes no new clients from now on
//!      ── "cancel PID SECRET" ►  of a client that it does not know
//!      ◄─ "OUTCOME" ─────────    what became of it
//! ```
//! One after the other is served at that socket. Who waits there when another one has taken over is sent away once that
//! one has a socket in the same place, and begins anew with it.
//!
//! Both sides make sure that the other one runs as the same user, or as root.

mod address;
mod heir;
mod message;
mod testator;

pub(crate) use address::Door;
pub(crate) use heir::{Cancels, Leaving, Predecessor};
pub(crate) use testator::{Estate, leave};

use std::io;
use std::os::fd::AsFd;

/// What the running process says first.
const GREETING: &str = "pgwarden 1";

/// Whether a process runs as the same user, or as root.
///
/// # Errors
/// When it does not, or cannot be asked.
fn trusted(socket: impl AsFd) -> io::Result<()> {
    let peer = rustix::net::sockopt::socket_peercred(socket)?.uid;
    if peer.is_root() || peer == rustix::process::geteuid() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "the other process runs as another user"))
}
