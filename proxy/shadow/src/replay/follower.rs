//! Follows the statements of one session, and offers the queries among them once their transaction is over.

use crate::coverage::Uncovered;
use crate::finding::{Actor, Origin, Query, Site, Tenant};
use crate::replay::candidate::{Bound, Candidate, Replayer};
use crate::replay::sampler::Choice;
use pgwarden_session::{Carrier, Profile, Sent, Settings, Ticket};
use pgwarden_sql::{Script, Statement, Verb};
use pgwarden_tenant::Mode;
use pgwarden_wire::{Fields, Malformed, Status};
use std::sync::Arc;

/// Queries of one transaction that are kept until it is over.
const KEPT: usize = 16;

/// Whom a statement acts for, and what it is.
#[derive(Debug, Clone)]
pub struct Acting {
    /// The context in force.
    pub carrier: Option<Arc<Carrier>>,
    /// The mode of the client.
    pub mode: Mode,
    /// Who it is.
    pub actor: Arc<Actor>,
    /// Where in the application it comes from.
    pub origin: Option<Arc<Origin>>,
}

/// How far a query is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Sent,
    Completed,
}

/// Whether the settings and definitions of the transaction are those that everybody sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    Firm,
    /// Something was set or defined that nobody else sees yet, or ever.
    Moving,
}

/// The queries of one session that wait for the end of their transaction.
#[derive(Debug)]
pub struct Follower {
    replayer: Arc<dyn Replayer>,
    waiting: Vec<(Ticket, Progress, Candidate)>,
    /// A text of which nothing could be told, and that may still fail.
    unread: Option<(Ticket, Arc<Query>, Site)>,
    ground: Ground,
}

impl Follower {
    /// One that has seen nothing.
    #[must_use]
    pub fn new(replayer: Arc<dyn Replayer>) -> Self {
        Self { replayer, waiting: Vec::new(), unread: None, ground: Ground::Firm }
    }

    /// Whether the values of a Bind of this query are to be kept; nothing is known of one that was never run.
    #[must_use]
    pub fn reads_bind(&self, script: Option<&Script>, query: Option<&Query>, tenant: Option<&str>) -> bool {
        let is_query = script.and_then(Script::single).is_some_and(|one| matches!(one.verb, Verb::Query));
        let may_be_chosen = |query: &Query| {
            query.text.as_deref().is_none_or(may_read) && self.replayer.may_choose(query, tenant)
        };
        is_query && query.is_none_or(may_be_chosen)
    }

    /// A text is sent, whose replies are watched under this ticket; `query_of` says how its statements are called, by
    /// their place in the script.
    pub fn sent(
        &mut self,
        ticket: Ticket,
        sent: &Sent<'_>,
        (site, tenant): (&Site, Option<&Arc<Tenant>>),
        acting: impl Fn() -> Acting,
        query_of: impl Fn(usize) -> Option<Arc<Query>>,
    ) {
        let Some(script) = sent.script else {
            self.unread = query_of(0).map(|query| (ticket, query, site.clone()));
            return;
        };
        if script.statements().iter().any(|one| moves(one.verb)) {
            self.ground = Ground::Moving;
        }
        let statements = script.statements().iter().enumerate();
        for (index, statement) in statements {
            let Some(query) = query_of(index).filter(|query| reads(sent.text, statement, query)) else {
                continue;
            };
            if self.replayer.choose(&query, site, tenant.map(|tenant| tenant.id.as_str())) == Choice::Pass {
                continue;
            }
            match self.bound(statement, sent) {
                Ok((text, bound)) => {
                    let candidate = candidate((text, bound), sent.profile, (site, tenant, query), acting());
                    self.waiting.push((ticket, Progress::Sent, candidate));
                }
                Err(why) => self.replayer.pass(&query, site, why),
            }
        }
    }

    /// The text was run, or one of its statements.
    pub fn completed(&mut self, ticket: Ticket) {
        if let Some((_, query, site)) = self.unread.take_if(|(known, ..)| *known == ticket) {
            self.replayer.pass(&query, &site, Uncovered::Unread);
        }
        let of_ticket = self.waiting.iter_mut().filter(|(known, ..)| *known == ticket);
        of_ticket.for_each(|(_, progress, _)| *progress = Progress::Completed);
    }

    /// The text has failed: what the client does not get is not replayed either.
    pub fn failed(&mut self, ticket: Ticket) {
        self.waiting.retain(|(known, ..)| *known != ticket);
        self.unread.take_if(|(known, ..)| *known == ticket);
    }

    /// The server is ready for the next query: a transaction may be over.
    pub fn ready(&mut self, status: Status) {
        if status != Status::Idle {
            return;
        }
        self.ground = Ground::Firm;
        for (_, progress, candidate) in std::mem::take(&mut self.waiting) {
            if progress == Progress::Completed {
                self.replayer.offer(candidate);
            }
        }
    }

