//! Refusing a statement so that the transaction ends up as PostgreSQL itself would leave it.

use crate::engine::{Engine, PinPolicy, Pooling, SessionScope, Skipping};
use crate::fault::Fault;
use crate::names;
use crate::output::Output;
use crate::queue::{Answer, Expect, Fate, Purpose};
use crate::refusal::Refusal;
use crate::tenancy::{Ruling, Subject, Tenancy};
use crate::transaction::Batch;
use pgwarden_sql::Marks;
use pgwarden_wire::Status;

/// No formats, no parameters, no result formats: the end of a Bind message.
const NOTHING_BOUND: [u8; 6] = [0; 6];

/// Whether a statement may run.
#[derive(Debug)]
pub(crate) enum Permit {
    Granted,
    Refused(Box<Refusal>),
    /// The tenancy has not seen the text yet.
    Unknown,
}

impl<T: Tenancy> Engine<T> {
    /// Asks the tenancy, and whether a shared backend can carry what the statement leaves behind.
    pub(crate) fn permit(&mut self, subject: Subject<'_>, now: u64) -> Permit {
        match self.tenancy.rule(subject, self.tx.place(), now) {
            Ruling::Refuse(_) if self.options.faults.has(Fault::FailOpen) => (),
            Ruling::Refuse(refusal) => return Permit::Refused(refusal),
            Ruling::Ask => return Permit::Unknown,
            Ruling::Allow => (),
        }
        let Subject::Text { text, script: Ok(script) } = subject else { return Permit::Granted };
        if script.statements().iter().any(|one| names::is_reached_for(text, one)) {
            return Permit::Refused(Box::new(names::reserved(b"pgwarden_")));
        }
        if self.options.pooling == Pooling::Session {
            return Permit::Granted;
        }
        let forbidden = self.options.pins == PinPolicy::Refuse;
        if let Some(pin) = forbidden.then(|| self.first_pin(text, script)).flatten() {
            return Permit::Refused(Box::new(pin.refusal()));
        }
        if script.statements().iter().any(|one| one.marks.contains(Marks::SET_CONFIG)) {
            self.follow_set_config(text, script);
        }
        Permit::Granted
    }

    /// Refuses a simple query or function call.
    pub(crate) fn refuse_query(&mut self, refusal: &Refusal, out: &mut Output) {
        self.activity.refused += 1;
        // A simple query drops the unnamed statement, refused or not.
        self.statements.unnamed_changed(self.queue.next_place());
        self.statements.forget_unnamed(b"");
        self.statements.remove(b"", self.tx.number());
        if self.tx.status() == Status::Idle && self.tx.batch() == Batch::Fresh {
            self.queue.answer(Answer::Error(Box::new(refusal.clone())));
            self.queue.answer(Answer::Ready);
            self.tx.refused();
            return;
        }
        self.fail_block(refusal, out);
        if self.scope == SessionScope::Open {
            self.close_session_scope(out);
        }
    }

    /// Refuses a message of an extended batch: the rest of the batch is skipped.
    pub(crate) fn refuse_batch(&mut self, refusal: &Refusal, out: &mut Output) {
        self.activity.refused += 1;
        if self.tx.status() == Status::Idle && self.tx.batch() == Batch::Fresh {
            self.queue.answer(Answer::Error(Box::new(refusal.clone())));
            self.skipping = Skipping::Local;
        } else {
            self.provoke(refusal, out);
            self.skipping = Skipping::Backend;
        }
    }

    /// Makes the server fail the transaction, in a batch of its own: the client reads the refusal, and the ReadyForQuery behind
    /// it.
    pub(crate) fn fail_block(&mut self, refusal: &Refusal, out: &mut Output) {
        self.provoke(refusal, out);
        out.backend.write(|w| {
            w.sync();
        });
        self.queue.push(Expect::Sync, Fate::Client);
        self.tx.batch_sent();
    }

    /// Makes the server fail what it has begun: it binds a statement that does not exist.
    fn provoke(&mut self, refusal: &Refusal, out: &mut Output) {
        out.backend.write(|w| {
            w.bind_front(b"", names::REFUSED, NOTHING_BOUND.len()).raw(&NOTHING_BOUND);
        });
        self.queue.push(Expect::Bind, Fate::Own(Purpose::Provoked(Box::new(refusal.clone()))));
        self.tx.sent(Batch::Started);
    }
}
