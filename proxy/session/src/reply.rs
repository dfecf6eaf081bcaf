//! The server's replies: matched with the reply queue, passed on as ranges, swallowed where they are pgwarden's own.

use crate::description::Outline;
use crate::engine::{CopyIn, Definitions, Delivery, Engine, Flow, Hold, Resetting, SessionScope};
use crate::output::Output;
use crate::oversight::Sight;
use crate::queue::{Again, Entry, Expect, Fate, Naming, Progress, Purpose, Valid};
use crate::refusal::SessionError;
use crate::settings::Profile;
use crate::tenancy::Tenancy;
use pgwarden_wire::{BackendTag, HEADER, Malformed, Status, header, parameter_status};
use std::sync::Arc;

impl<T: Tenancy> Engine<T> {
    /// Takes as many of the server's messages as possible; returns how many bytes of the input are done with.
    ///
    /// Input that was not consumed has to be given again, with what follows it. The result does not depend on how
    /// the input is split.
    ///
    /// # Errors
    /// [`SessionError`] when a reply was not expected: the backend must be closed, and the session with it.
    pub fn backend_bytes(&mut self, input: &[u8], out: &mut Output) -> Result<usize, SessionError> {
        self.replies(input, out).inspect_err(|_| self.taint())
    }

    fn replies(&mut self, input: &[u8], out: &mut Output) -> Result<usize, SessionError> {
        let mut at = 0;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            if self.from_backend.remaining > 0 {
                at += self.pass_backend(at, rest.len(), out);
                if self.from_backend.remaining > 0 {
                    return Ok(at);
                }
                self.emit_answers(out);
                continue;
            }
            let Ok(header) = header(rest) else { return Err(desync(rest)) };
            let Some(header) = header else { return Ok(at) };
            let tag = BackendTag::from_byte(header.tag).ok_or(SessionError::Desync { tag: header.tag })?;
            let available = header.length.min(rest.len());
            let whole = available == header.length;
            if !whole && (is_read(tag) || self.is_looked_at()) {
                if header.length > self.options.limits.message {
                    return Err(SessionError::Desync { tag: header.tag });
                }
                return Ok(at);
            }
            let payload = rest.get(HEADER..available).unwrap_or_default();
            let delivery = match self.oversee(tag, payload, header.length - HEADER)? {
                Sight::Waits => return Ok(at),
                Sight::Goes => self.reply(tag, payload, out)?,
                Sight::Taken => Delivery::Swallow,
            };
            let delivery = self.withhold(tag, delivery, out);
            if delivery == Delivery::Forward {
                out.client.input(at..at + available);
            }
            self.from_backend = Flow { remaining: header.length - available, delivery };
            at += available;
            self.emit_answers(out);
        }
    }

    /// A description that is compared has to be complete, and so has the answer to an inquiry.
    fn is_looked_at(&self) -> bool {
        matches!(
            self.queue.front(),
            Some(Entry::Await(
                _,
                Fate::Described(..) | Fate::Own(Purpose::Describe(_) | Purpose::Inquiry(_))
            ))
        )
    }

    fn pass_backend(&mut self, at: usize, available: usize, out: &mut Output) -> usize {
        let length = available.min(self.from_backend.remaining);
        self.from_backend.remaining -= length;
        if self.from_backend.delivery == Delivery::Forward {
            out.client.input(at..at + length);
        }
        length
    }

    fn reply(&mut self, tag: BackendTag, payload: &[u8], out: &mut Output) -> Result<Delivery, SessionError> {
        match (tag, self.queue.front()) {
            (
                BackendTag::DataRow | BackendTag::CopyData,
                Some(Entry::Await(Expect::Query | Expect::Execute, Fate::Client | Fate::Unsure)),
            )
            | (BackendTag::NotificationResponse, _) => Ok(Delivery::Forward),
            (BackendTag::DataRow, Some(Entry::Await(_, Fate::Own(Purpose::Inquiry(_))))) => {
                self.inquiry_answered(payload);
                Ok(Delivery::Swallow)
            }
            (BackendTag::DataRow, Some(Entry::Await(_, fate @ (Fate::Script(_) | Fate::Echo(_))))) => {
                Ok(echo(fate, out))
            }
            (BackendTag::NoticeResponse, _) if self.queue.front_is_own() => Ok(Delivery::Swallow),
            (BackendTag::NoticeResponse, _) => Ok(Delivery::Forward),
            (BackendTag::ParameterStatus, _) => self.setting_reported(payload),
            (BackendTag::ErrorResponse, _) => {
                self.oversee_end(tag, payload);
                self.error(payload, out)
            }
            _ => self.settle(tag, payload, out),
        }
    }

    fn settle(
        &mut self,
        tag: BackendTag,
        payload: &[u8],
        out: &mut Output,
    ) -> Result<Delivery, SessionError> {
        let stray = || SessionError::Desync { tag: byte_of(tag) };
        let Some(Entry::Await(expect, fate)) = self.queue.front_mut() else { return Err(stray()) };
        match expect.progress(tag) {
            Progress::Stray => Err(stray()),
            Progress::Part => {
                let own = match fate {
                    Fate::Own(_) => true,
                    Fate::Script(insertions) if tag == BackendTag::CommandComplete => {
                        insertions.swallows_next()
                    }
                    _ => false,
                };
                if tag == BackendTag::CommandComplete && !own {
                    let effect = fate.take_effect();
                    self.completed(payload, effect);
                }
                if !own {
                    self.oversee_end(tag, payload);
                }
                if tag == BackendTag::ParameterDescription {
                    self.outline = Outline::default();
                    self.outline.add(byte_of(tag), payload);
                }
                if tag == BackendTag::CopyInResponse {
                    self.copy_in_begins(out);
                }
                Ok(if own { Delivery::Swallow } else { Delivery::Forward })
            }
            Progress::Last => {
                if let Expect::Injection(closes @ 2..) = expect {
                    *closes -= 1;
                    return Ok(Delivery::Swallow);
                }
                self.oversee_end(tag, payload);
                match self.queue.pop() {
                    Some(Entry::Await(expect, mut fate)) => {
                        if tag == BackendTag::CommandComplete && !matches!(fate, Fate::Own(_)) {
                            let effect = fate.take_effect();
                            self.note_completed(payload);
                            self.completed(payload, effect);
                        }
                        self.complete(expect, &fate, (tag, payload), out)
                    }
                    _ => Err(stray()),
                }
            }
        }
    }

    fn complete(
        &mut self,
        expect: Expect,
        fate: &Fate,
        (tag, payload): (BackendTag, &[u8]),
        out: &mut Output,
    ) -> Result<Delivery, SessionError> {
        let own = match fate {
            Fate::Own(_) => true,
            Fate::Script(insertions) => matches!(insertions.again, Again::Due(_)),
            _ => false,
        };
        match (fate, expect) {
            (Fate::Parse(naming), _) => self.parsed(naming),
            (Fate::CloseUnnamed, _) => self.statements.forget_unnamed(b""),
            (_, Expect::Query) if !own => self.statements.forget_unnamed(b""),
            (Fate::Own(Purpose::SessionSet), Expect::Sync) => self.session_set(),
            (Fate::Own(purpose), Expect::Parse) => self.own_parsed(purpose),
            (Fate::Described(..) | Fate::Own(Purpose::Describe(_)), _) => self.described(fate, tag, payload),
            (Fate::Own(Purpose::Inquiry(inquiry)), _) => self.conclude(inquiry, out),
            _ => (),
        }
        if tag == BackendTag::ReadyForQuery {
            let status = Status::read(payload).map_err(|_| SessionError::Desync { tag: b'Z' })?;
            if let (false, Some(overseer)) = (own, self.tenancy.overseer()) {
                overseer.ready(status);
            }
            self.ready(status, out);
        }
        if let (Fate::Script(insertions), true) = (fate, own)
            && let Again::Due(text) = &insertions.again
        {
            self.try_again(text.clone(), out);
        }
        if self.scope == SessionScope::Open {
            self.send_again(out);
        }
        if !matches!(fate, Fate::Own(Purpose::Inquiry(_))) {
            self.inquire(out);
        }
        Ok(if own { Delivery::Swallow } else { Delivery::Forward })
    }

    fn parsed(&mut self, naming: &Naming) {
        self.statements.acknowledged(naming);
        if naming.valid == Valid::Acknowledged {
            let known = (Arc::clone(&naming.statement), naming.taken.clone());
            self.statements.insert(&naming.name, known, self.tx.number());
        }
        let Some(backend) = &mut self.lease else { return };
        match naming.number {
            Some(number) => backend.shelf.acknowledge(&naming.statement, number),
            None if naming.name.is_empty() => backend.unnamed_parsed(),
            None => (),
        }
    }

    fn own_parsed(&mut self, purpose: &Purpose) {
        let Some(backend) = &mut self.lease else { return };
        match purpose {
            Purpose::PrepareContext => backend.context_prepared(),
            Purpose::PrepareStatement(statement, number) => backend.shelf.acknowledge(statement, *number),
            Purpose::Unnamed => backend.unnamed_parsed(),
            _ => (),
        }
    }

    fn described(&mut self, fate: &Fate, tag: BackendTag, payload: &[u8]) {
        self.outline.add(byte_of(tag), payload);
        let shape = self.outline.finish();
        let (Fate::Described(statement, _) | Fate::Own(Purpose::Describe(statement))) = fate else { return };
        if let Some(backend) = &mut self.lease {
            backend.shelf.described(statement, shape);
        }
        if let Fate::Described(statement, name) = fate {
            self.statements.described(name, statement, shape);
        }
    }

    fn session_set(&mut self) {
        if self.scope == SessionScope::Opening {
            self.scope = SessionScope::Open;
            let _released = self.tx.session_scope();
        }
    }

    fn ready(&mut self, status: Status, out: &mut Output) {
        self.reported = status;
        self.copy = CopyIn::Closed;
        if !self.queue.changes_transaction() {
            self.tx.settled(status);
        }
        if self.queue.is_empty() {
            self.statements.settle(self.tx.number());
            if status == Status::Idle {
                self.portals.clear();
            }
        }
        if status == Status::Idle && self.definitions == Definitions::Changed {
            self.definitions = Definitions::Kept;
            self.interner.definitions_changed();
        }
        if status == Status::Idle && self.resetting != Resetting::Nothing {
            let resetting = std::mem::take(&mut self.resetting);
            self.fall_back(resetting, out);
        }
    }

    /// The server discards Syncs while it is in copy-in mode, those already sent included.
    fn copy_in_begins(&mut self, out: &mut Output) {
        let begun = self.queue.copy_begins();
        self.copy = begun.copy;
        if !begun.reopened {
            return;
        }
        self.tx.reopen();
        // What waits for the end of the COPY would wait for a Sync that the server has discarded.
        if self.hold == Hold::Settled {
            out.backend.write(|w| {
                w.flush();
            });
        }
    }

    fn setting_reported(&mut self, payload: &[u8]) -> Result<Delivery, SessionError> {
        let pair = read_setting(payload).map_err(|_| SessionError::Desync { tag: b'S' })?;
        let Some((name, value)) = pair else { return Ok(Delivery::Forward) };
        if self.queue.front_is_own() {
            return Ok(Delivery::Swallow);
        }
        let Some(backend) = &mut self.lease else { return Ok(Delivery::Forward) };
        let mut changed = Profile::clone(&backend.profile);
        changed.reported.set(name, value);
        backend.profile = Arc::new(changed);
        self.profile = Arc::clone(&backend.profile);
        Ok(Delivery::Forward)
    }
}

