//! One client's session: the client's messages in, the server's replies out, and the backend it may hold.

use crate::backend::{Backend, Health};
use crate::cut::Cutting;
use crate::description::Outline;
use crate::fault::{Fault, Faults};
use crate::inquiry::Doubts;
use crate::limits::Limits;
use crate::named::Named;
use crate::output::Output;
use crate::pins::{Pin, Pins};
use crate::portals::Portals;
use crate::queue::{Answer, Entry, Expect, Fate, Naming, Purpose, ReplyQueue};
use crate::reading::Reading;
use crate::refusal::Refusal;
use crate::settings::{Profile, bring_along};
use crate::statement::Interner;
use crate::tenancy::Tenancy;
use crate::transaction::{Batch, Transaction};
use pgwarden_wire::Status;
use std::sync::Arc;

pub(crate) use crate::state::{
    Barrier, CopyIn, Definitions, Delivery, Flow, Hold, Resetting, SessionScope, Skipping,
};

/// Whether backends are shared between transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// A backend is held for one transaction.
    Transaction,
    /// A backend is held for the whole session.
    Session,
}

/// What happens when a client needs state that a shared backend cannot carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinPolicy {
    /// The client keeps the backend.
    Allow,
    /// The statement is refused with 0A000.
    Refuse,
}

/// How often the context is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reassert {
    /// Once per transaction, and again when it was lost.
    Transaction,
    /// In front of every statement: functions may overwrite it.
    Statement,
}

/// What the configuration says about sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether backends are shared.
    pub pooling: Pooling,
    /// What happens to state that cannot be shared.
    pub pins: PinPolicy,
    /// How often the context is set.
    pub reassert: Reassert,
    /// How long messages may be.
    pub limits: Limits,
    /// Rules that are switched off, in tests.
    pub faults: Faults,
}

/// Why the client's input is not taken any further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// A message is incomplete, or nothing is left: more input is needed.
    Input,
    /// A backend is needed: lease one and [`Engine::attach`] it.
    Backend,
    /// The server's replies have to come first.
    Replies,
    /// The tenancy has not seen this text yet.
    Question(Vec<u8>),
    /// The client ended the session.
    Terminate,
    /// The client has ended the session behind statements that still run: nothing else comes from it.
    Farewell,
}

/// What a session did since it was last asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// Contexts set by messages in front of the client's.
    pub front: u32,
    /// Contexts set inside a query's text.
    pub text: u32,
    /// Contexts set for the session, around one statement.
    pub session: u32,
    /// Statements refused.
    pub refused: u32,
}

/// One client's session.
#[derive(Debug)]
pub struct Engine<T> {
    pub(crate) tenancy: T,
    pub(crate) options: Options,
    pub(crate) interner: Arc<Interner>,
    pub(crate) initial: Arc<Profile>,
    pub(crate) profile: Arc<Profile>,
    pub(crate) lease: Option<Box<Backend>>,
    pub(crate) queue: ReplyQueue,
    pub(crate) tx: Transaction,
    pub(crate) reported: Status,
    pub(crate) statements: Named,
    pub(crate) portals: Portals,
    pub(crate) from_client: Flow,
    pub(crate) from_backend: Flow,
    pub(crate) hold: Hold,
    pub(crate) skipping: Skipping,
    pub(crate) scope: SessionScope,
    pub(crate) copy: CopyIn,
    pub(crate) resetting: Resetting,
    pub(crate) definitions: Definitions,
    pub(crate) barrier: Barrier,
    pub(crate) outline: Outline,
    pub(crate) deallocating: Option<Box<Naming>>,
    pub(crate) again: Option<Vec<u8>>,
    pub(crate) pins: Pins,
    pub(crate) doubts: Doubts,
    pub(crate) declined: Option<Box<Refusal>>,
    pub(crate) activity: Activity,
    pub(crate) cutting: Cutting,
    pub(crate) ended: bool,
}

impl<T: Tenancy> Engine<T> {
    /// A session that has just logged in; `profile` is what the client was told about its settings.
    pub fn new(tenancy: T, options: Options, interner: Arc<Interner>, profile: Arc<Profile>) -> Self {
        let idle = Flow { remaining: 0, delivery: Delivery::Forward };
        Self {
            tenancy,
            options,
            interner,
            initial: Arc::clone(&profile),
            profile,
            lease: None,
            queue: ReplyQueue::default(),
            tx: Transaction::default(),
            reported: Status::Idle,
            statements: Named::default(),
            portals: Portals::default(),
            from_client: idle,
            from_backend: idle,
            hold: Hold::Nothing,
            skipping: Skipping::Nothing,
            scope: SessionScope::Closed,
            copy: CopyIn::Closed,
            resetting: Resetting::Nothing,
            definitions: Definitions::default(),
            barrier: Barrier::default(),
            outline: Outline::default(),
            deallocating: None,
            again: None,
            pins: Pins::default(),
            doubts: Doubts::default(),
            declined: None,
            activity: Activity::default(),
            cutting: Cutting::default(),
            ended: false,
        }
    }

    /// Who decides about this client's statements.
    pub fn tenancy(&mut self) -> &mut T {
        &mut self.tenancy
    }