    /// Text and values of a statement that can be run again as it was.
    fn bound(&self, statement: &Statement, sent: &Sent<'_>) -> Result<(Vec<u8>, Bound), Uncovered> {
        if self.ground == Ground::Moving || !matches!(statement.verb, Verb::Query | Verb::CopyTo) {
            return Err(Uncovered::Unsafe);
        }
        let text = sent.text.get(statement.span.clone()).ok_or(Uncovered::Unread)?;
        let bound = match sent.bound {
            None => Bound::default(),
            Some(bound) => {
                let values = bound.values.ok_or(Uncovered::Dropped)?;
                values_of(bound.statement.types(), values).map_err(|_| Uncovered::Unread)?
            }
        };
        if self.waiting.len() >= KEPT || text.len() + bound.values.len() > self.replayer.limit() {
            return Err(Uncovered::Dropped);
        }
        Ok((text.to_vec(), bound))
    }
}

fn candidate(
    (text, bound): (Vec<u8>, Bound),
    profile: &Profile,
    (site, tenant, query): (&Site, Option<&Arc<Tenant>>, Arc<Query>),
    acting: Acting,
) -> Candidate {
    let Acting { carrier, mode, actor, origin } = acting;
    let (settings, site, tenant) = (settings_of(profile), site.clone(), tenant.cloned());
    Candidate { text, bound, carrier, settings, mode, tenant, actor, site, query, origin }
}

/// Whether a statement reads rows, for the client or to insert them.
fn reads(text: &[u8], statement: &Statement, query: &Query) -> bool {
    match statement.verb {
        Verb::CopyTo | Verb::Fetch | Verb::ExecutePrepared => true,
        Verb::Query => query.text.as_deref().map_or_else(
            || {
                let text = text.get(statement.span.clone()).unwrap_or_default();
                let end = text.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(text.len());
                let word = text.get(..end).unwrap_or_default().to_ascii_lowercase();
                !matches!(word.as_slice(), b"insert" | b"update" | b"delete" | b"merge")
            },
            may_read,
        ),
        _ => false,
    }
}

/// The same of a text without literals. Where the words leave it open, the grammar will say.
fn may_read(text: &str) -> bool {
    match text.split(' ').next() {
        Some("update" | "delete" | "merge") => false,
        Some("insert") => text.contains("select "),
        _ => true,
    }
}

/// Whether what follows in the transaction may be read otherwise than by another session.
fn moves(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::Set
            | Verb::Reset
            | Verb::ResetAll
            | Verb::SetConfig
            | Verb::SetRole
            | Verb::SetSessionAuthorization
            | Verb::ResetIdentity
            | Verb::SetTransaction
            | Verb::Other
            | Verb::Do
            | Verb::Call
    )
}

