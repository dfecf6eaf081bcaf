//! The extended protocol: statements and portals, under names that every backend understands.

use crate::client::{Frame, Step};
use crate::command::Effect;
use crate::engine::{Engine, Hold, Pooling, Stop};
use crate::inject::Passage;
use crate::names;
use crate::output::Output;
use crate::queue::{Answer, Expect, Fate, Naming, Purpose};
use crate::refusal::{Refusal, SessionError};
use crate::refuse::Permit;
use crate::statement::Statement;
use crate::tenancy::{Subject, Tenancy};
use crate::transaction::{Batch, Released};
use pgwarden_sql::Verb;
use pgwarden_wire::{Execute, HEADER, Malformed, Target, TargetKind, bind_head};
use std::sync::Arc;

/// Whether a message of a batch may go, or what becomes of it instead.
pub(crate) enum Gate {
    Open(Released),
    Shut(Step),
}

impl<T: Tenancy> Engine<T> {
    /// Whether it is known what the name stands for: a Parse that was sent may still fail.
    pub(crate) fn is_certain(&self, name: &[u8]) -> bool {
        self.queue.is_empty() || self.statements.is_certain(name, self.tx.number())
    }

    /// The message waits until nothing is outstanding, what this batch has sent so far included.
    pub(crate) fn wait(&mut self, out: &mut Output) -> Step {
        if self.tx.batch() != Batch::Fresh {
            out.backend.write(|w| {
                w.flush();
            });
        }
        self.hold = Hold::Settled;
        Step::Stop(Stop::Replies)
    }

    /// Whether a statement of that name is shared between clients.
    pub(crate) fn shares(&self, name: &[u8]) -> bool {
        self.options.pooling == Pooling::Transaction && !name.is_empty()
    }

    pub(crate) fn bind(
        &mut self,
        frame: &Frame<'_>,
        now: u64,
        out: &mut Output,
    ) -> Result<Step, SessionError> {
        let Some(head) = bind_head(frame.available()) else {
            return if frame.payload().is_some() { Err(Malformed.into()) } else { Ok(Step::Incomplete) };
        };
        if let Some(name) = [head.portal, head.statement].into_iter().find(|name| names::is_reserved(name)) {
            return Ok(self.refuse_frame(&names::reserved(name), frame, out));
        }
        if !self.is_certain(head.statement) {
            return Ok(self.wait(out));
        }
        if self.is_bind_held(frame) {
            return Ok(Step::Incomplete);
        }
        let statement = self.statements.find(head.statement).cloned();
        if let Some(step) = self.show_comment(head.statement, frame, now, out) {
            return Ok(step);
        }
        if let Some(token) =
            statement.as_deref().filter(|one| one.is_token() && frame.edits.is_token_unread())
        {
            return self.bind_token((frame, &head), token, now, out);
        }
        let claim = statement.as_deref().filter(|_| frame.edits.is_token_unread());
        if let Some(claim) = claim.filter(|one| self.claims_something(one)) {
            return self.bind_claim((frame, &head), claim, now, out);
        }
        if let Some(step) =
            statement.as_ref().and_then(|one| self.shut_by_values(one, head.length, frame, now, out))
        {
            return Ok(step);
        }
        let gate = match &statement {
            Some(statement) => self.gate(statement, Purposes::Run, frame, now, out),
            None => self.gate_of_unknown(out),
        };
        match gate {
            Gate::Open(_released) => (),
            Gate::Shut(step) => return Ok(step),
        }
        let statement = self.statement_as_role(head.statement);
        let shared = statement.as_ref().filter(|_| self.shares(head.statement));
        if let Some(step) = shared.and_then(|one| self.check_shape(head.statement, one, frame, out)) {
            return Ok(step);
        }
        let name = self.backend_name(head.statement, statement.as_ref(), out);
        let shared = statement.as_ref().filter(|_| self.shares(head.statement));
        self.queue.push(Expect::Bind, shared.map_or(Fate::Client, |one| Fate::Shared(Arc::clone(one))));
        let overseen =
            statement.as_ref().and_then(|one| self.oversee_bind((head.statement, one), head.length, frame));
        self.portals.bind(head.portal, statement.as_ref(), (frame.edits.showing(), overseen));
        self.tx.sent(Batch::Started);
        let Some(name) = name else { return Ok(self.forward(frame, 0, out)) };
        out.backend.write(|w| {
            w.bind_front(head.portal, &name, frame.length - HEADER - head.length);
        });
        Ok(self.forward(frame, HEADER + head.length, out))
    }

