//! What a client shows of whom it acts for.

use crate::context::Identity;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What a client shows. Never printed: a token is as good as a password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// A token as it was sent: signed, or one that only a look-up knows.
    Token(Arc<str>),
    /// What the login has established.
    Login(Arc<Identity>),
    /// What the application says of itself.
    Claim(Arc<Identity>),
}

impl fmt::Debug for Evidence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Token(_) => "Token(…)",
            Self::Login(_) => "Login(…)",
            Self::Claim(_) => "Claim(…)",
        })
    }
}

/// Claims count by their text, which is what the server gets.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        let text = |identity: &Self| identity.claims.as_ref().map(|claims| claims.text.clone());
        (&self.tenant, &self.user, &self.columns) == (&other.tenant, &other.user, &other.columns)
            && text(self) == text(other)
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.tenant.hash(state);
        self.user.hash(state);
        self.claims.as_ref().map(|claims| &claims.text).hash(state);
        self.columns.hash(state);
    }
}
