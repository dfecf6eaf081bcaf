//! Parse: what a client prepares, under a name that the backend keeps apart from other clients'.

use crate::backend::Route;
use crate::client::{Frame, Step};
use crate::engine::{Definitions, Engine};
use crate::extended::{Gate, Purposes};
use crate::names;
use crate::output::Output;
use crate::queue::{Answer, Expect, Fate, Naming, Valid};
use crate::refusal::{Refusal, SessionError};
use crate::statement::{Statement, Surroundings};
use crate::tenancy::Tenancy;
use crate::transaction::Batch;
use pgwarden_wire::{Parse, Status};
use std::sync::Arc;

impl<T: Tenancy> Engine<T> {
    pub(crate) fn parse(
        &mut self,
        frame: &Frame<'_>,
        now: u64,
        out: &mut Output,
    ) -> Result<Step, SessionError> {
        let Some(payload) = frame.payload() else { return Ok(Step::Incomplete) };
        let parse = Parse::read(payload)?;
        if let Some(found) = self.commented_token(parse.text, frame) {
            return self.parse_without_comment(frame, &parse, &found, now, out);
        }
        if names::is_reserved(parse.name) {
            return Ok(self.refuse_frame(&names::reserved(parse.name), frame, out));
        }
        if self.shares(parse.name) && !self.is_certain(parse.name) {
            return Ok(self.wait(out));
        }
        let most = self.options.limits.client_statements;
        if self.statements.is_full(parse.name, most) {
            return Ok(self.refuse_frame(&too_many(most), frame, out));
        }
        let statement = self.define(&parse);
        if let Some(found) = self.literal_token(&statement, frame) {
            return self.parse_without_literal(frame, &parse, found, now, out);
        }
        if statement.is_token_among_others() {
            return Ok(self.refuse_frame(&several_commands(), frame, out));
        }
        if self.deallocates_in_doubt(parse.text, statement.script()) {
            return Ok(self.wait(out));
        }
        if let Gate::Shut(step) = self.gate(&statement, Purposes::Prepare, frame, now, out) {
            return Ok(step);
        }
        // What the gate has asked may have made it another role.
        let statement = self.as_role(parse.name, statement);
        self.tx.sent(Batch::Prepared);
        if self.shares(parse.name) && self.statements.find(parse.name).is_some() {
            return Ok(self.parse_taken(frame, &parse, &statement, out));
        }
        let step = if self.shares(parse.name) {
            self.parse_shared(frame, &parse, &statement, out)
        } else {
            self.parse_unshared(frame, &parse, &statement, out)
        };
        if parse.name.is_empty() {
            self.statements.unnamed_changed(self.queue.last_place());
        }
        if self.valid_from(parse.name) == Valid::Sent {
            self.statements.insert(parse.name, (statement, frame.edits.taken()), self.tx.number());
        }
        Ok(step)
    }

    /// The name is taken: the server looks at the text first, as it would, then fails the batch.
    fn parse_taken(
        &mut self,
        frame: &Frame<'_>,
        parse: &Parse<'_>,
        statement: &Arc<Statement>,
        out: &mut Output,
    ) -> Step {
        let _number = self.prepare_shared(statement, out);
        let shown = String::from_utf8_lossy(parse.name);
        let taken = Refusal::new("42P05", format!("prepared statement \"{shown}\" already exists"), "", "");
        self.refuse_frame(&taken, frame, out)
    }

    /// A statement that keeps its name: the unnamed one, and all in session pooling.
    fn parse_unshared(
        &mut self,
        frame: &Frame<'_>,
        parse: &Parse<'_>,
        statement: &Arc<Statement>,
        out: &mut Output,
    ) -> Step {
        let renamed = statement.script().and_then(|script| self.renamed_deallocate(parse.text, script, out));
        self.name_sent(frame, parse, statement, None);
        let Some((text, naming)) = renamed else { return self.forward(frame, 0, out) };
        self.deallocating = Some(Box::new(naming));
        out.backend.write(|w| {
            w.parse(parse.name, &text, parse.types);
        });
        self.discard(frame)
    }