    pub(crate) fn describe(
        &mut self,
        frame: &Frame<'_>,
        now: u64,
        out: &mut Output,
    ) -> Result<Step, SessionError> {
        let Some(payload) = frame.payload() else { return Ok(Step::Incomplete) };
        let target = Target::read(payload)?;
        if names::is_reserved(target.name) {
            return Ok(self.refuse_frame(&names::reserved(target.name), frame, out));
        }
        self.tx.sent(Batch::Prepared);
        if target.kind == TargetKind::Portal {
            let watched = self.oversee_portal_description(target.name);
            self.queue.forward(Expect::DescribePortal);
            self.queue.watch(watched);
            return Ok(self.forward(frame, 0, out));
        }
        if !self.is_certain(target.name) {
            return Ok(self.wait(out));
        }
        if let Some(step) = self.describe_as_role(target.name, frame, now, out) {
            return Ok(step);
        }
        let statement = self.statement_as_role(target.name);
        let name = self.backend_name(target.name, statement.as_ref(), out);
        let shared = statement.filter(|_| self.shares(target.name));
        let fate = shared.map_or(Fate::Client, |one| Fate::Described(one, target.name.into()));
        let watched = self.oversee_description(target.name);
        self.queue.push(Expect::DescribeStatement, fate);
        self.queue.watch(watched);
        let Some(name) = name else { return Ok(self.forward(frame, 0, out)) };
        out.backend.write(|w| {
            w.describe(b'S', &name);
        });
        Ok(self.discard(frame))
    }

    pub(crate) fn execute(
        &mut self,
        frame: &Frame<'_>,
        now: u64,
        out: &mut Output,
    ) -> Result<Step, SessionError> {
        let Some(payload) = frame.payload() else { return Ok(Step::Incomplete) };
        let execute = Execute::read(payload)?;
        if names::is_reserved(execute.portal) {
            return Ok(self.refuse_frame(&names::reserved(execute.portal), frame, out));
        }
        let statement = self.portals.find(execute.portal).cloned();
        let mut fate = Fate::Client;
        if let Some(statement) = &statement {
            let gated = !self.is_in_session_scope(statement.script());
            match gated.then(|| self.gate(statement, Purposes::Run, frame, now, out)) {
                None | Some(Gate::Open(_)) => (),
                Some(Gate::Shut(step)) => return Ok(step),
            }
            fate = self.execute_fate(statement);
        }
        if let Some(showing) = self.portals.showing(execute.portal).cloned() {
            match self.run_token(&showing, frame, now, out) {
                Ok(echo) => fate = echo.map_or(fate, Fate::Echo),
                Err(step) => return Ok(step),
            }
        }
        let watched = statement.as_ref().and_then(|one| self.oversee_portal(execute.portal, one));
        self.queue.push(Expect::Execute, fate);
        self.queue.watch(watched);
        self.tx.sent(Batch::Started);
        let step = self.forward(frame, 0, out);
        for one in statement.iter().filter_map(|known| known.script()).flat_map(|script| script.statements())
        {
            self.statement_sent(one);
        }
        Ok(step)
    }

    fn execute_fate(&mut self, statement: &Statement) -> Fate {
        let single = statement.script().and_then(|script| script.single());
        match (single.map(|one| one.verb), &self.deallocating) {
            (Some(Verb::ResetAll), _) => Fate::Command(Effect::Reset),
            (Some(Verb::Other), _) if self.is_outside_with_context() => Fate::Unsure,
            (Some(Verb::Deallocate { all: false }), Some(_)) => self
                .deallocating
                .take()
                .map_or(Fate::Client, |naming| Fate::Command(Effect::Deallocate(naming))),
            _ => Fate::Client,
        }
    }

