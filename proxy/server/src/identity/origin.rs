//! Where look-ups are made: the login for them, its connections, and the one that hears of changes. It outlives a
//! reload that changes nothing of it.

use crate::identity::changes::{Changes, Channel};
use crate::identity::memory::Memory;
use crate::lookup::Line;
use crate::meters::Meters;
use crate::upstream::{Credentials, Server};
use pgwarden_auth::secret::Secret;
use pgwarden_config::{Lookup, Pooler};
use std::sync::Arc;

/// Where look-ups are made.
#[derive(Debug)]
pub(crate) struct Origin {
    lookup: Lookup,
    server: Arc<Server>,
    login: Credentials,
    line: Arc<Line>,
    changes: Changes,
}

impl Origin {
    /// Look-ups on this server, with the secret of their login.
    pub(crate) fn new(lookup: Lookup, secret: Option<Secret>, server: &Arc<Server>) -> Self {
        let login = Credentials { user: lookup.user.clone(), secret, keys: None };
        let line = Line::new(Arc::clone(server), login.clone(), lookup.database.clone(), lookup.timeout);
        let line = Arc::new(line.of_at_most(lookup.connections));
        Self { server: Arc::clone(server), login, line, changes: Changes::new(), lookup }
    }

    /// Whether look-ups are made there in the same way.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (&self.lookup, &self.login) == (&other.lookup, &other.login)
            && Arc::ptr_eq(&self.server, &other.server)
    }

    /// The connections.
    pub(super) fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line)
    }

    /// Tells this memory of changes.
    pub(super) fn tell(&self, memory: &Arc<Memory>) {
        self.changes.tell(memory);
    }

    /// Begins to listen for changes, unless it does already. Must be called inside a runtime.
    ///
    /// Through a pooler that shares its servers, no notification comes: nothing is listened to then, and what was looked
    /// up holds for as short a time as if the connection were lost.
    pub(super) fn listen(&self, meters: &Arc<Meters>) {
        if self.server.pooler != Pooler::No {
            return;
        }
        let channel = || Channel {
            server: Arc::clone(&self.server),
            login: self.login.clone(),
            database: self.lookup.database.clone(),
            name: self.lookup.channel.clone(),
            patience: self.lookup.timeout,
            beat: self.lookup.unnotified_ttl,
        };
        self.changes.listen(channel, meters);
    }
}
