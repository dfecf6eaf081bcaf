//! The simple protocol: Query and FunctionCall, each a transaction of its own outside of a block.

use crate::carrier::SimpleForm;
use crate::client::{Frame, Step};
use crate::command::Effect;
use crate::engine::{Barrier, Engine, Hold, Reassert, Resetting, SessionScope, Stop};
use crate::inject::Passage;
use crate::insertion::{Contexts, Plan};
use crate::output::Output;
use crate::queue::{Again, Expect, Fate, Insertions};
use crate::refusal::SessionError;
use crate::refuse::Permit;
use crate::tenancy::{Subject, Tenancy, needs_context};
use crate::transaction::{Batch, Released, ends_transaction, loses_context, runs_deferred};
use pgwarden_sql::{Script, Statement, Verb};
use pgwarden_wire::{FunctionCall, HEADER, Malformed, Status};

impl<T: Tenancy> Engine<T> {
    pub(crate) fn query(
        &mut self,
        frame: &Frame<'_>,
        now: u64,
        out: &mut Output,
    ) -> Result<Step, SessionError> {
        let Some(payload) = frame.payload() else { return Ok(Step::Incomplete) };
        let text = query_text(payload)?;
        if let Some(found) = self.commented_token(text, frame) {
            return self.query_without_comment(frame, &found, now, out);
        }
        let read = self.reading().read(text);
        if let Some(script) = read.as_ref().ok().filter(|script| self.shows_token(script, frame)) {
            return self.query_with_token(frame, (text, script), now, out);
        }
        let claimed =
            read.as_ref().ok().and_then(|script| self.claim_by_query(frame, (text, script), now, out));
        if let Some(step) = claimed {
            return Ok(step);
        }
        match self.permit(Subject::Text { text, script: read.as_ref().map_err(|unread| *unread) }, now) {
            Permit::Granted => (),
            Permit::Refused(refusal) => {
                self.refuse_query(&refusal, out);
                return Ok(self.discard(frame));
            }
            Permit::Unknown => return Ok(Step::Stop(Stop::Question(text.to_vec()))),
        }
        let script = read.ok();
        if let Some(refusal) = script.as_ref().and_then(|script| self.stray_sequence(text, script)) {
            self.refuse_query(&refusal, out);
            return Ok(self.discard(frame));
        }
        if self.deallocates_in_doubt(text, script.as_ref()) {
            return Ok(self.wait(out));
        }
        if let Some((own, naming)) = script.as_ref().and_then(|one| self.renamed_deallocate(text, one, out)) {
            out.backend.write(|w| {
                w.query(&own);
            });
            self.query_sent(script.as_ref(), Fate::Command(Effect::Deallocate(Box::new(naming))));
            return Ok(self.discard(frame));
        }
        let several = script
            .as_ref()
            .is_some_and(|script| changes_context_midway(script, &self.tenancy, self.options.reassert));
        match self.decide(script.as_ref()) {
            Passage::Free(released) if !several => Ok(self.send_query(frame, script.as_ref(), released, out)),
            Passage::Wait => Ok(self.wait(out)),
            Passage::SessionScope => Ok(self.query_in_session_scope(frame, out)),
            Passage::Impossible(refusal) => {
                self.refuse_query(&refusal, out);
                Ok(self.discard(frame))
            }
            Passage::Free(_) | Passage::Inject | Passage::Midway => {
                Ok(self.query_with_context(frame, text, script.as_ref(), out))
            }
        }
    }

    fn query_in_session_scope(&mut self, frame: &Frame<'_>, out: &mut Output) -> Step {
        match self.open_session_scope(out) {
            Ok(stop) => Step::Stop(stop),
            Err(refusal) => {
                self.refuse_query(&refusal, out);
                self.discard(frame)
            }
        }
    }

