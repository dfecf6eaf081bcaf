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
    strangers: Strangers,
}

/// How those are taken who are not in the list, or have no secret there, so that they do not stand out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Strangers {
    /// Like users with a password or its hash.
    #[default]
    AnswerAnything,
    /// Like users with a SCRAM verifier, because there are no others.
    AnswerOnlyScram,
}

impl Users {
    /// The users of a list; verifiers are derived where clear text is stored and SCRAM is `wanted`.
    pub(crate) fn new(list: UserList, mock_key: &[u8; 32], wanted: Verifiers) -> Self {
        let verifiers = match wanted {
            Verifiers::NotNeeded => HashMap::new(),
            Verifiers::Derived => list
                .iter()
                .map(|(name, secret)| (name.to_owned(), scram_verifier(name, secret, mock_key)))
                .collect(),
        };
        let strangers =
            match list.iter().next().is_some() && list.iter().all(|(_, secret)| is_verifier(secret)) {
                true => Strangers::AnswerOnlyScram,
                false => Strangers::AnswerAnything,
            };
        Self { list: Some(list), verifiers, strangers }
    }

    /// The secret as it is stored.
    pub(crate) fn secret(&self, user: &str) -> Option<&Secret> {
        self.list.as_ref().and_then(|list| list.secret(user))
    }

    /// The secret as SCRAM needs it.
    pub(crate) fn verifier(&self, user: &str) -> Option<&Secret> {
        self.verifiers.get(user).or_else(|| self.secret(user).filter(|secret| is_verifier(secret)))
    }

    /// Whether the file names this user, with a secret or without.
    pub(crate) fn names(&self, user: &str) -> bool {
        self.list.as_ref().is_some_and(|list| list.contains(user))
    }

    /// Whether there is a file.
    pub(crate) fn is_there(&self) -> bool {
        self.list.is_some()
    }

    /// Whether those who have no secret in the file are asked for SCRAM, where others are asked for something else.
    pub(crate) fn takes_strangers_for_scram(&self) -> bool {
        self.strangers == Strangers::AnswerOnlyScram
    }
}

fn is_verifier(secret: &Secret) -> bool {
    matches!(secret, Secret::Scram(_))
}

/// Whether SCRAM verifiers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verifiers {
    /// Clients prove themselves in another way.
    NotNeeded,
    /// Clients prove themselves by SCRAM.
    Derived,
}

/// What SCRAM checks a secret by; about a millisecond of CPU for a password in clear text.
pub(super) fn scram_verifier(name: &str, secret: &Secret, mock_key: &[u8; 32]) -> Secret {
    match secret {
        Secret::Clear(password) if needs_derivation(secret) => {
            Secret::Scram(derive_verifier(password, name, mock_key))
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "SCRAM-SHA-256$4096:AAAAAAAAAAAAAAAAAAAAAA==$\
        AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn users(lines: &[(&str, &str)]) -> Users {
        let text: String = lines.iter().map(|(name, secret)| format!("\"{name}\" \"{secret}\"\n")).collect();
        Users::new(UserList::parse(&text).unwrap(), &[0; 32], Verifiers::NotNeeded)
    }

    #[test]
    fn a_verifier_is_for_scram_and_the_rest_for_anything() {
        let users = users(&[("alice", VERIFIER), ("bob", "secret"), ("carol", "")]);
        assert!(users.verifier("alice").is_some() && users.verifier("bob").is_none());
        assert!(users.names("carol") && users.secret("carol").is_none() && !users.names("stranger"));
    }

    #[test]
    fn who_is_not_there_is_taken_like_those_who_are() {
        for (lines, only_scram) in [
            (vec![("alice", VERIFIER)], true),
            (vec![("alice", VERIFIER), ("carol", "")], true),
            (vec![("alice", VERIFIER), ("bob", "secret")], false),
            (vec![("bob", "secret")], false),
            (vec![("carol", "")], false),
            (vec![], false),
        ] {
            assert_eq!(users(&lines).takes_strangers_for_scram(), only_scram, "{lines:?}");
        }
    }
}