    /// A named statement is renamed; where the backend knows it already, pgwarden answers.
    fn parse_shared(
        &mut self,
        frame: &Frame<'_>,
        parse: &Parse<'_>,
        statement: &Arc<Statement>,
        out: &mut Output,
    ) -> Step {
        let Some(backend) = &mut self.lease else { return self.discard(frame) };
        if backend.capabilities.route == Route::Pooler {
            backend.unnamed_sent(statement, self.tx.number());
            out.backend.write(|w| {
                w.parse(b"", parse.text, parse.types);
            });
            self.name_sent(frame, parse, statement, None);
            return self.discard(frame);
        }
        // In a failed block the server refuses Parse itself.
        let fails = match self.tx.status() {
            Status::Idle => false,
            Status::InBlock => self.queue.ends_batch(),
            Status::Failed => true,
        };
        let known = backend.shelf.is_acknowledged(statement) && self.definitions == Definitions::Kept;
        if known && !fails {
            let naming = naming(frame, parse, statement, None);
            self.queue.answer(Answer::ParseComplete(Box::new(naming)));
            return self.discard(frame);
        }
        self.make_room(statement, out);
        let Some(backend) = &mut self.lease else { return self.discard(frame) };
        let number = backend.shelf.prepare(statement, self.tx.number());
        out.backend.write(|w| {
            w.parse(&names::of_statement(number), parse.text, parse.types);
        });
        self.name_sent(frame, parse, statement, Some(number));
        self.discard(frame)
    }

    fn name_sent(
        &mut self,
        frame: &Frame<'_>,
        parse: &Parse<'_>,
        statement: &Arc<Statement>,
        number: Option<u64>,
    ) {
        let naming = Naming { valid: self.valid_from(parse.name), ..naming(frame, parse, statement, number) };
        self.queue.push(Expect::Parse, Fate::Parse(Box::new(naming)));
        if let (true, Some(backend)) = (parse.name.is_empty(), &mut self.lease) {
            backend.unnamed_sent(statement, self.tx.number());
        }
    }

    /// From when on the name stands for what is parsed: one that is taken keeps what it has, until the server says otherwise.
    fn valid_from(&self, name: &[u8]) -> Valid {
        match name.is_empty() || self.shares(name) || self.statements.find(name).is_none() {
            true => Valid::Sent,
            false => Valid::Acknowledged,
        }
    }

    /// The statement that a Parse defines; named ones are shared with every client that defines the same.
    fn define(&self, parse: &Parse<'_>) -> Arc<Statement> {
        let role = self.tenancy.role();
        let same = self.statements.find(b"").filter(|_| parse.name.is_empty());
        let same = same.filter(|same| same.surroundings().role == role);
        if let Some(same) = same.filter(|same| same.text() == parse.text && same.types() == parse.types) {
            return Arc::clone(same);
        }
        let search_path =
            self.profile.reported.value("search_path").or_else(|| self.profile.carried.value("search_path"));
        let around = Surroundings { search_path, role };
        let fresh = Statement::new(parse.text, parse.types, around, self.reading());
        if self.shares(parse.name) { self.interner.share(fresh) } else { Arc::new(fresh) }
    }
}

fn naming(frame: &Frame<'_>, parse: &Parse<'_>, statement: &Arc<Statement>, number: Option<u64>) -> Naming {
    let taken = frame.edits.taken();
    Naming { number, ..Naming::sent(parse.name, Arc::clone(statement), taken) }
}

/// What the server says of it, which must not read the token.
fn several_commands() -> Refusal {
    Refusal::new("42601", "cannot insert multiple commands into a prepared statement", "", "")
}

fn too_many(most: usize) -> Refusal {
    Refusal::new(
        "53400",
        "too many prepared statements",
        format!("limits.prepared_statements is {most}."),
        "Close statements that are not needed, or raise the limit.",
    )
}
