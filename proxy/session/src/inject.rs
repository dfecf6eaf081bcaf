//! Injection: how the context gets in front of what needs it, in the same write, with its replies swallowed.

use crate::backend::Route;
use crate::carrier::{Scope, SimpleForm, Vehicle};
use crate::engine::{Engine, Hold, Reassert, SessionScope, Stop};
use crate::fault::Fault;
use crate::names;
use crate::output::Output;
use crate::queue::{Expect, Fate, Purpose};
use crate::refusal::Refusal;
use crate::tenancy::{Tenancy, needs_context};
use crate::transaction::{Batch, Released};
use pgwarden_sql::{Script, Statement, Verb};
use pgwarden_wire::Status;

/// What has to happen before a statement may go.
#[derive(Debug)]
pub(crate) enum Passage {
    /// It may go.
    Free(Released),
    /// The context has to be put in front.
    Inject,
    /// Whether there is a block has to be known first.
    Wait,
    /// It cannot run in a block: the context has to be set for the session first.
    SessionScope,
    /// The same, but the batch has begun: the context is set for the session within it, and cleared behind it.
    Midway,
    /// There is no way to give it a context that holds to its end.
    Impossible(Box<Refusal>),
}

impl<T: Tenancy> Engine<T> {
    /// What has to happen before a text of `script` may run. A context that could not be set for the session is forgotten
    /// where none is needed any more: a failed block was the reason.
    pub(crate) fn decide(&mut self, script: Option<&Script>) -> Passage {
        let passage = self.passage(script);
        if matches!((&passage, &self.scope), (Passage::Free(_), SessionScope::Failed(_))) {
            self.scope = SessionScope::Closed;
        }
        passage
    }

    fn passage(&self, script: Option<&Script>) -> Passage {
        let statements = script.map(Script::statements);
        let depends = |one: &Statement| needs_context(one, &self.tenancy) || self.tx.depends(one);
        let needs = statements.is_none_or(|all| all.iter().any(depends));
        if self.tenancy.carrier().is_none() || !needs || self.options.faults.has(Fault::Uninjected) {
            return Passage::Free(self.tx.exempt());
        }
        if let Some(failed) = self.tx.failed() {
            return Passage::Free(failed);
        }
        if self.is_refused_outside(script) {
            return Passage::Free(self.tx.exempt());
        }
        let alone = script.and_then(Script::single).is_some_and(cannot_run_in_block);
        if alone && self.tx.status() != Status::Idle && self.queue.changes_transaction() {
            return Passage::Wait;
        }
        if alone && self.tx.status() == Status::Idle && self.tx.batch() < Batch::Started {
            return match self.scope {
                SessionScope::Open => self.tx.bound().map_or(Passage::SessionScope, Passage::Free),
                _ => Passage::SessionScope,
            };
        }
        if alone && self.tx.status() == Status::Idle && self.scope != SessionScope::Open {
            return self.passage_midway(script);
        }
        match self.tx.bound() {
            Some(bound) if self.options.reassert == Reassert::Transaction => Passage::Free(bound),
            _ if alone && self.tx.status() == Status::Idle => self.passage_midway(script),
            _ => Passage::Inject,
        }
    }

    /// Whether a statement has a block only because of its context.
    pub(crate) fn is_outside_with_context(&self) -> bool {
        self.tx.status() == Status::Idle && self.tenancy.carrier().is_some()
    }

    /// Whether the statement was bound under a context that is set for the session: nothing may come in between.
    pub(crate) fn is_in_session_scope(&self, script: Option<&Script>) -> bool {
        self.scope == SessionScope::Open && script.and_then(Script::single).is_some_and(cannot_run_in_block)
    }

    /// What a procedure rolls back in the middle of a batch includes a context that was set there: the session's own
    /// value comes back, which a function may have left.
    fn passage_midway(&self, script: Option<&Script>) -> Passage {
        let ends_itself =
            script.and_then(Script::single).is_some_and(|one| matches!(one.verb, Verb::Call | Verb::Do));
        if !self.can_set_for_session() {
            Passage::Impossible(Box::new(behind_pooler()))
        } else if ends_itself && self.tenancy.fails_closed() {
            Passage::Impossible(Box::new(behind_another()))
        } else {
            Passage::Midway
        }
    }

