//! One wake-up of a session: read what is there, let the engine decide, write once per direction.

use crate::clock;
use crate::pool::Link;
use crate::relay::{Event, Relay, Resume, TERMINATE};
use crate::status::{Doing, Edge};
use crate::stream::Stream;
use crate::worker::{Scratch, with_scratch};
use pgwarden_session::{Output, Refusal, Stop};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// While the client has to wait, only so much of its input is read ahead (to notice that it hangs up).
const READ_AHEAD: usize = 64 * 1024;

impl Relay {
    /// Goes on until nothing moves, or something is needed that is not at hand. Cancel safe.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            if let Some(refusal) = self.dismissal(cx) {
                return Poll::Ready(Event::Refused(refusal));
            }
            match self.step(cx) {
                Ok(true) => self.steps = self.steps.wrapping_add(1),
                Ok(false) => return Poll::Pending,
                Err(event) => return Poll::Ready(event),
            }
        }
    }

    /// Why a session of a service has to end now: the service has, and the session is in no transaction.
    fn dismissal(&mut self, cx: &mut Context<'_>) -> Option<Refusal> {
        match self.service.as_mut()?.poll_end(cx) {
            Poll::Ready(refusal) if self.engine.is_idle() => Some(refusal),
            _ => None,
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Result<bool, Event> {
        match std::mem::replace(&mut self.resume, Resume::Nothing) {
            Resume::Nothing => (),
            Resume::Input => self.resume_client(cx)?,
            Resume::Attach(link) => self.resume_with(*link, cx)?,
        }
        let mut moved = self.to_client.resume(&mut self.client, cx).map_err(|_| Event::ClientGone)?;
        if let Some(link) = &mut self.link {
            moved |= self.to_backend.resume(&mut link.stream, cx).map_err(|_| Event::BackendGone)?;
        }
        if self.to_client.is_empty() {
            let replied = self.read_backend(cx)?;
            moved |= replied;
            if replied && self.stop == Stop::Replies && self.to_backend.is_empty() {
                self.resume_client(cx)?;
            }
        }
        self.release()?;
        Ok(moved | self.read_client(cx)?)
    }

    fn read_backend(&mut self, cx: &mut Context<'_>) -> Result<bool, Event> {
        let Some(mut link) = self.link.take() else { return Ok(false) };
        let result = with_scratch(|scratch| self.take_replies(&mut link, scratch, cx));
        self.link = Some(link);
        result
    }

    fn take_replies(
        &mut self,
        link: &mut Link,
        scratch: &mut Scratch,
        cx: &mut Context<'_>,
    ) -> Result<bool, Event> {
        let Scratch { buffer, out, from_server, .. } = scratch;
        let Some(read) = read(&mut link.stream, buffer, cx).map_err(|()| Event::BackendGone)? else {
            return Ok(false);
        };
        let sample = from_server.begin();
        self.app.meters.backend_bytes(read.len());
        let mut kept = std::mem::take(&mut self.from_backend);
        let input: &[u8] = if kept.is_empty() {
            read
        } else {
            kept.extend_from_slice(read);
            &kept
        };
        out.clear();
        let result = self.engine.backend_bytes(input, out);
        if let Some(service) = &mut self.service {
            service.client_reads(&out.client, input);
        }
        let written = self.to_client.write(&mut self.client, cx, &mut out.client, input);
        self.app.meters.errors(&out.errors);
        let consumed = result?;
        written.map_err(|_| Event::ClientGone)?;
        let sent = self.to_backend.write(&mut link.stream, cx, &mut out.backend, input);
        sent.map_err(|_| Event::BackendGone)?;
        sample.end(|duration| self.app.meters.timings.from_server.record(duration));
        self.from_backend = left_over(kept, read, consumed);
        Ok(true)
    }

    /// While a backend is waited for: delivers what is left, and reads ahead to notice that the client hangs up.
    pub(super) fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.to_client.resume(&mut self.client, cx).is_err() {
            return Poll::Ready(Event::ClientGone);
        }
        while self.from_client.len() < READ_AHEAD && !self.to_client.expects_no_reader() {
            let (client, kept) = (&mut self.client, &mut self.from_client);
            let read = with_scratch(|scratch| {
                let read = read(client, &mut scratch.buffer, cx)?;
                Ok(read.map(|bytes| kept.extend_from_slice(bytes)))
            });
            match read {
                Ok(Some(())) => (),
                Ok(None) => return Poll::Pending,
                Err(()) => match self.hung_up() {
                    Ok(()) => return Poll::Pending,
                    Err(gone) => return Poll::Ready(gone),
                },
            }
        }
        Poll::Pending
    }

    /// The client has hung up while its input has to wait. If it has said goodbye, what stands in front of that is to
    /// be run.
    fn hung_up(&mut self) -> Result<(), Event> {
        if !self.from_client.ends_with(TERMINATE) {
            return Err(Event::ClientGone);
        }
        self.to_client.expect_no_reader();
        Ok(())
    }

    fn read_client(&mut self, cx: &mut Context<'_>) -> Result<bool, Event> {
        let waits = self.stop != Stop::Input;
        if self.to_client.expects_no_reader() {
            // Nothing more will come.
            return if waits { Ok(false) } else { Err(Event::ClientGone) };
        }
        if !self.to_backend.is_empty() || (waits && self.from_client.len() >= READ_AHEAD) {
            return Ok(false);
        }
        self.pause()?;
        with_scratch(|scratch| {
            let Scratch { buffer, out, from_client, .. } = scratch;
            let read = match read(&mut self.client, buffer, cx) {
                Ok(Some(read)) => read,
                Ok(None) => return Ok(false),
                Err(()) if waits => return self.hung_up().map(|()| false),
                Err(()) => return Err(Event::ClientGone),
            };
            let sample = from_client.begin();
            self.app.meters.frontend_bytes(read.len());
            self.has_spoken = true;
            let mut kept = std::mem::take(&mut self.from_client);
            out.clear();
            if kept.is_empty() && !waits {
                self.take_input(Vec::new(), read, out, cx)?;
            } else {
                kept.extend_from_slice(read);
                if waits {
                    self.from_client = kept;
                    return Ok(true);
                }
                self.take_input(kept, &[], out, cx)?;
            }
            sample.end(|duration| self.app.meters.timings.from_client.record(duration));
            Ok(true)
        })
    }

    /// A session that keeps its backend begins no transaction while its database is held.
    fn pause(&self) -> Result<(), Event> {
        let begins = self.link.is_some() && self.to_client.is_empty() && self.engine.is_idle();
        match begins && self.app.holds.holds(&self.pool.key.database) {
            true => Err(Event::Held),
            false => Ok(()),
        }
    }

    fn resume_client(&mut self, cx: &mut Context<'_>) -> Result<(), Event> {
        let kept = std::mem::take(&mut self.from_client);
        with_scratch(|scratch| {
            scratch.out.clear();
            self.take_input(kept, &[], &mut scratch.out, cx)
        })
    }

    /// Attaches a backend that had to be waited for, and takes up the input that needed it.
    fn resume_with(&mut self, link: Link, cx: &mut Context<'_>) -> Result<(), Event> {
        let kept = std::mem::take(&mut self.from_client);
        with_scratch(|scratch| {
            scratch.out.clear();
            self.attach(link, &mut scratch.out);
            self.take_input(kept, &[], &mut scratch.out, cx)
        })
    }

    /// Lets the engine take the client's input, kept from before or, if nothing was, just read; a backend is taken on
    /// the way if one is idle on this worker.
    fn take_input(
        &mut self,
        kept: Vec<u8>,
        read: &[u8],
        out: &mut Output,
        cx: &mut Context<'_>,
    ) -> Result<(), Event> {
        let now = clock::now();
        let input = if kept.is_empty() { read } else { &kept };
        let mut rest = input;
        loop {
            let result = self.engine.client_bytes(rest, now, out);
            if let Some(service) = &mut self.service {
                service.client_reads(&out.client, rest);
            }
            let written = self.to_client.write(&mut self.client, cx, &mut out.client, rest);
            self.app.meters.errors(&out.errors);
            let taken = result?;
            if let Some(service) = &mut self.service {
                service.client_sent(rest.get(..taken.consumed).unwrap_or_default());
            }
            written.map_err(|_| Event::ClientGone)?;
            if let Some(link) = &mut self.link {
                let sent = self.to_backend.write(&mut link.stream, cx, &mut out.backend, rest);
                sent.map_err(|_| Event::BackendGone)?;
            }
            rest = rest.get(taken.consumed..).unwrap_or_default();
            out.clear();
            self.stop = taken.stop;
            let is_free = self.stop == Stop::Backend && !self.app.holds.holds(&self.pool.key.database);
            let idle = if is_free { self.pool.take_idle(&self.app) } else { None };
            if let Some(link) = idle {
                self.attach(link, out);
                continue;
            }
            let consumed = input.len() - rest.len();
            self.from_client = left_over(kept, read, consumed);
            self.note_kept(clock::uptime);
            return match std::mem::replace(&mut self.stop, Stop::Input) {
                Stop::Input => Ok(()),
                Stop::Replies => {
                    self.stop = Stop::Replies;
                    Ok(())
                }
                Stop::Backend => Err(Event::Backend),
                Stop::Question(text) => Err(Event::Question(text)),
                Stop::Farewell => {
                    self.stop = Stop::Replies;
                    self.to_client.expect_no_reader();
                    Ok(())
                }
                Stop::Terminate => Err(Event::ClientGone),
            };
        }
    }

    fn attach(&mut self, link: Link, out: &mut Output) {
        let mut link = link;
        if let Some(state) = link.state.take() {
            self.engine.attach(state, out);
        }
        self.app.meters.checkout();
        self.engine.tenancy().runs_on(link.key.pid);
        self.registration.target.hold(&link.target.server, &link.key);
        self.link = Some(link);
    }

    /// Shows what the session does with its backend, and counts a transaction that ended although the backend stays.
    fn note_kept(&mut self, clock: impl Fn() -> u64) {
        let Some(link) = &self.link else { return };
        let between = self.engine.is_idle() && !self.engine.is_releasable();
        let doing = if between { Doing::Idle } else { Doing::Transaction };
        if let (Some(reason), None) = (self.engine.pin(), &self.pinned) {
            self.pinned = self.app.meters.pin(reason);
            self.presence.pinned(Some(reason), &clock);
        }
        if self.presence.keeps(link.key.pid, doing, clock) == Edge::TransactionEnded {
            self.app.meters.transaction();
            self.app.meters.activity(self.engine.take_activity());
        }
    }

    /// Gives the backend back as soon as the engine is done with it.
    fn release(&mut self) -> Result<(), Event> {
        if !self.engine.is_releasable() || !self.to_backend.is_empty() || !self.from_backend.is_empty() {
            self.note_kept(clock::uptime);
            return Ok(());
        }
        if !self.registration.target.try_release() {
            return Err(Event::Releasing);
        }
        self.app.meters.transaction();
        self.app.meters.activity(self.engine.take_activity());
        self.give_back();
        Ok(())
    }

    /// Gives a backend back that nothing has been sent to yet: what has to be found out first may take long, and others
    /// have a use for it.
    pub(super) fn spare_backend(&mut self) {
        let is_unused =
            self.engine.is_releasable() && self.to_backend.is_empty() && self.from_backend.is_empty();
        if self.link.is_some() && is_unused && self.registration.target.try_release() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        let now = clock::uptime();
        self.pinned = None;
        self.presence.pinned(None, || now);
        self.presence.rests(now);
        if let Some(mut link) = self.link.take() {
            link.state = self.engine.detach();
            let pool = Arc::clone(&self.pool);
            pool.give_back(&self.app, link, now);
        }
    }
}

/// What is left of the input; a message that grows is not copied every time that some more of it arrives.
fn left_over(kept: Vec<u8>, read: &[u8], consumed: usize) -> Vec<u8> {
    match consumed {
        0 if !kept.is_empty() => kept,
        _ => {
            let input = if kept.is_empty() { read } else { &kept };
            input.get(consumed..).unwrap_or_default().to_vec()
        }
    }
}

/// Reads what is there; `None` when nothing is, an error when the peer is gone.
fn read<'a>(stream: &mut Stream, buffer: &'a mut [u8], cx: &mut Context<'_>) -> Result<Option<&'a [u8]>, ()> {
    let mut target = ReadBuf::new(buffer);
    match Pin::new(stream).poll_read(cx, &mut target) {
        Poll::Pending => Ok(None),
        Poll::Ready(Ok(())) if !target.filled().is_empty() => {
            let length = target.filled().len();
            Ok(buffer.get(..length))
        }
        Poll::Ready(_) => Err(()),
    }
}
