//! What a session has to know about the backend it holds, and what stays with the backend in the pool.

use crate::carrier::{SimpleForm, Vehicle};
use crate::names;
use crate::seal::{Process, Seal, Sealing};
use crate::settings::Profile;
use crate::shelf::Shelf;
use crate::statement::Statement;
use std::sync::Arc;

/// What the server can do, found out once when a connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// How the context travels in extended batches.
    pub vehicle: Vehicle,
    /// How it travels with simple queries outside of a block.
    pub form: SimpleForm,
    /// What is at the other end.
    pub route: Route,
}

/// What a connection leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// A server process, the same as long as the connection lasts.
    Direct,
    /// A pooler: another server process in every transaction.
    Pooler,
}

/// Whether the connection may serve another client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It may.
    Sound,
    /// It may not: its state cannot be told.
    Tainted,
}

/// Something the backend was asked to know, and whether it has said so.
#[derive(Debug, Clone)]
struct Asked<T> {
    what: T,
    /// The batch it was sent in; `None` once the server acknowledged it.
    batch: Option<u64>,
}

impl<T> Asked<T> {
    /// Whether a message of `batch` may rely on it.
    fn holds_in(&self, batch: u64) -> bool {
        self.batch.is_none_or(|sent| sent == batch)
    }
}

/// The protocol state of one backend connection.
#[derive(Debug)]
pub struct Backend {
    /// What the server can do.
    pub capabilities: Capabilities,
    /// Whether the connection may serve another client.
    pub health: Health,
    /// The settings it has now.
    pub profile: Arc<Profile>,
    /// The settings it was opened with, to which RESET ALL goes back.
    pub(crate) fresh: Arc<Profile>,
    pub(crate) shelf: Shelf,
    unnamed: Option<Asked<Arc<Statement>>>,
    context: Option<Asked<Vec<u8>>>,
    seed: u64,
    names: u64,
    process: Option<Process>,
    seals: u64,
}

impl Backend {
    /// A fresh connection with the settings the server reported. `seed` is random, for names nobody can guess.
    #[must_use]
    pub fn new(capabilities: Capabilities, profile: Arc<Profile>, seed: u64) -> Self {
        Self {
            capabilities,
            health: Health::Sound,
            fresh: Arc::clone(&profile),
            profile,
            shelf: Shelf::default(),
            unnamed: None,
            context: None,
            seed,
            names: 0,
            process: None,
            seals: 0,
        }
    }

    /// The same, as far as the server process at the other end is known: contexts can be sealed for it.
    #[must_use]
    pub fn of_process(self, process: Option<Process>) -> Self {
        Self { process, ..self }
    }

    /// A seal that this process has not had before; `None` where nothing is known of it.
    pub(crate) fn seal_with(&mut self, sealing: &Sealing) -> Option<Seal> {
        let process = self.process.as_ref()?;
        self.seals += 1;
        Some(sealing.sealer.seal(process, self.seals, &sealing.digest))
    }

    /// A name for a context statement, different each time.
    pub(crate) fn fresh_name(&mut self) -> Vec<u8> {
        self.names += 1;
        names::of_context(self.seed, self.names)
    }

    /// The name of the prepared context statement, if a message of `batch` may rely on it.
    pub(crate) fn context(&self, batch: u64) -> Option<&[u8]> {
        self.context.as_ref().filter(|asked| asked.holds_in(batch)).map(|asked| asked.what.as_slice())
    }

    /// The context statement is prepared in `batch`, under the name returned.
    pub(crate) fn prepare_context(&mut self, batch: u64) -> Vec<u8> {
        let name = self.fresh_name();
        self.context = Some(Asked { what: name.clone(), batch: Some(batch) });
        name
    }

    /// The server acknowledged the context statement.
    pub(crate) fn context_prepared(&mut self) {
        if let Some(asked) = &mut self.context {
            asked.batch = None;
        }
    }

    /// The context statement failed, or its Parse was skipped.
    pub(crate) fn context_lost(&mut self) {
        self.context = None;
    }

    /// Whether the unnamed statement is `statement`, as far as a message of `batch` may rely on it.
    pub(crate) fn has_unnamed(&self, statement: &Arc<Statement>, batch: u64) -> bool {
        self.unnamed
            .as_ref()
            .is_some_and(|asked| asked.holds_in(batch) && Arc::ptr_eq(&asked.what, statement))
    }

    /// The unnamed statement is parsed in `batch`.
    pub(crate) fn unnamed_sent(&mut self, statement: &Arc<Statement>, batch: u64) {
        self.unnamed = Some(Asked { what: Arc::clone(statement), batch: Some(batch) });
    }

    /// The server acknowledged the unnamed statement. Behind a pooler that holds for this batch only.
    pub(crate) fn unnamed_parsed(&mut self) {
        if self.capabilities.route == Route::Pooler {
            return;
        }
        if let Some(asked) = &mut self.unnamed {
            asked.batch = None;
        }
    }

    /// The unnamed statement is gone, or nobody knows what it is.
    pub(crate) fn unnamed_lost(&mut self) {
        self.unnamed = None;
    }

    /// The lease ends: what the server has not acknowledged was known to this session alone.
    pub(crate) fn forget_unacknowledged(&mut self) {
        self.unnamed.take_if(|asked| asked.batch.is_some());
        self.context.take_if(|asked| asked.batch.is_some());
    }

    /// The backend dropped all its statements (DISCARD ALL, DEALLOCATE ALL), pgwarden's own too.
    pub(crate) fn statements_dropped(&mut self) {
        self.shelf.clear();
        self.context = None;
    }
}
