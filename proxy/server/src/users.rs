//! The users that may log in with a password, as the users file lists them.

use pgwarden_auth::scram::{derive_verifier, needs_derivation};
use pgwarden_auth::secret::Secret;
use pgwarden_auth::users::UserList;
use std::collections::HashMap;

/// Users and their secrets; SCRAM verifiers are derived once, so that no login pays for it and none can be told from
/// another by its time.
#[derive(Debug, Default)]
pub(crate) struct Users {
    list: Option<UserList>,
    verifiers: HashMap<String, Secret>,
}

impl Users {
    /// The users of a list; verifiers are derived where clear text is stored and SCRAM is `wanted`.
    pub(crate) fn new(list: UserList, mock_key: &[u8; 32], wanted: Verifiers) -> Self {
        let verifiers = match wanted {
            Verifiers::NotNeeded => HashMap::new(),
            Verifiers::Derived => list
                .iter()
                .map(|(name, secret)| (name.to_owned(), verifier(name, secret, mock_key)))
                .collect(),
        };
        Self { list: Some(list), verifiers }
    }

    /// The secret as it is stored.
    pub(crate) fn secret(&self, user: &str) -> Option<&Secret> {
        self.list.as_ref().and_then(|list| list.secret(user))
    }

    /// The secret as SCRAM needs it.
    pub(crate) fn verifier(&self, user: &str) -> Option<&Secret> {
        self.verifiers.get(user)
    }
}

/// Whether SCRAM verifiers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verifiers {
    /// Clients prove themselves in another way.
    NotNeeded,
    /// Clients prove themselves by SCRAM.
    Derived,
}

fn verifier(name: &str, secret: &Secret, mock_key: &[u8; 32]) -> Secret {
    match secret {
        Secret::Clear(password) if needs_derivation(secret) => {
            Secret::Scram(derive_verifier(password, name, mock_key))
        }
        other => other.clone(),
    }
}
