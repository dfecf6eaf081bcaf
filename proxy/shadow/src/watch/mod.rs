//! Who watches one session: hears of every statement and of what comes back, and tells what the policies would have changed.
//! Nothing in here waits, and in shadow nothing that passes is altered.

mod acting;
mod findings;
mod following;
mod post;
mod rules;
mod running;
mod transaction;

pub use post::Post;
pub use rules::{RowGuard, RowRules, RowSight};

use crate::book::{Came, Seen, Wrote};
use crate::catalog::Catalog;
use crate::coverage::Uncovered;
use crate::denied::denied;
use crate::finding::{Actor, Decision, Site};
use crate::queries::{Known, Text};
use crate::replay::Follower;
use crate::rows::{self, Columns, Sight, is_standard};
use crate::writes::{Heard, Ledger};
use acting::Acting;
use arc_swap::ArcSwap;
use findings::{Place, cut};
use pgwarden_session::{Description, Formats, Interest, Look, Notice, Overseer, Sent, Statement, Ticket};
use pgwarden_sql::{Normaliser, StringSyntax, Verb, analyse};
use pgwarden_tenant::{Held, Judgement, Mode, Offence, Watch};
use pgwarden_wire::Status;
use running::Running;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use transaction::Transaction;

/// Offences of statements that have not been sent, at most: some never are.
const MOST_PENDING: usize = 32;

/// Who watches one session.
#[derive(Debug)]
pub struct Watcher {
    post: Post,
    catalog: Arc<ArcSwap<Catalog>>,
    mode: Mode,
    actor: Arc<Actor>,
    site: Arc<Site>,
    process: Option<u32>,
    session: usize,
    normaliser: Normaliser,
    acting: Option<Arc<Acting>>,
    pending: VecDeque<(u64, Offence)>,
    running: VecDeque<Running>,
    tickets: u64,
    transaction: Transaction,
    /// What the triggers have told.
    writes: Ledger,
    follower: Option<Follower>,
    /// Whether the session has said that it replicates: then no trigger fires.
    replicates: bool,
}

impl Watcher {
    /// For a session of `actor` in this mode, which has this number; `catalog` is that of its database.
    #[must_use]
    pub fn new(
        post: Post,
        catalog: Arc<ArcSwap<Catalog>>,
        mode: Mode,
        (actor, site): (Arc<Actor>, Arc<Site>),
        session: usize,
    ) -> Self {
        Self {
            writes: Ledger::new(post.writes.clone()),
            follower: post.replayer.clone().map(Follower::new),
            post,
            catalog,
            mode,
            actor,
            site,
            process: None,
            session,
            normaliser: Normaliser::default(),
            acting: None,
            pending: VecDeque::new(),
            running: VecDeque::new(),
            tickets: 0,
            transaction: Transaction::default(),
            replicates: false,
        }
    }

    fn acting(&mut self, held: &Held) -> Arc<Acting> {
        if let Some(acting) = self.acting.as_ref().filter(|acting| acting.is_of(held)) {
            return Arc::clone(acting);
        }
        let RowRules { global_tenants, default_tenant, .. } = &*self.post.rows;
        let acting = Arc::new(Acting::new(held, global_tenants, default_tenant.as_deref()));
        self.acting = Some(Arc::clone(&acting));
        acting
    }

    fn read(&mut self, sent: &Sent<'_>) -> Arc<Text> {
        let Self { post, normaliser, .. } = self;
        let statements = sent.script.map(pgwarden_sql::Script::statements);
        let mut read = || Arc::new(post.queries.read(sent.text, statements, sent.strings, normaliser));
        let Some(bound) = sent.bound else { return read() };
        // Every overseer makes the same of a text.
        let memo = bound.statement.memo(|| read());
        Arc::clone(memo).downcast().unwrap_or_else(|_| Arc::new(Text::unread()))
    }

    /// The text that replies come for; those in front of it were skipped by the server.
    fn running(&mut self, ticket: Ticket) -> Option<&mut Running> {
        while self.running.front().is_some_and(|running| running.ticket < ticket) {
            self.running.pop_front();
        }
        self.running.front_mut().filter(|running| running.ticket == ticket)
    }