    /// What the session did since the last call.
    pub fn take_activity(&mut self) -> Activity {
        std::mem::take(&mut self.activity)
    }

    /// Why the client keeps its backend between transactions, if it does.
    pub fn pin(&self) -> Option<Pin> {
        self.pins.first()
    }

    /// Whether the client is between transactions with nothing outstanding.
    pub fn is_idle(&self) -> bool {
        self.is_settled() && self.reported == Status::Idle
    }

    /// Whether a backend is held.
    pub fn holds_backend(&self) -> bool {
        self.lease.is_some()
    }

    /// Whether the server still owes replies.
    pub fn awaits_replies(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The place of the reply that the server owes next, among all of the session.
    pub fn awaited(&self) -> Option<usize> {
        self.awaits_replies().then(|| self.queue.front_place())
    }

    /// Whether the server has said goodbye: the client has read why (FATAL or PANIC).
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the client has only a part of a message of the server: nothing of another may follow.
    pub fn is_mid_reply(&self) -> bool {
        self.from_backend.remaining > 0 && self.from_backend.delivery == Delivery::Forward
    }

    /// Whether backends are shared between transactions.
    pub fn shares_backends(&self) -> bool {
        self.options.pooling == Pooling::Transaction
    }

    /// No backend can be had for the message that waits for one: it is answered with this error instead.
    pub fn decline(&mut self, refusal: Box<Refusal>) {
        self.declined = Some(refusal);
    }

    /// Whether the server owes nothing and no message is half through.
    pub(crate) fn is_settled(&self) -> bool {
        self.queue.is_empty()
            && self.from_client.remaining == 0
            && self.from_backend.remaining == 0
            && self.tx.batch() == Batch::Fresh
            && self.skipping == Skipping::Nothing
            && self.scope == SessionScope::Closed
            && self.again.is_none()
    }

    /// Takes a backend: the settings of this session are brought along in the same write.
    pub fn attach(&mut self, backend: Box<Backend>, out: &mut Output) {
        self.lease = Some(backend);
        self.bring_along(out);
    }

    /// Brings the backend to the settings of this session.
    pub(crate) fn bring_along(&mut self, out: &mut Output) {
        let Some(backend) = &mut self.lease else { return };
        let sql = bring_along(&backend.profile, &self.profile);
        backend.profile = Arc::clone(&self.profile);
        if sql.is_empty() {
            return;
        }
        backend.unnamed_lost();
        out.backend.write(|w| {
            w.query(sql.as_bytes());
        });
        self.queue.push(Expect::Query, Fate::Own(Purpose::Settings));
    }

    /// Whether the backend can go back to the pool: settled queue, status Idle, no COPY, nothing pinned.
    pub fn is_releasable(&self) -> bool {
        self.lease.is_some()
            && self.options.pooling == Pooling::Transaction
            && self.is_carried()
            && self.is_idle_or_faulty()
    }

    /// Whether everything that the session has on its backend can be brought to another.
    fn is_carried(&self) -> bool {
        (self.pins.is_empty() && self.doubts.is_empty()) || self.options.faults.has(Fault::Dirty)
    }

    fn is_idle_or_faulty(&self) -> bool {
        let faulty = self.options.faults.has(Fault::Unsettled) && self.from_client.remaining == 0;
        self.is_idle() || (faulty && self.reported == Status::Idle)
    }

    /// Gives the backend up, whatever state it is in; it may serve another client only if it is sound.
    pub fn detach(&mut self) -> Option<Box<Backend>> {
        let clean = self.is_idle_or_faulty() && self.is_carried();
        let mut backend = self.lease.take()?;
        backend.forget_unacknowledged();
        if !clean {
            backend.health = Health::Tainted;
        }
        self.portals.clear();
        Some(backend)
    }

    /// How texts read in this session.
    pub(crate) fn reading(&self) -> Reading {
        self.profile.reported.reading()
    }

    /// The backend's unnamed statement is gone, or nobody knows what it is.
    pub(crate) fn unnamed_lost(&mut self) {
        if let Some(backend) = &mut self.lease {
            backend.unnamed_lost();
        }
    }

    /// The connection can serve nobody else.
    pub(crate) fn taint(&mut self) {
        if let Some(backend) = self.lease.as_mut().filter(|_| !self.options.faults.has(Fault::Dirty)) {
            backend.health = Health::Tainted;
        }
    }

    /// Writes the answers that are due: those with nothing outstanding in front of them, the rest of a message that
    /// passes in parts included.
    pub(crate) fn emit_answers(&mut self, out: &mut Output) {
        if self.is_mid_reply() {
            return;
        }
        while matches!(self.queue.front(), Some(Entry::Answer(_))) {
            let Some(Entry::Answer(answer)) = self.queue.pop() else { return };
            let status = self.reported;
            match answer {
                Answer::ParseComplete(_) => out.client.write(|w| {
                    w.message(b'1', |_| ());
                }),
                Answer::CloseComplete(_) => out.client.write(|w| {
                    w.message(b'3', |_| ());
                }),
                Answer::Error(refusal) => out.refuse(&refusal),
                Answer::Ready => out.client.write(|w| {
                    w.ready(status);
                }),
            }
        }
    }
}