    /// DECLARE without HOLD is an error outside of a block (`RequireTransactionBlock`, `xact.c`), and has to stay one.
    fn is_refused_outside(&self, script: Option<&Script>) -> bool {
        let declares =
            script.and_then(Script::single).is_some_and(|one| one.verb == Verb::Declare { hold: false });
        declares && self.tx.status() == Status::Idle
    }

    /// How a simple query outside of a block gets its context.
    pub(crate) fn simple_form(&self) -> SimpleForm {
        let Some(backend) = &self.lease else { return SimpleForm::Text };
        let outside = self.tx.status() == Status::Idle && self.tx.batch() < Batch::Started;
        match backend.capabilities.vehicle {
            Vehicle::Prepared if outside => backend.capabilities.form,
            Vehicle::Prepared => SimpleForm::Front,
            Vehicle::InBatch | Vehicle::Commands => SimpleForm::Text,
        }
    }

    /// Puts the context in front of what is written next.
    pub(crate) fn inject(&mut self, out: &mut Output) -> Released {
        self.activity.front += 1;
        match self.lease.as_ref().map(|backend| backend.capabilities.vehicle) {
            Some(Vehicle::Prepared) => self.inject_prepared(out),
            Some(vehicle) => self.inject_in_batch(vehicle, out),
            None => (),
        }
        self.tx.injected()
    }

    /// Runs the backend's own context statement, prepared the first time.
    fn inject_prepared(&mut self, out: &mut Output) {
        let (Some(carrier), Some(backend)) = (self.tenancy.carrier(), &mut self.lease) else { return };
        let batch = self.tx.number();
        let carrier = carrier.sealed_for(Some(backend));
        if let Some(name) = backend.context(batch) {
            out.backend.write(|w| carrier.run(name, names::CONTEXT_PORTAL, &carrier.values(), w));
        } else {
            let name = backend.prepare_context(batch);
            out.backend.write(|w| {
                w.parse(&name, &carrier.local, &carrier.types);
                carrier.run(&name, names::CONTEXT_PORTAL, &carrier.values(), w);
            });
            self.queue.push(Expect::Parse, Fate::Own(Purpose::PrepareContext));
        }
        self.queue.push(Expect::Injection(1), Fate::Own(Purpose::Context));
    }

    /// Sets the context for the session inside a batch that has begun: it outlives a COMMIT of the statement that
    /// follows. (A ROLLBACK in there goes back to the session's own value, which is empty.)
    pub(crate) fn inject_midway(&mut self, out: &mut Output) -> Released {
        let (Some(carrier), Some(backend)) = (self.tenancy.carrier(), &mut self.lease) else {
            return self.tx.exempt();
        };
        let (vehicle, name) = (backend.capabilities.vehicle, backend.fresh_name());
        let carrier = carrier.sealed_for(Some(backend));
        let mut closes = 0;
        out.backend.write(|w| closes = carrier.in_batch(vehicle, Scope::Session, &name, w));
        self.queue.push(Expect::Injection(closes), Fate::Own(Purpose::Context));
        self.activity.session += 1;
        self.scope = SessionScope::Open;
        self.tx.session_scope()
    }

    /// Brings the context along as statements that do not outlive the batch.
    fn inject_in_batch(&mut self, vehicle: Vehicle, out: &mut Output) {
        let (Some(carrier), Some(backend)) = (self.tenancy.carrier(), &mut self.lease) else { return };
        let name = backend.fresh_name();
        let carrier = carrier.sealed_for(Some(backend));
        let mut closes = 0;
        out.backend.write(|w| closes = carrier.in_batch(vehicle, Scope::Local, &name, w));
        self.queue.push(Expect::Injection(closes), Fate::Own(Purpose::Context));
    }