    /// A statement has come to an end, whatever that is: what was seen of it is told.
    fn conclude(&mut self, ticket: Ticket) {
        let Some(running) = self.running(ticket) else { return };
        let result = running.result.take();
        let seen = std::mem::replace(&mut running.seen, Seen::Nothing);
        let seen = match &result {
            // Whether a row could not be read is known only behind it.
            Some(result) => match (result.uncovered, seen) {
                (Some(reason), Seen::Rows(_)) => Seen::Not(reason),
                (_, seen) => seen,
            },
            None => seen,
        };
        let wrote = std::mem::replace(&mut running.wrote, Wrote::Whole);
        let known = running.known().cloned();
        let wrote = if self.writes.listens() && !self.replicates { wrote } else { Wrote::Unheard };
        if let Some(known) = known {
            let came = Came { seen, wrote: known.may_write().then(|| (self.catalog.load_full(), wrote)) };
            self.post.book.note(self.session, &known, &self.site, came);
        }
        if let Some(result) = result {
            self.foreign_rows(&result, Decision::Allowed);
        }
    }

    fn take_pending(&mut self, text: &[u8]) -> Vec<Offence> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let hash = hash(text);
        let found = self.pending.iter().filter(|(of, _)| *of == hash).map(|(_, offence)| *offence).collect();
        self.pending.retain(|(of, _)| *of != hash);
        found
    }
}

impl Watch for Watcher {
    fn sent(&mut self, sent: &Sent<'_>, held: &Held) -> Option<Ticket> {
        let text = self.read(sent);
        self.replicates |= text.statements.iter().any(|known| replicates(known, sent));
        let acting = self.acting(held);
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let offences = self.take_pending(sent.text);
        let running = Running::new(ticket, text, acting);
        for offence in offences {
            let place = Place::of(&running);
            self.offence(offence, Judgement::Allowed, &place);
        }
        self.follow(sent, held, &running);
        let seen = if sent.script.is_none() { Seen::Not(Uncovered::Unread) } else { Seen::Nothing };
        self.running.push_back(Running { seen, ..running });
        Some(ticket)
    }

    fn offended(&mut self, offence: Offence, judgement: Judgement, text: Option<&[u8]>, held: &Held) {
        if let (Judgement::Allowed, Some(text)) = (judgement, text) {
            // The same statement is asked about at Parse, at Bind and at Execute, and again when it had to wait.
            let entry = (hash(text), offence);
            if !self.pending.contains(&entry) {
                if self.pending.len() >= MOST_PENDING {
                    self.pending.pop_front();
                }
                self.pending.push_back(entry);
            }
            return;
        }
        let acting = self.acting(held);
        let text = text.map(|text| {
            let script = analyse(text, StringSyntax::Standard).ok();
            let statements = script.as_ref().map(pgwarden_sql::Script::statements);
            let Self { post, normaliser, .. } = self;
            Arc::new(post.queries.read(text, statements, StringSyntax::Standard, normaliser))
        });
        let place = match text {
            Some(text) => Place::of(&Running::new(Ticket(0), text, acting)),
            None => Place::nowhere(&acting),
        };
        self.offence(offence, judgement, &place);
    }

    fn runs_on(&mut self, process: u32) {
        self.process = Some(process);
    }
}

impl Overseer for Watcher {
    fn describe(&mut self, description: &[u8]) -> Description {
        Arc::new(Columns::read(description))
    }

    fn columns(&mut self, ticket: Ticket, columns: Option<&Description>, formats: &Formats) -> Interest {
        let (sight, catalog) = (self.post.rows.sight, self.catalog.load_full());
        if sight == RowSight::Off || !catalog.has_tenants() {
            return Interest::End;
        }
        let Some(running) = self.running(ticket) else { return Interest::End };
        let Some(columns) = columns.and_then(|columns| columns.downcast_ref::<Columns>()) else {
            running.seen = Seen::Not(Uncovered::NotDescribed);
            return Interest::End;
        };
        let plan = columns.plan(&catalog);
        let without = running.acting.seen.is_empty().then_some(Uncovered::NoContext);
        let result = rows::Result::new(plan, formats, without);
        running.seen = match result.uncovered {
            Some(reason) => Seen::Not(reason),
            None => Seen::Rows(Arc::clone(&result.plan.tables)),
        };
        let interest = if result.is_covered() { Interest::Rows } else { Interest::End };
        running.result = Some(result);
        interest
    }

