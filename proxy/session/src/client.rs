//! The client's messages: walked by offset, looked at where they matter, passed on as they are.

use crate::engine::{Barrier, CopyIn, Delivery, Engine, Flow, Hold, SessionScope, Skipping, Stop};
use crate::output::Output;
use crate::queue::{Answer, Expect, Fate};
use crate::refusal::SessionError;
use crate::tenancy::Tenancy;
use crate::token::Edits;
use crate::transaction::Batch;
use pgwarden_wire::{FrontendTag, HEADER, header};
use std::ops::Range;

/// How far the client's input was taken, and why not further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// Why no more were taken.
    pub stop: Stop,
}

/// One message of the client, as much of it as has arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) tag: FrontendTag,
    /// Where it begins in the input; `None` where the message was made anew.
    pub(crate) at: Option<usize>,
    /// Bytes of the whole message.
    pub(crate) length: usize,
    /// What is there of it, header included.
    pub(crate) bytes: &'a [u8],
    /// What was taken out of it.
    pub(crate) edits: Edits<'a>,
}

impl<'a> Frame<'a> {
    /// The payload, once all of it is there.
    pub(crate) fn payload(&self) -> Option<&'a [u8]> {
        (self.bytes.len() == self.length).then(|| self.available())
    }

    /// What is there of the payload.
    pub(crate) fn available(&self) -> &'a [u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }

    /// Passes on this range of the message.
    pub(crate) fn pass(&self, range: Range<usize>, out: &mut Output) {
        match self.at {
            Some(at) => out.backend.input(at + range.start..at + range.end),
            None => out.backend.bytes(self.bytes.get(range).unwrap_or_default()),
        }
    }
}

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Step {
    /// It was dealt with, or what is there of it.
    Taken,
    /// More of it is needed first.
    Incomplete,
    /// Something else is needed first.
    Stop(Stop),
}

impl<T: Tenancy> Engine<T> {
    /// Takes as many of the client's messages as possible. `now` is in seconds since 1970.
    ///
    /// Input that was not consumed has to be given again, with what follows it. The result does not depend on how
    /// the input is split.
    ///
    /// # Errors
    /// [`SessionError`] when the session cannot go on.
    pub fn client_bytes(&mut self, input: &[u8], now: u64, out: &mut Output) -> Result<Taken, SessionError> {
        let mut at = 0;
        let stop = loop {
            let rest = input.get(at..).unwrap_or_default();
            if self.from_client.remaining > 0 {
                at += self.pass_client(at, rest.len(), out);
                if self.from_client.remaining > 0 {
                    break Stop::Input;
                }
                continue;
            }
            let Some(header) = header(rest)? else { break Stop::Input };
            let tag = FrontendTag::from_byte(header.tag).ok_or(SessionError::UnknownMessage(header.tag))?;
            self.options.limits.check(tag, header.length)?;
            let bytes = rest.get(..header.length).unwrap_or(rest);
            let frame = Frame { tag, at: Some(at), length: header.length, bytes, edits: Edits::default() };
            match self.client_message(&frame, now, out)? {
                Step::Taken => at += bytes.len(),
                Step::Incomplete => {
                    self.options.limits.check_held(bytes.len())?;
                    break Stop::Input;
                }
                Step::Stop(stop) => break stop,
            }
            // Before the next message is looked at: it may have to wait until nothing is owed.
            self.emit_answers(out);
        };
        Ok(Taken { consumed: at, stop })
    }

    fn pass_client(&mut self, at: usize, available: usize, out: &mut Output) -> usize {
        let length = available.min(self.from_client.remaining);
        self.from_client.remaining -= length;
        if self.from_client.delivery == Delivery::Forward {
            out.backend.input(at..at + length);
        }
        length
    }