    fn query_with_context(
        &mut self,
        frame: &Frame<'_>,
        text: &[u8],
        script: Option<&Script>,
        out: &mut Output,
    ) -> Step {
        let midway =
            script.is_some_and(|script| changes_context_midway(script, &self.tenancy, self.options.reassert));
        if !self.queue.is_empty() && !self.queue.holds_only_settings() {
            return self.wait(out);
        }
        if midway || self.simple_form() == SimpleForm::Text {
            return self.send_with_text(frame, text, script, out);
        }
        let released = self.inject(out);
        let step = self.send_query(frame, script, released, out);
        if self.hold == Hold::Nothing {
            self.hold = Hold::Own;
        }
        step
    }

    /// Sends the query as it is; `_released` proves that its context is in place.
    fn send_query(
        &mut self,
        frame: &Frame<'_>,
        script: Option<&Script>,
        _released: Released,
        out: &mut Output,
    ) -> Step {
        let fate = self.query_fate(frame, script);
        let text = frame.available();
        let watched = self.oversee_query(text.strip_suffix(b"\0").unwrap_or(text), script);
        frame.pass(0..frame.bytes.len(), out);
        self.query_sent(script, fate);
        self.queue.watch(watched);
        if self.scope == SessionScope::Open {
            self.close_session_scope(out);
        }
        Step::Taken
    }

    /// Sends the query with the context inside its text; the text itself is not copied.
    fn send_with_text(
        &mut self,
        frame: &Frame<'_>,
        text: &[u8],
        script: Option<&Script>,
        out: &mut Output,
    ) -> Step {
        let Some(contexts) = Contexts::of(&self.tenancy) else {
            let released = self.tx.exempt();
            return self.send_query(frame, script, released, out);
        };
        let plan = Plan::new(text, script, self, contexts);
        let length = frame.length + plan.inserted() - 1;
        let field = i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes();
        out.backend.bytes(b"Q");
        out.backend.bytes(&field);
        let mut from = HEADER;
        for (offset, carrier) in &plan.offsets {
            frame.pass(from..HEADER + offset, out);
            let carrier = carrier.sealed_for(self.lease.as_deref_mut());
            carrier.text().iter().for_each(|part| out.backend.bytes(part));
            from = HEADER + offset;
        }
        frame.pass(from..frame.length, out);
        if !plan.offsets.is_empty() {
            self.activity.text += 1;
            let _released = self.tx.injected();
        }
        let mut insertions = plan.insertions;
        if script.is_some_and(resets_all) {
            insertions.resets = Resetting::Settings;
        }
        insertions.again = self.again(text, script);
        frame.edits.note(&mut insertions);
        let watched = self.oversee_query(text, script);
        self.query_sent(script, Fate::Script(Box::new(insertions)));
        self.queue.watch(watched);
        if self.scope == SessionScope::Open {
            self.close_session_scope(out);
        }
        Step::Taken
    }

    fn query_fate(&self, frame: &Frame<'_>, script: Option<&Script>) -> Fate {
        let text = frame.available();
        if script.is_some_and(resets_all) {
            return Fate::Command(Effect::Reset);
        }
        let again = self.again(text.strip_suffix(b"\0").unwrap_or(text), script);
        if matches!(again, Again::Never) && !frame.edits.is_seen_in_replies() {
            return Fate::Client;
        }
        let mut insertions = Insertions { again, ..Insertions::default() };
        frame.edits.note(&mut insertions);
        Fate::Script(Box::new(insertions))
    }

    /// Outside of a block, a statement of an unknown kind may turn out to refuse the block that its context makes.
    fn again(&self, text: &[u8], script: Option<&Script>) -> Again {
        let unknown = script.and_then(Script::single).is_some_and(|one| one.verb == Verb::Other);
        if unknown && self.is_outside_with_context() && self.can_set_for_session() {
            Again::Possible(text.to_vec())
        } else {
            Again::Never
        }
    }

    pub(crate) fn query_sent(&mut self, script: Option<&Script>, fate: Fate) {
        // A Query behind an unsynced Execute leaves the transaction open on PostgreSQL 18, whatever it reports.
        if self.tx.batch() == Batch::Started && self.tx.status() == Status::Idle {
            self.taint();
        }
        let may_run_again = matches!(&fate, Fate::Script(insertions) if insertions.may_run_again());
        self.queue.push(Expect::Query, fate);
        self.statements.unnamed_changed(self.queue.last_place());
        self.statements.remove(b"", self.tx.number());
        self.unnamed_lost();
        for statement in script.map(Script::statements).unwrap_or_default() {
            self.statement_sent(statement);
        }
        self.end_of_batch();
        if may_run_again {
            // What came behind it would be answered first.
            self.hold = Hold::Settled;
        }
    }

