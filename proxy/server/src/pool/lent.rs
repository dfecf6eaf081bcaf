//! What clients lend their pool to log in to the server with, where they log in there under their own names.
//!
//! No password is stored for them: their own proof leaves keys (SCRAM), or a look-up has told their secret. What the last
//! login left is kept in memory as long as the server takes it.

use crate::upstream::{Credentials, UpstreamError};
use arc_swap::ArcSwapOption;
use pgwarden_auth::scram_keys::ScramKeys;
use pgwarden_auth::secret::Secret;
use std::sync::Arc;

/// What a login leaves for logins to the server in the same name.
#[derive(Debug)]
pub(crate) enum Lent {
    /// A secret that the server has told.
    Secret(Secret),
    /// The keys of a proof.
    Keys(ScramKeys),
    /// Nothing, because the server no longer takes what was lent. It is not asked again until the next login.
    Refused,
}

/// What the clients of one pool have lent.
#[derive(Debug, Default)]
pub(super) struct Loan(ArcSwapOption<Lent>);

impl Loan {
    /// Takes what a login has left.
    pub(super) fn renew(&self, lent: Lent) {
        self.0.store(Some(Arc::new(lent)));
    }

    /// What to log in with; a password or hash that the users file has goes first.
    ///
    /// # Errors
    /// [`UpstreamError::Outdated`] when the server has refused it since the last login.
    pub(super) fn apply(
        &self,
        login: &Credentials,
    ) -> Result<(Credentials, Option<Arc<Lent>>), UpstreamError> {
        let lent = match login.secret {
            Some(Secret::Clear(_) | Secret::Md5(_)) => None,
            Some(Secret::Scram(_)) | None => self.0.load_full(),
        };
        let mut login = login.clone();
        match lent.as_deref() {
            Some(Lent::Refused) => return Err(UpstreamError::Outdated { user: login.user }),
            Some(Lent::Keys(keys)) => login.keys = Some(keys.clone()),
            Some(Lent::Secret(secret)) => login.secret = Some(secret.clone()),
            None => (),
        }
        Ok((login, lent))
    }

    /// Drops what the server has refused, unless another login has left something since.
    pub(super) fn refused(&self, lent: &Arc<Lent>) {
        self.0.compare_and_swap(lent, Some(Arc::new(Lent::Refused)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgwarden_auth::secret::{DEFAULT_ITERATIONS, ScramVerifier};

    fn login(secret: Option<&str>) -> Credentials {
        let secret = secret.map(|text| Secret::parse(text).unwrap());
        Credentials { user: "alice".into(), secret, keys: None }
    }

    fn keys() -> Lent {
        Lent::Keys(ScramKeys::derive(b"x", &ScramVerifier::derive(b"x", b"salt", DEFAULT_ITERATIONS)))
    }

    #[test]
    fn what_was_refused_is_not_shown_again_before_the_next_login() {
        let loan = Loan::default();
        loan.renew(keys());
        let (with, lent) = loan.apply(&login(None)).unwrap();
        assert!(with.keys.is_some());
        let lent = lent.unwrap();
        loan.refused(&lent);
        assert!(matches!(loan.apply(&login(None)), Err(UpstreamError::Outdated { .. })));
        loan.renew(keys());
        loan.refused(&lent);
        assert!(loan.apply(&login(None)).unwrap().0.keys.is_some(), "another login has come in between");
    }

    #[test]
    fn what_the_users_file_has_goes_first() {
        let loan = Loan::default();
        loan.renew(Lent::Refused);
        for secret in ["secret", "md5900150983cd24fb0d6963f7d28e17f72"] {
            let (with, lent) = loan.apply(&login(Some(secret))).unwrap();
            assert!(lent.is_none() && with.secret == Secret::parse(secret).ok());
        }
        loan.renew(Lent::Secret(Secret::parse("looked up").unwrap()));
        let (with, _) = loan.apply(&login(None)).unwrap();
        assert_eq!(with.secret, Secret::parse("looked up").ok());
    }
}