    fn client_message(
        &mut self,
        frame: &Frame<'_>,
        now: u64,
        out: &mut Output,
    ) -> Result<Step, SessionError> {
        use FrontendTag as F;
        match frame.tag {
            F::Terminate if self.queue.is_empty() || self.copy == CopyIn::Open => {
                return Ok(Step::Stop(Stop::Terminate));
            }
            // What stands in front of it runs to its end.
            F::Terminate => return Ok(Step::Stop(Stop::Farewell)),
            F::CopyData | F::CopyDone | F::CopyFail => return Ok(self.copy_message(frame, out)),
            F::Sync if self.skipping == Skipping::Local => return Ok(self.answer_sync(frame)),
            F::Sync => (),
            _ if self.skipping != Skipping::Nothing => return Ok(self.discard(frame)),
            _ => (),
        }
        // In front of what holds: the data would come behind a message that waits for the end of the COPY.
        if self.copy == CopyIn::Open {
            return self.message_during_copy(frame, out);
        }
        if self.is_held() {
            return Ok(Step::Stop(Stop::Replies));
        }
        if self.lease.is_none() {
            return Ok(match frame.tag {
                F::Flush => self.discard(frame),
                F::Sync => self.answer_sync(frame),
                _ => self.without_backend(frame, out),
            });
        }
        let may_wait = self.tx.batch() == Batch::Fresh && !self.queue.is_empty();
        if may_wait && (self.is_behind_pooler() || self.seal_could_expire()) {
            return Ok(self.wait(out));
        }
        if self.tx.batch() == Batch::Fresh && !self.queue.is_empty() && !self.queue.holds_only_settings() {
            self.tx.doubt();
        }
        match frame.tag {
            F::Query => self.query(frame, now, out),
            F::Parse => self.parse(frame, now, out),
            F::Bind => self.bind(frame, now, out),
            F::Describe => self.describe(frame, now, out),
            F::Execute => self.execute(frame, now, out),
            F::Close => self.close(frame, out),
            F::FunctionCall => self.function_call(frame, now, out),
            F::Sync => Ok(self.sync(frame, out)),
            F::Flush => Ok(self.forward(frame, 0, out)),
            F::CopyData | F::CopyDone | F::CopyFail | F::Terminate => Ok(self.discard(frame)),
        }
    }

    /// The message needs a backend: one has to be leased, unless none can be had.
    fn without_backend(&mut self, frame: &Frame<'_>, out: &mut Output) -> Step {
        let Some(refusal) = self.declined.take() else { return Step::Stop(Stop::Backend) };
        match frame.tag {
            FrontendTag::Query | FrontendTag::FunctionCall => self.refuse_query(&refusal, out),
            _ => self.refuse_batch(&refusal, out),
        }
        self.discard(frame)
    }

    /// Sync or a simple query was sent.
    pub(crate) fn end_of_batch(&mut self) {
        self.tx.batch_sent();
        if std::mem::take(&mut self.barrier) == Barrier::Due {
            self.hold = Hold::Settled;
        }
    }

    fn is_held(&mut self) -> bool {
        let held = match self.hold {
            Hold::Nothing => false,
            Hold::Own => self.queue.front_is_own(),
            Hold::Settled => !self.queue.is_empty(),
        };
        if !held {
            self.hold = Hold::Nothing;
        }
        held
    }

    /// Passes on what is there of the message, without its first `skip` bytes; the rest follows by itself.
    pub(crate) fn forward(&mut self, frame: &Frame<'_>, skip: usize, out: &mut Output) -> Step {
        frame.pass(skip..frame.bytes.len(), out);
        self.flow(frame, Delivery::Forward)
    }

    /// Drops the message.
    pub(crate) fn discard(&mut self, frame: &Frame<'_>) -> Step {
        self.flow(frame, Delivery::Swallow)
    }

    fn flow(&mut self, frame: &Frame<'_>, delivery: Delivery) -> Step {
        self.from_client = Flow { remaining: frame.length - frame.bytes.len(), delivery };
        Step::Taken
    }

    /// COPY data streams through; outside of a COPY it is ignored, as the server does (`postgres.c`).
    fn copy_message(&mut self, frame: &Frame<'_>, out: &mut Output) -> Step {
        if self.lease.is_none() || self.queue.is_empty() || self.skipping != Skipping::Nothing {
            return self.discard(frame);
        }
        if self.hold == Hold::Own && self.queue.front_is_own() {
            return Step::Stop(Stop::Replies);
        }
        match (frame.tag, self.copy) {
            (FrontendTag::CopyData, _) => (),
            (_, CopyIn::Open) => self.copy = CopyIn::Closed,
            (_, CopyIn::Closed) => self.queue.copy_end_sent(),
        }
        self.forward(frame, 0, out)
    }

    /// In copy-in mode the server discards Sync and Flush, and nothing else may come (`copyfromparse.c`).
    fn message_during_copy(&mut self, frame: &Frame<'_>, out: &mut Output) -> Result<Step, SessionError> {
        match frame.tag {
            FrontendTag::Sync | FrontendTag::Flush => Ok(self.forward(frame, 0, out)),
            _ => Err(SessionError::UnknownMessage(frame.bytes.first().copied().unwrap_or_default())),
        }
    }

    /// Answers a Sync of which the backend need not know.
    fn answer_sync(&mut self, frame: &Frame<'_>) -> Step {
        self.skipping = Skipping::Nothing;
        self.queue.answer(Answer::Ready);
        self.tx.batch_sent();
        self.discard(frame)
    }

    fn sync(&mut self, frame: &Frame<'_>, out: &mut Output) -> Step {
        self.skipping = Skipping::Nothing;
        self.queue.push(Expect::Sync, Fate::Client);
        let step = self.forward(frame, 0, out);
        self.end_of_batch();
        if self.scope == SessionScope::Open {
            self.close_session_scope(out);
        }
        step
    }
}
