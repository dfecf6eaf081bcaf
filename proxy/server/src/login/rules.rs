//! Which method a client has to log in by, and that it may at all.

use crate::app::App;
use crate::login::Denied;
use crate::login::suspicion::Waited;
use crate::meters::LoginOutcome;
use crate::stream::{Peer, Stream};
use pgwarden_auth::throttle::Suspect;
use pgwarden_config::{Attempt, Method};
use pgwarden_session::Refusal;

/// A client that has said who it is and what it wants, and has shown nothing yet.
#[derive(Debug)]
pub(super) struct Newcomer<'a> {
    /// The user.
    pub(super) user: &'a str,
    /// The database.
    pub(super) database: &'a str,
    /// Where it comes from.
    pub(super) peer: Peer,
    /// Whether it has waited for what failed before it.
    pub(super) waited: Waited,
    /// The first name in the certificate that it has shown.
    pub(super) certificate: Option<String>,
}

impl Newcomer<'_> {
    /// Whom failures are counted against.
    pub(super) fn suspect(&self) -> Suspect<'_> {
        Suspect { address: self.peer.address(), user: self.user }
    }

    /// What rules look at.
    fn attempt(&self, stream: &Stream) -> Attempt<'_> {
        Attempt {
            database: self.database,
            user: self.user,
            address: self.peer.address(),
            is_encrypted: matches!(stream, Stream::Tls(_)),
        }
    }
}

/// The method of the first rule that matches, which may be to reject.
///
/// # Errors
/// [`Denied`] with 28000, in PostgreSQL's words (`ClientAuthentication` in `auth.c`), when none matches.
pub(super) fn method(stream: &Stream, newcomer: &Newcomer<'_>, app: &App) -> Result<Method, Denied> {
    let attempt = newcomer.attempt(stream);
    let unknown = "None of pgwarden's auth.rules is for this client.";
    let method = app.settings.auth.method_for(&attempt);
    method.ok_or_else(|| refused("no pg_hba.conf entry", &attempt, unknown))
}

/// What a client reads whom a rule rejects, in PostgreSQL's words as well.
pub(super) fn rejected(stream: &Stream, newcomer: &Newcomer<'_>) -> Denied {
    let why = "One of pgwarden's auth.rules is for this client, and rejects it.";
    refused("pg_hba.conf rejects connection", &newcomer.attempt(stream), why)
}

fn refused(what: &str, attempt: &Attempt<'_>, detail: &str) -> Denied {
    let host = attempt.address.map_or_else(|| "[local]".to_owned(), |address| address.to_string());
    let encryption = if attempt.is_encrypted { "SSL encryption" } else { "no encryption" };
    let (user, database) = (attempt.user, attempt.database);
    let message =
        format!("{what} for host \"{host}\", user \"{user}\", database \"{database}\", {encryption}");
    Denied::Refused(Refusal::new("28000", message, detail, ""), LoginOutcome::RefusedRule)
}