    /// Follows what a statement does to the session, as soon as it is sent.
    pub(crate) fn statement_sent(&mut self, statement: &Statement) {
        self.tx.statement_sent(statement);
        self.follow(statement);
        if matches!(statement.verb, Verb::DiscardAll | Verb::ResetAll) {
            self.tenancy.reset(self.tx.place());
        }
        if matches!(statement.verb, Verb::DiscardAll | Verb::Deallocate { .. }) {
            self.barrier = Barrier::Due;
        }
        if matches!(statement.verb, Verb::DiscardAll | Verb::Deallocate { all: true }) {
            // What follows in the same batch cannot wait for the reply.
            if let Some(backend) = &mut self.lease {
                backend.context_lost();
            }
        }
    }

    /// FunctionCall, the old interface for large objects: a transaction of its own, as a simple query is.
    pub(crate) fn function_call(
        &mut self,
        frame: &Frame<'_>,
        now: u64,
        out: &mut Output,
    ) -> Result<Step, SessionError> {
        let Some(payload) = frame.payload() else { return Ok(Step::Incomplete) };
        let call = FunctionCall::read(payload)?;
        match self.permit(Subject::Function(call.function), now) {
            Permit::Granted => (),
            Permit::Refused(refusal) => {
                self.refuse_query(&refusal, out);
                return Ok(self.discard(frame));
            }
            Permit::Unknown => return Ok(Step::Stop(Stop::Question(Vec::new()))),
        }
        let in_block = self.tx.status() != Status::Idle || self.tx.batch() == Batch::Started;
        match (self.decide(None), &self.scope) {
            (Passage::Free(_), _) => (),
            (_, SessionScope::Open) => (),
            _ if !in_block => return Ok(self.query_in_session_scope(frame, out)),
            // A context that fails takes along what is sent behind it up to a Sync: nothing is, until it has answered.
            _ if !self.queue.is_empty() && !self.queue.holds_only_settings() => return Ok(self.wait(out)),
            _ => {
                let _released = self.inject(out);
                self.hold = Hold::Own;
            }
        }
        let watched = self.oversee_call();
        self.queue.push(Expect::FunctionCall, Fate::Client);
        self.queue.watch(watched);
        let step = self.forward(frame, 0, out);
        self.tx.batch_sent();
        if self.scope == SessionScope::Open {
            self.close_session_scope(out);
        }
        Ok(step)
    }
}

/// The text of a Query: one string and nothing behind it.
fn query_text(payload: &[u8]) -> Result<&[u8], Malformed> {
    match payload.split_last() {
        Some((0, text)) if !text.contains(&0) => Ok(text),
        _ => Err(Malformed),
    }
}

/// Whether a string of several statements needs the context inside: behind transaction control, because a context in
/// front of BEGIN would be a query before SET TRANSACTION, or behind what loses it.
fn changes_context_midway(script: &Script, tenancy: &impl Tenancy, reassert: Reassert) -> bool {
    if tenancy.carrier().is_none() {
        return false;
    }
    let (mut undisturbed, mut lost) = (true, false);
    for statement in script.statements() {
        let needs = needs_context(statement, tenancy) || (lost && runs_deferred(statement));
        if !undisturbed && needs {
            return true;
        }
        let disturbs = statement.verb.controls_transaction()
            || statement.verb == Verb::SetTransaction
            || loses_context(statement)
            || statement.verb == Verb::ResetAll
            || (needs && reassert == Reassert::Statement);
        undisturbed &= !disturbs;
        lost = loses_context(statement) && !ends_transaction(statement);
    }
    false
}

/// Whether RESET ALL is among the statements.
pub(crate) fn resets_all(script: &Script) -> bool {
    script.statements().iter().any(|one| one.verb == Verb::ResetAll)
}