    pub(crate) fn close(&mut self, frame: &Frame<'_>, out: &mut Output) -> Result<Step, SessionError> {
        let Some(payload) = frame.payload() else { return Ok(Step::Incomplete) };
        let target = Target::read(payload)?;
        if names::is_reserved(target.name) {
            return Ok(self.refuse_frame(&names::reserved(target.name), frame, out));
        }
        self.tx.sent(Batch::Prepared);
        match target.kind {
            TargetKind::Portal => self.portals.close(target.name),
            TargetKind::Statement if self.shares(target.name) && !self.is_certain(target.name) => {
                return Ok(self.wait(out));
            }
            TargetKind::Statement => {
                let taken = self.statements.taken(target.name).clone();
                let known = self
                    .statements
                    .remove(target.name, self.tx.number())
                    .map(|statement| Box::new(Naming::sent(target.name, statement, taken)));
                if self.shares(target.name) {
                    self.queue.answer(Answer::CloseComplete(known));
                    return Ok(self.discard(frame));
                }
                if target.name.is_empty() {
                    self.unnamed_lost();
                    self.statements.unnamed_changed(self.queue.next_place());
                    self.queue.push(Expect::Close, Fate::CloseUnnamed);
                    return Ok(self.forward(frame, 0, out));
                }
            }
        }
        self.queue.forward(Expect::Close);
        Ok(self.forward(frame, 0, out))
    }

    /// The name to use for a client's statement on this backend, which is made to know it; `None` where the
    /// client's own name is right.
    fn backend_name(
        &mut self,
        name: &[u8],
        statement: Option<&Arc<Statement>>,
        out: &mut Output,
    ) -> Option<Vec<u8>> {
        match statement {
            _ if self.options.pooling == Pooling::Session => None,
            Some(statement) if name.is_empty() => {
                self.have_unnamed(statement, out);
                None
            }
            Some(statement) => Some(self.name_on_backend(statement, out)),
            None if name.is_empty() => {
                // Another client's unnamed statement may be there: take it away, so that the server says 26000.
                self.unnamed_lost();
                out.backend.write(|w| {
                    w.close(b'S', b"");
                });
                self.queue.push(Expect::Close, Fate::Own(Purpose::Unnamed));
                None
            }
            None => None,
        }
    }

    /// The name of a shared statement on this backend, parsed in front if the backend does not know it.
    pub(crate) fn name_on_backend(&mut self, statement: &Arc<Statement>, out: &mut Output) -> Vec<u8> {
        let batch = self.tx.number();
        let known = self.lease.as_mut().and_then(|backend| backend.shelf.find(statement, batch));
        known.or_else(|| self.prepare_shared(statement, out)).map(names::of_statement).unwrap_or_default()
    }

    /// Parses a shared statement on this backend; `None` where it has to be the unnamed one (a pooler in between).
    pub(crate) fn prepare_shared(&mut self, statement: &Arc<Statement>, out: &mut Output) -> Option<u64> {
        if self.is_behind_pooler() {
            self.have_unnamed(statement, out);
            return None;
        }
        self.prepare_by_number(statement, out)
    }

    /// Sees to it that the backend may prepare one more statement.
    pub(crate) fn make_room(&mut self, statement: &Arc<Statement>, out: &mut Output) {
        let most = self.options.limits.backend_statements;
        let shelf = self.lease.as_mut().map(|backend| &mut backend.shelf);
        let Some(evicted) = shelf.and_then(|shelf| shelf.make_room(statement, most)) else { return };
        out.backend.write(|w| {
            w.close(b'S', &names::of_statement(evicted.number()));
        });
        self.queue.push(Expect::Close, Fate::Own(Purpose::Evict(Box::new(evicted))));
    }

    /// Parses a statement on this backend under a name of its own.
    pub(crate) fn prepare_by_number(&mut self, statement: &Arc<Statement>, out: &mut Output) -> Option<u64> {
        let batch = self.tx.number();
        self.make_room(statement, out);
        let backend = self.lease.as_mut()?;
        let number = backend.shelf.prepare(statement, batch);
        out.backend.write(|w| {
            w.parse(&names::of_statement(number), statement.text(), statement.types());
        });
        self.queue.push(Expect::Parse, Fate::Own(Purpose::PrepareStatement(Arc::clone(statement), number)));
        Some(number)
    }