/// Writes the row that the client reads in place of the server's, if there is one.
fn echo(fate: &Fate, out: &mut Output) -> Delivery {
    let Some(value) = fate.echo() else { return Delivery::Forward };
    out.client.write(|w| {
        w.message(b'D', |p| {
            p.bytes(&1_u16.to_be_bytes()).int32(i32::try_from(value.len()).unwrap_or(i32::MAX)).bytes(value);
        });
    });
    Delivery::Swallow
}

/// The name and value; `None` where one is not UTF-8 and so cannot be carried.
fn read_setting(payload: &[u8]) -> Result<Option<(&str, &str)>, Malformed> {
    let (name, value) = parameter_status(payload)?;
    Ok(std::str::from_utf8(name).ok().zip(std::str::from_utf8(value).ok()))
}

/// Whether the payload is looked at, so that the message has to be complete.
fn is_read(tag: BackendTag) -> bool {
    matches!(
        tag,
        BackendTag::CommandComplete
            | BackendTag::ErrorResponse
            | BackendTag::ParameterStatus
            | BackendTag::ReadyForQuery
    )
}

fn desync(bytes: &[u8]) -> SessionError {
    SessionError::Desync { tag: bytes.first().copied().unwrap_or_default() }
}

fn byte_of(tag: BackendTag) -> u8 {
    (0..=u8::MAX).find(|byte| BackendTag::from_byte(*byte) == Some(tag)).unwrap_or_default()
}
