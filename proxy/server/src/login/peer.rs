//! Whom the operating system says that a client of a unix socket is.

use crate::login::Denied;
use crate::meters::LoginOutcome;
use crate::stream::Stream;
use nix::unistd::{Uid, User};
use pgwarden_session::Refusal;

/// Sees to it that the process at the other end runs as the operating system user of this name (`auth_peer` in
/// `auth.c`).
///
/// # Errors
/// [`Denied`] with 28000, without the name that was found.
pub(super) async fn names(stream: &Stream, user: &str) -> Result<(), Denied> {
    let Stream::Unix(socket) = stream else { return Err(refused(user)) };
    let uid = Uid::from_raw(socket.peer_cred().map_err(|_| refused(user))?.uid());
    // The name may come from a directory service: not on the reactor.
    let found = tokio::task::spawn_blocking(move || User::from_uid(uid)).await;
    match found {
        Ok(Ok(Some(found))) if found.name == user => Ok(()),
        Ok(Ok(Some(_))) => Err(refused(user)),
        Ok(Ok(None) | Err(_)) | Err(_) => {
            tracing::warn!(%uid, "the operating system has no name for a client's user");
            Err(refused(user))
        }
    }
}

fn refused(user: &str) -> Denied {
    let message = format!("Peer authentication failed for user \"{user}\"");
    Denied::Refused(Refusal::new("28000", message, "", ""), LoginOutcome::RefusedAuthentication)
}
