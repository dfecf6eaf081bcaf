//! Queries on their way to be run again.

use super::Watcher;
use super::running::Running;
use crate::queries::Text;
use crate::replay::Acting;
use pgwarden_session::{Sent, Statement};
use pgwarden_tenant::Held;
use std::sync::Arc;

impl Watcher {
    /// A text is sent: the queries in it may be run again, where policies are staged.
    pub(super) fn follow(&mut self, sent: &Sent<'_>, held: &Held, running: &Running) {
        let Self { follower: Some(follower), catalog, site, actor, mode, .. } = self else { return };
        if catalog.load().shadow_roles.is_empty() {
            return;
        }
        let acting = || Acting {
            carrier: held.grant.carrier.clone(),
            mode: *mode,
            actor: Arc::clone(actor),
            origin: running.origin(),
        };
        let query_of =
            |index: usize| running.text.statements.get(index).map(|known| Arc::clone(&known.query));
        follower.sent(running.ticket, sent, (site, running.acting.tenant.as_ref()), acting, query_of);
    }

    /// Whether the values of a Bind are kept, in case that the query is run again.
    pub(super) fn keeps_values(&self, statement: &Statement) -> bool {
        let Some(follower) = &self.follower else { return false };
        if self.catalog.load().shadow_roles.is_empty() {
            return false;
        }
        // Of a text that nobody has run yet nothing is known: this is its first execution.
        let text = statement.known().and_then(|memo| memo.downcast_ref::<Text>());
        let known = text.and_then(|text| text.statements.first());
        let tenant = self.acting.as_ref().and_then(|acting| acting.tenant.as_ref());
        let tenant = tenant.map(|tenant| tenant.id.as_str());
        follower.reads_bind(statement.script(), known.map(|known| &*known.query), tenant)
    }
}
