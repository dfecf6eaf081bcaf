//! What a client reads when nothing is granted: never a value, and nothing of the database.

use crate::identity::directory::DirectoryError;
use pgwarden_auth::jwt::TokenError;
use pgwarden_session::Refusal;
use pgwarden_tenant::{Denial, Offence};

fn denial(sqlstate: &'static str, message: &str, detail: &str, hint: &str) -> Denial {
    Denial { offence: Offence::ContextDenied, refusal: Refusal::new(sqlstate, message, detail, hint) }
}

/// A signed token that is not good.
pub(super) fn bad_token(error: &TokenError) -> Denial {
    denial(
        "28000",
        "the token was refused",
        &format!("{error}."),
        "Get a fresh token and show it in front of the transaction's first statement.",
    )
}

/// An opaque token that nobody has.
pub(super) fn unknown_token() -> Denial {
    denial(
        "28000",
        "the token is not known",
        "It belongs to no session: it was revoked, has expired, or never was one.",
        "Log in to the application again, and show the token of the new session.",
    )
}

/// An opaque token whose session is over.
pub(super) fn ended_session() -> Denial {
    denial(
        "28000",
        "the session of the token has expired",
        "A transaction cannot begin after the end of its session.",
        "Log in to the application again, and show the token of the new session.",
    )
}

/// A user who does not belong to the tenant.
pub(super) fn no_member() -> Denial {
    denial(
        "42501",
        "the user is not a member of the tenant",
        "The membership that the database knows decides, whatever a token or the application says.",
        "Add the user to the tenant, or act for one to which the user belongs.",
    )
}

/// A claim that nobody can check, or that may not be made.
pub(super) fn unsupported() -> Denial {
    denial(
        "42501",
        "the application may not choose its tenant",
        "What an application says of itself counts only for a user who is a member of the tenant.",
        "Name the database user in context.claim.users, and set the user together with the tenant.",
    )
}

/// A search that came to an unexpected end.
pub(super) fn abandoned() -> Denial {
    denial("57P03", "the look-up of the tenant was abandoned", "", "Try again.")
}

/// Nobody could be asked, or what was answered says nothing.
pub(super) fn failed(error: &DirectoryError) -> Denial {
    const HINT: &str = "The operator finds the cause in pgwarden's log.";
    if error.is_late() {
        return denial("57P03", "the look-up of the tenant took too long", "", "Try again.");
    }
    if error.may_pass() {
        return denial(
            "57P03",
            "the tenant cannot be looked up now",
            "",
            "Try again later. The operator finds the cause in pgwarden's log.",
        );
    }
    denial("58000", "the look-up of the tenant failed", "", HINT)
}
