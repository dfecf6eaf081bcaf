//! A session's engine with what it was given and what it gave, for any split of the bytes. The targets play on it, and so
//! do the black-box tests of chunking with what a real server said.

use std::io::IoSlice;
use std::sync::Arc;

use pgwarden_session::{Backend, Engine, Interner, Options, Output, Profile, Segments, SessionError, Stop};

use crate::tenancy::Everything;
pub use crate::tenancy::Values;

/// One client's session, and everything that left it.
#[derive(Debug)]
pub struct Play {
    /// The engine; it may hold a backend.
    pub engine: Engine<Everything>,
    /// What the client sent and the engine did not take yet.
    waiting: Vec<u8>,
    /// The same of the server.
    incomplete: Vec<u8>,
    /// What the engine waits for.
    pub stop: Stop,
    /// What has left for the server.
    pub to_server: Vec<u8>,
    /// What has left for the client.
    pub to_client: Vec<u8>,
}

impl Play {
    /// A session that has logged in with the first of two contexts, and may show evidence of both; it starts from
    /// `profile`.
    #[must_use]
    pub fn begin(
        options: Options,
        contexts: &[Values; 2],
        interner: Arc<Interner>,
        profile: Arc<Profile>,
    ) -> Play {
        let engine = Engine::new(Everything::new(contexts), options, interner, profile);
        let (waiting, incomplete, to_server, to_client) = Default::default();
        Play { engine, waiting, incomplete, stop: Stop::Input, to_server, to_client }
    }

    /// Bytes of the client; a backend is taken on the way if it is idle.
    ///
    /// # Errors
    /// What ends the session.
    pub fn client_sends(
        &mut self,
        bytes: &[u8],
        idle: &mut Option<Box<Backend>>,
    ) -> Result<(), SessionError> {
        self.waiting.extend_from_slice(bytes);
        if self.stop == Stop::Input { self.take(idle) } else { Ok(()) }
    }

    /// Bytes of the server; a backend is taken on the way if it is idle.
    ///
    /// # Errors
    /// What ends the session.
    pub fn server_sends(
        &mut self,
        bytes: &[u8],
        idle: &mut Option<Box<Backend>>,
    ) -> Result<(), SessionError> {
        self.incomplete.extend_from_slice(bytes);
        let (input, mut out) = (std::mem::take(&mut self.incomplete), Output::default());
        let consumed = self.engine.backend_bytes(&input, &mut out);
        self.keep(&out, &input);
        self.incomplete = input[consumed?..].to_vec();
        if self.stop == Stop::Replies { self.take(idle) } else { Ok(()) }
    }

    /// Lets the engine take what it can of the client's input; a backend is taken on the way if it is idle.
    ///
    /// # Errors
    /// What ends the session.
    pub fn take(&mut self, idle: &mut Option<Box<Backend>>) -> Result<(), SessionError> {
        let input = std::mem::take(&mut self.waiting);
        let mut rest = input.as_slice();
        let mut out = Output::default();
        loop {
            let taken = self.engine.client_bytes(rest, 0, &mut out);
            self.keep(&out, rest);
            out.clear();
            let taken = taken?;
            rest = &rest[taken.consumed..];
            self.stop = taken.stop;
            match (&self.stop, idle.take()) {
                (Stop::Backend, Some(backend)) => self.engine.attach(backend, &mut out),
                (Stop::Question(text), backend) => {
                    *idle = backend;
                    self.engine.tenancy().look(text);
                }
                (_, backend) => {
                    *idle = backend;
                    break;
                }
            }
        }
        self.waiting = rest.to_vec();
        Ok(())
    }

    /// Whether the backend can go back: the engine is done with it, and nothing of the server is half through.
    #[must_use]
    pub fn is_releasable(&self) -> bool {
        self.engine.is_releasable() && self.incomplete.is_empty()
    }

    fn keep(&mut self, out: &Output, input: &[u8]) {
        append(&mut self.to_server, &out.backend, input);
        append(&mut self.to_client, &out.client, input);
    }
}

fn append(to: &mut Vec<u8>, segments: &Segments, input: &[u8]) {
    let mut slices: Vec<IoSlice<'_>> = Vec::new();
    segments.slices(input, &mut slices);
    slices.iter().for_each(|slice| to.extend_from_slice(slice));
}

/// Where bytes are split: whole, every byte alone, or in pieces of a few bytes.
pub(crate) fn pieces(bytes: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(size.max(1))
}