/// What can be set of what the session has.
fn settings_of(profile: &Profile) -> Vec<(String, String)> {
    let reported = profile.reported.iter().filter(|(name, _)| Settings::is_changeable(name));
    let all = reported.chain(profile.carried.iter());
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The types as Parse has them, and formats and values as Bind has them: what follows the names there, without the formats
/// of the result.
fn values_of(types: &[u8], behind_names: &[u8]) -> Result<Bound, Malformed> {
    let mut fields = Fields::new(types);
    let count = fields.int16()?;
    let types = (0..count).map(|_| fields.array().map(u32::from_be_bytes)).collect::<Result<_, _>>()?;
    let mut fields = Fields::new(behind_names);
    for _ in 0..fields.int16()? {
        fields.int16()?;
    }
    for _ in 0..fields.int16()? {
        let length = fields.int32()?;
        if let Ok(length) = usize::try_from(length) {
            fields.bytes(length)?;
        }
    }
    let end = behind_names.len().saturating_sub(fields.rest().len());
    Ok(Bound { types, values: behind_names.get(..end).ok_or(Malformed)?.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgwarden_sql::{StringSyntax, analyse};
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    struct Heard {
        offered: Mutex<Vec<String>>,
        passed: Mutex<Vec<Uncovered>>,
    }

    impl Replayer for Heard {
        fn choose(&self, _: &Arc<Query>, _: &Site, _: Option<&str>) -> Choice {
            Choice::Replay
        }
        fn may_choose(&self, _: &Query, _: Option<&str>) -> bool {
            true
        }
        fn limit(&self) -> usize {
            100
        }
        fn offer(&self, candidate: Candidate) {
            let text = String::from_utf8_lossy(&candidate.text).into_owned();
            self.offered.lock().expect("not poisoned").push(text);
        }
        fn pass(&self, _: &Arc<Query>, _: &Site, why: Uncovered) {
            self.passed.lock().expect("not poisoned").push(why);
        }
    }

    fn acting() -> Acting {
        Acting { carrier: None, mode: Mode::Shadow, actor: Arc::default(), origin: None }
    }

    fn send(follower: &mut Follower, ticket: u64, text: &str) {
        let script = analyse(text.as_bytes(), StringSyntax::Standard).expect("it can be read");
        let profile = Profile::default();
        let (text, strings) = (text.as_bytes(), StringSyntax::Standard);
        let sent = Sent { text, script: Some(&script), strings, bound: None, profile: &profile };
        let query = || Arc::new(Query { fingerprint: "f".into(), text: None });
        follower.sent(Ticket(ticket), &sent, (&Site::default(), None), acting, |_| Some(query()));
    }

    fn follower() -> (Arc<Heard>, Follower) {
        let heard = Arc::new(Heard::default());
        let replayer: Arc<dyn Replayer> = Arc::<Heard>::clone(&heard);
        (heard, Follower::new(replayer))
    }

    fn offered(heard: &Heard) -> String {
        heard.offered.lock().expect("not poisoned").join("|")
    }

    #[test]
    fn a_query_is_offered_when_its_transaction_is_over() {
        let (heard, mut follower) = follower();
        send(&mut follower, 1, "BEGIN");
        send(&mut follower, 2, "SELECT 1");
        follower.completed(Ticket(2));
        follower.ready(Status::InBlock);
        assert_eq!(offered(&heard), "");
        follower.ready(Status::Idle);
        assert_eq!(offered(&heard), "SELECT 1");
        follower.ready(Status::Idle);
        assert_eq!(offered(&heard), "SELECT 1");
    }

    #[test]
    fn what_fails_or_writes_is_not() {
        let (heard, mut follower) = follower();
        for (ticket, text) in [(1, "SELECT 1/0"), (2, "INSERT INTO t VALUES (1)"), (3, "update t set a = 1")]
        {
            send(&mut follower, ticket, text);
        }
        follower.failed(Ticket(1));
        (2..4).for_each(|ticket| follower.completed(Ticket(ticket)));
        follower.ready(Status::Idle);
        assert_eq!((offered(&heard).as_str(), heard.passed.lock().expect("not poisoned").len()), ("", 0));
    }

    #[test]
    fn each_query_of_a_string_is_one() {
        let (heard, mut follower) = follower();
        send(&mut follower, 1, "BEGIN; SELECT 1; DELETE FROM t; TABLE t; COMMIT");
        follower.completed(Ticket(1));
        follower.ready(Status::Idle);
        assert_eq!(offered(&heard), "SELECT 1|TABLE t");
    }

    #[test]
    fn behind_a_setting_of_the_transaction_nothing_is_replayed() {
        let (heard, mut follower) = follower();
        for (ticket, text) in [(1, "BEGIN"), (2, "SET LOCAL search_path = x"), (3, "SELECT 1")] {
            send(&mut follower, ticket, text);
            follower.completed(Ticket(ticket));
            follower.ready(Status::InBlock);
        }
        follower.ready(Status::Idle);
        assert_eq!(offered(&heard), "");
        assert_eq!(*heard.passed.lock().expect("not poisoned"), [Uncovered::Unsafe]);
        send(&mut follower, 4, "SELECT 2");
        follower.completed(Ticket(4));
        follower.ready(Status::Idle);
        assert_eq!(offered(&heard), "SELECT 2");
    }

    #[test]
    fn what_cannot_be_read_is_counted() {
        let (heard, mut follower) = follower();
        let (profile, strings) = (Profile::default(), StringSyntax::Standard);
        let sent = Sent { text: b"SELECT '", script: None, strings, bound: None, profile: &profile };
        let query = || Arc::new(Query { fingerprint: "f".into(), text: None });
        for (ticket, expected) in [(1, &[][..]), (2, &[Uncovered::Unread][..])] {
            follower.sent(Ticket(ticket), &sent, (&Site::default(), None), acting, |_| Some(query()));
            if ticket == 1 {
                follower.failed(Ticket(ticket));
            }
            follower.completed(Ticket(ticket));
            assert_eq!(*heard.passed.lock().expect("not poisoned"), expected);
        }
    }

    #[test]
    fn what_is_too_long_or_too_much_is_counted() {
        let (heard, mut follower) = follower();
        send(&mut follower, 1, &format!("SELECT '{}'", "x".repeat(100)));
        for ticket in 2..20 {
            send(&mut follower, ticket, "SELECT 1");
        }
        assert_eq!(heard.passed.lock().expect("not poisoned").len(), 1 + 18 - KEPT);
    }

    #[test]
    fn the_formats_of_the_result_are_left_out() {
        let behind = b"\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\x01\0\x01";
        let bound = values_of(b"\0\x01\0\0\0\x17", behind).expect("well formed");
        assert_eq!((bound.types.as_slice(), bound.values.len()), ([23].as_slice(), behind.len() - 4));
        assert!(values_of(b"\0\0", b"\0\0\0\x01\0\0\0\x05a").is_err());
    }
}
