//! What is known of one user while it logs in, wherever that is written.

use crate::lookup::{Line, LookupError};
use crate::meters::Meters;
use crate::upstream::{Credentials, Server};
use crate::users::Users;
use crate::users::cache::Cell;
use crate::users::query::SecretQuery;
use pgwarden_auth::secret::Secret;
use pgwarden_config::AuthQuery;
use std::sync::Arc;

/// All users that may log in with a secret.
#[derive(Debug)]
pub(crate) struct Accounts {
    /// Those of the users file.
    pub(crate) users: Arc<Users>,
    query: Option<SecretQuery>,
}

/// What is known of one user.
#[derive(Debug)]
pub(crate) struct Account {
    /// The secret as it is stored.
    pub(crate) secret: Option<Secret>,
    /// The secret as SCRAM needs it.
    pub(crate) verifier: Option<Secret>,
    /// What has told it, if the server has.
    answer: Option<Arc<Cell>>,
}

impl Accounts {
    /// The users of a file, and those that this query finds on the server, asked with this secret.
    pub(crate) fn new(
        users: Arc<Users>,
        query: Option<(&AuthQuery, Option<Secret>)>,
        server: &Arc<Server>,
        meters: &Arc<Meters>,
        mock_key: [u8; 32],
    ) -> Self {
        let query = query.map(|(settings, secret)| {
            let login = Credentials { user: settings.user.clone(), secret, keys: None };
            let line = Line::new(Arc::clone(server), login, settings.database.clone(), settings.timeout);
            SecretQuery::new(settings, line, Arc::clone(meters), mock_key)
        });
        Self { users, query }
    }

    /// What is known of a user. Whom the file names, nobody is asked about: not even about a user without a secret.
    /// Cancel safe.
    ///
    /// # Errors
    /// [`LookupError`] when the server cannot be asked; the log has it.
    pub(crate) async fn of(&self, user: &str) -> Result<Account, Arc<LookupError>> {
        match &self.query {
            Some(query) if !self.users.names(user) => {
                let (found, answer) = query.secret(user).await?;
                Ok(Account { secret: found.secret, verifier: found.verifier, answer: Some(answer) })
            }
            _ => Ok(Account {
                secret: self.users.secret(user).cloned(),
                verifier: self.users.verifier(user).cloned(),
                answer: None,
            }),
        }
    }

    /// Whether nothing but SCRAM can check this user, because a verifier is all that is stored.
    pub(crate) fn answers_only_scram(&self, account: &Account) -> bool {
        match &account.secret {
            Some(secret) => matches!(secret, Secret::Scram(_)),
            None => {
                self.users.takes_strangers_for_scram() || (self.query.is_some() && !self.users.is_there())
            }
        }
    }

    /// Forgets what was looked up of a user, because the server takes it no longer.
    pub(crate) fn forget(&self, user: &str) {
        if let Some(query) = &self.query {
            query.forget(user);
        }
    }
}

impl Account {
    /// Remembers that a login with it has failed: if it was looked up, the server may have another secret by now.
    pub(crate) fn doubt(&self) {
        if let Some(answer) = &self.answer {
            answer.doubt();
        }
    }

    /// Whether the server itself has told the secret.
    pub(crate) fn was_looked_up(&self) -> bool {
        self.answer.is_some()
    }
}
