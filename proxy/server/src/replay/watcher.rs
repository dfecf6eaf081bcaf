//! Watches a session for queries to be run again, where nobody else watches it.

use crate::app::App;
use pgwarden_session::{
    Description, Formats, Interest, Look, Notice, Overseer, Sent, Statement, Ticket,
};
use pgwarden_shadow::replay::{Acting, Follower, Replayer};
use pgwarden_shadow::{Actor, Query, Site, Tenant, TenantSource};
use pgwarden_sql::{Normaliser, Script, StringSyntax, fingerprint};
use pgwarden_tenant::{Grant, Judgement, Mode, Offence, Presence, Warden, Watch};
use pgwarden_wire::Status;
use std::sync::Arc;

/// The warden, watched where queries are run again.
pub(crate) fn watched(warden: Warden, mode: Mode, user: &str, database: &str, app: &App) -> Warden {
    let Some(replays) = &app.replays else { return warden };
    let replayer: Arc<dyn Replayer> = Arc::<super::Replays>::clone(replays);
    let role = app.settings.upstream.user.as_deref().unwrap_or(user);
    warden.watched_by(Box::new(Watcher {
        follower: Follower::new(replayer),
        normaliser: Normaliser::default(),
        actor: Arc::new(Actor { user: user.to_owned(), ..Actor::default() }),
        site: Site { database: database.into(), role: role.into(), pid: None },
        mode,
        next: 0,
    }))
}

#[derive(Debug)]
struct Watcher {
    follower: Follower,
    normaliser: Normaliser,
    actor: Arc<Actor>,
    site: Site,
    mode: Mode,
    next: u64,
}

impl Watcher {
    fn query(&mut self, text: &[u8], strings: StringSyntax) -> Arc<Query> {
        let number = self.normaliser.read(text, strings).unwrap_or_default();
        Arc::new(Query { fingerprint: fingerprint(number), text: self.normaliser.text() })
    }

    fn acting(&self, grant: &Grant) -> Acting {
        let tenant = grant.context.values.first().filter(|_| grant.context.presence == Presence::Present);
        let tenant = tenant.map(|id| Arc::new(Tenant { id: id.clone(), source: TenantSource::Login }));
        Acting {
            carrier: grant.carrier.clone(),
            mode: self.mode,
            tenant,
            actor: Arc::clone(&self.actor),
            site: self.site.clone(),
            origin: None,
        }
    }
}

impl Watch for Watcher {
    fn sent(&mut self, sent: &Sent<'_>, grant: &Arc<Grant>) -> Option<Ticket> {
        let statements = sent.script.map(Script::statements).unwrap_or_default();
        let texts = statements.iter().map(|one| sent.text.get(one.span.clone()).unwrap_or_default());
        let queries: Vec<Arc<Query>> = texts.map(|text| self.query(text, sent.strings)).collect();
        self.next += 1;
        let ticket = Ticket(self.next);
        let acting = self.acting(grant);
        self.follower.sent(ticket, sent, &acting, |index| queries.get(index).cloned());
        Some(ticket)
    }

    fn offended(&mut self, _: Offence, _: Judgement, _: Option<&[u8]>, _: &Arc<Grant>) {}
}

impl Overseer for Watcher {
    fn describe(&mut self, _: &[u8]) -> Description {
        Arc::new(())
    }

    fn columns(&mut self, _: Ticket, _: Option<&Description>, _: &Formats) -> Interest {
        Interest::End
    }

    fn row(&mut self, _: Ticket, _: &[u8], _: usize) -> Look {
        Look::Enough
    }

    fn copies(&mut self, _: Ticket) {}

    fn completed(&mut self, ticket: Ticket, _: &[u8]) {
        self.follower.completed(ticket);
    }

    fn paused(&mut self, ticket: Ticket) {
        self.follower.completed(ticket);
    }

    fn failed(&mut self, ticket: Ticket, _: &[u8]) {
        self.follower.failed(ticket);
    }

    fn reads_notices(&self) -> bool {
        false
    }

    fn notice(&mut self, _: Option<Ticket>, _: &[u8]) -> Notice {
        Notice::Pass
    }

    fn reads_bind(&self, _: &Statement) -> bool {
        true
    }

    fn ready(&mut self, status: Status) {
        self.follower.ready(status);
    }
}