    fn row(&mut self, ticket: Ticket, available: &[u8], length: usize) -> Look {
        let cuts = self.post.rows.guard == RowGuard::Block && self.mode == Mode::Enforce;
        let Some(running) = self.running(ticket) else { return Look::Enough };
        let Running { result: Some(result), acting, .. } = running else { return Look::Enough };
        let place = match result.look(available, length, &acting.seen) {
            Sight::Own => return Look::Pass,
            Sight::More => return Look::More,
            Sight::Blind => return Look::Enough,
            Sight::Foreign(place) => place,
        };
        let relation = result.plan.columns.get(place).map(|column| &column.relation);
        let Some(name) = relation.filter(|one| cuts && is_standard(one)).map(|one| one.full_name()) else {
            return Look::Pass;
        };
        let only_reads = running.is_alone() && running.known().is_some_and(|known| !known.may_write());
        let result = running.result.take();
        if let Some(result) = result {
            self.foreign_rows(&result, Decision::Cut);
        }
        let refusal = Box::new(cut(&name));
        if only_reads { Look::Fail(refusal) } else { Look::Cut(refusal) }
    }

    fn copies(&mut self, ticket: Ticket) {
        let sight = self.post.rows.sight;
        let is_looked_at = sight == RowSight::On && self.catalog.load().has_tenants();
        if let Some(running) = self.running(ticket).filter(|_| is_looked_at) {
            let is_from = running.known().is_some_and(|known| known.verb == Verb::CopyFrom);
            running.seen = if is_from { Seen::Nothing } else { Seen::Not(Uncovered::Copy) };
        }
    }

    fn completed(&mut self, ticket: Ticket, tag: &[u8]) {
        self.conclude(ticket);
        self.follower.iter_mut().for_each(|follower| follower.completed(ticket));
        self.bulk(ticket, tag);
        let Some(running) = self.running(ticket) else { return };
        let verb = running.known().map(|known| known.verb);
        running.index += 1;
        if let Some(verb) = verb {
            self.transaction.completed(verb, tag, &*self.post.reporter);
        }
        self.writes.completed(tag);
    }

    fn paused(&mut self, ticket: Ticket) {
        self.conclude(ticket);
        self.follower.iter_mut().for_each(|follower| follower.completed(ticket));
    }

    fn failed(&mut self, ticket: Ticket, error: &[u8]) {
        if let Some(running) = self.running(ticket) {
            running.wrote = Wrote::Failed;
        }
        self.conclude(ticket);
        self.follower.iter_mut().for_each(|follower| follower.failed(ticket));
        self.transaction.failed();
        self.writes.failed();
        if let (Some(denied), Some(running)) = (denied(error), self.running(ticket)) {
            let place = Place::of(running);
            self.denied(denied, &place);
        }
    }

    fn reads_notices(&self) -> bool {
        self.writes.listens()
    }

    fn notice(&mut self, ticket: Option<Ticket>, notice: &[u8]) -> Notice {
        let Some(word) = self.writes.hear(notice) else { return Notice::Pass };
        let statement = ticket.and_then(|ticket| self.writing(ticket));
        let heard = self.writes.take(word, statement);
        if let (Heard::Part, Some(running)) = (heard, ticket.and_then(|ticket| self.running(ticket))) {
            running.wrote = Wrote::Part;
        }
        Notice::Take
    }

    fn reads_bind(&self, statement: &Statement) -> bool {
        self.keeps_values(statement)
    }

    fn ready(&mut self, status: Status) {
        self.follower.iter_mut().for_each(|follower| follower.ready(status));
        self.transaction.ready(status, &*self.post.reporter);
        self.writes.ready(status);
    }
}

/// What has reached a client before its connection was lost has reached it.
impl Drop for Watcher {
    fn drop(&mut self) {
        while let Some(running) = self.running.front() {
            let ticket = running.ticket;
            if running.result.is_some() {
                self.conclude(ticket);
            }
            self.running.pop_front();
        }
        self.transaction.lost(&*self.post.reporter);
    }
}

/// Whether a statement may make of its session one that replicates. That it does so no longer is not followed.
fn replicates(known: &Known, sent: &Sent<'_>) -> bool {
    const NAME: &[u8] = b"session_replication_role";
    let is_it = |name: &[u8]| name.eq_ignore_ascii_case(NAME);
    match known.verb {
        Verb::Set | Verb::SetConfig => sent.text.windows(NAME.len()).any(is_it),
        // What the client began with.
        _ if known.may_write() => sent.profile.carried.iter().any(|(name, _)| is_it(name.as_bytes())),
        _ => false,
    }
}

fn hash(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