    /// Sets the context for the session and waits for it; the message that needs it is given again afterwards.
    pub(crate) fn open_session_scope(&mut self, out: &mut Output) -> Result<Stop, Box<Refusal>> {
        match std::mem::replace(&mut self.scope, SessionScope::Closed) {
            SessionScope::Failed(refusal) => return Err(refusal),
            scope => self.scope = scope,
        }
        if !self.can_set_for_session() {
            return Err(Box::new(behind_pooler()));
        }
        self.hold = Hold::Settled;
        let waits = self.tx.batch() == Batch::Fresh && !self.queue.is_empty();
        if self.scope == SessionScope::Closed && !waits {
            self.activity.session += 1;
            self.session_messages(Scope::Session, || Purpose::SessionSet, out);
            self.scope = SessionScope::Opening;
        }
        Ok(Stop::Replies)
    }

    /// Whether a pooler stands between the backend and the server. It may give the server away at a ReadyForQuery, so
    /// that nothing of the next batch may be on its way by then.
    pub(crate) fn is_behind_pooler(&self) -> bool {
        self.lease.as_ref().is_some_and(|backend| backend.capabilities.route == Route::Pooler)
    }

    /// Whether a seal that is made now could be too old for its transaction, because that begins only when the server
    /// is done with what is outstanding.
    pub(crate) fn seal_could_expire(&self) -> bool {
        let in_block = self.tx.status() != Status::Idle;
        let is_sealed = self.tenancy.carrier().is_some_and(|carrier| carrier.sealing.is_some());
        is_sealed && !in_block && !self.queue.holds_only_settings()
    }

    /// Behind a pooler, setting, statement and clearing could reach three servers.
    pub(crate) fn can_set_for_session(&self) -> bool {
        self.lease.is_some() && !self.is_behind_pooler()
    }

    /// The server refused to run a statement in a block: its context is set for the session, then it is sent again.
    pub(crate) fn try_again(&mut self, text: Vec<u8>, out: &mut Output) {
        self.again = Some(text);
        self.hold = Hold::Settled;
        self.activity.session += 1;
        self.session_messages(Scope::Session, || Purpose::SessionSet, out);
        self.scope = SessionScope::Opening;
    }

    /// The context is set for the session: what waits for it inside the proxy is sent.
    pub(crate) fn send_again(&mut self, out: &mut Output) {
        let Some(text) = self.again.take() else { return };
        out.backend.write(|w| {
            w.query(&text);
        });
        self.query_sent(None, Fate::Client);
        self.close_session_scope(out);
    }

    /// Takes the context from the session again, right behind the message it was set for.
    pub(crate) fn close_session_scope(&mut self, out: &mut Output) {
        self.session_messages(Scope::Clear, || Purpose::SessionClear, out);
        self.scope = SessionScope::Closed;
    }

    fn session_messages(&mut self, scope: Scope, purpose: fn() -> Purpose, out: &mut Output) {
        if let (Some(carrier), Some(backend)) = (self.tenancy.carrier(), &mut self.lease) {
            let (vehicle, name) = (backend.capabilities.vehicle, backend.fresh_name());
            let carrier = carrier.sealed_for(Some(backend));
            let mut closes = 0;
            out.backend.write(|w| {
                closes = carrier.in_batch(vehicle, scope, &name, w);
                w.sync();
            });
            self.queue.push(Expect::Injection(closes), Fate::Own(purpose()));
            self.queue.push(Expect::Sync, Fate::Own(purpose()));
        }
    }
}

/// Behind a pooler, set, statement and clear could reach three servers.
fn behind_pooler() -> Refusal {
    Refusal::new(
        "0A000",
        "a statement that cannot run in a transaction block has no tenant context behind a pooler",
        "Setting the context, the statement and clearing it again could reach three different servers.",
        "Run it through a pgwarden that is connected to the server directly.",
    )
}

fn behind_another() -> Refusal {
    Refusal::new(
        "0A000",
        "a statement that may end its transaction cannot keep its tenant context behind another of the same batch",
        "What it rolls back would include the context.",
        "Send a Sync in front of it, or begin a transaction block.",
    )
}

/// CALL and DO may end the transaction they run in, the others refuse to run in a block.
fn cannot_run_in_block(statement: &Statement) -> bool {
    matches!(
        statement.verb,
        Verb::Unblockable | Verb::Call | Verb::Do | Verb::CommitPrepared | Verb::RollbackPrepared
    )
}