    /// Sees to it that the backend's unnamed statement is this one.
    fn have_unnamed(&mut self, statement: &Arc<Statement>, out: &mut Output) {
        let batch = self.tx.number();
        let Some(backend) = &mut self.lease else { return };
        if backend.has_unnamed(statement, batch) {
            return;
        }
        backend.unnamed_sent(statement, batch);
        out.backend.write(|w| {
            w.parse(b"", statement.text(), statement.types());
        });
        self.queue.push(Expect::Parse, Fate::Own(Purpose::Unnamed));
    }

    /// Asks whether the statement may be prepared or run, and sees to its context.
    pub(crate) fn gate(
        &mut self,
        statement: &Arc<Statement>,
        purpose: Purposes,
        frame: &Frame<'_>,
        now: u64,
        out: &mut Output,
    ) -> Gate {
        let subject = Subject::Text { text: statement.text(), script: statement.read() };
        match self.permit(subject, now) {
            Permit::Granted => (),
            Permit::Refused(refusal) => return Gate::Shut(self.refuse_frame(&refusal, frame, out)),
            Permit::Unknown => return Gate::Shut(Step::Stop(Stop::Question(statement.text().to_vec()))),
        }
        let running = statement.script().filter(|_| purpose == Purposes::Run);
        if let Some(refusal) = running.and_then(|script| self.stray_sequence(statement.text(), script)) {
            return Gate::Shut(self.refuse_frame(&refusal, frame, out));
        }
        match self.decide(statement.script()) {
            Passage::Free(released) => Gate::Open(released),
            Passage::Inject | Passage::Midway | Passage::Wait | Passage::Impossible(_)
                if purpose == Purposes::Prepare && self.tenancy.role().is_none() =>
            {
                Gate::Open(self.tx.exempt())
            }
            Passage::Wait => Gate::Shut(self.wait(out)),
            Passage::Impossible(refusal) => Gate::Shut(self.refuse_frame(&refusal, frame, out)),
            Passage::Midway => {
                self.tx.sent(Batch::Started);
                Gate::Open(self.inject_midway(out))
            }
            Passage::Inject if self.ends_block_in_doubt(statement) => Gate::Shut(self.wait(out)),
            Passage::Inject => {
                // Whatever becomes of the message: the batch has begun on the backend, and needs its Sync there.
                self.tx.sent(Batch::Started);
                Gate::Open(self.inject(out))
            }
            Passage::SessionScope => Gate::Shut(match self.open_session_scope(out) {
                Ok(stop) => Step::Stop(stop),
                Err(refusal) => self.refuse_frame(&refusal, frame, out),
            }),
        }
    }

    /// Sees to the context of a statement that only the server knows, in session pooling: one of SQL's PREPARE, say.
    fn gate_of_unknown(&mut self, out: &mut Output) -> Gate {
        if self.options.pooling == Pooling::Transaction {
            return Gate::Open(self.tx.exempt());
        }
        match self.decide(None) {
            Passage::Free(released) => Gate::Open(released),
            Passage::Inject => {
                self.tx.sent(Batch::Started);
                Gate::Open(self.inject(out))
            }
            _ => Gate::Shut(self.wait(out)),
        }
    }

    /// A context in front of the COMMIT of a failed block would fail it, where it would roll back; so it is waited for
    /// whether the block failed.
    fn ends_block_in_doubt(&self, statement: &Statement) -> bool {
        let single = statement.script().and_then(|script| script.single());
        !self.queue.is_empty() && single.is_some_and(|one| self.tx.depends(one))
    }

    pub(crate) fn refuse_frame(&mut self, refusal: &Refusal, frame: &Frame<'_>, out: &mut Output) -> Step {
        self.refuse_batch(refusal, out);
        self.discard(frame)
    }
}

/// Why a statement passes the gate: preparing alone runs nothing and needs no context, unless that sets a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purposes {
    Prepare,
    Run,
}
