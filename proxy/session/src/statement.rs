//! Prepared statements: what the client named, and where a backend knows them.

use crate::reading::{Reading, Unread};
use pgwarden_sql::{Script, Verb};
use std::any::Any;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// What makes two prepared statements the same on a backend.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    text: Box<[u8]>,
    types: Box<[u8]>,
    search_path: Option<Box<str>>,
    /// The role that it is parsed as: it decides what names mean (`"$user"`), and what may be named.
    role: Option<Box<str>>,
}

/// What the words of a statement depend on besides its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Surroundings<'a> {
    /// Where names are looked up.
    pub(crate) search_path: Option<&'a str>,
    /// Who looks them up, where pgwarden sets the role.
    pub(crate) role: Option<&'a str>,
}

/// A prepared statement as the client defined it, shared by all clients that define the same.
#[derive(Debug)]
pub struct Statement {
    key: Key,
    hash: u64,
    script: Result<Script, Unread>,
    generation: AtomicU64,
    /// Rises when the definition of anything in a database has changed.
    definitions: Arc<AtomicU64>,
    memo: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl PartialEq for Statement {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.key == other.key
    }
}

impl Eq for Statement {}

impl Hash for Statement {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Statement {
    /// A statement that is not shared.
    pub(crate) fn new(text: &[u8], types: &[u8], around: Surroundings<'_>, reading: Reading) -> Self {
        let (search_path, role) = (around.search_path.map(Into::into), around.role.map(Into::into));
        let key = Key { text: text.into(), types: types.into(), search_path, role };
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self {
            key,
            hash: hasher.finish(),
            script: reading.read(text),
            generation: AtomicU64::new(0),
            definitions: Arc::default(),
            memo: OnceLock::new(),
        }
    }

    /// The SQL text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.key.text
    }

    /// The number of parameter types and their OIDs, as they travel in Parse.
    #[must_use]
    pub fn types(&self) -> &[u8] {
        &self.key.types
    }

    /// What the text depends on besides itself.
    pub(crate) fn surroundings(&self) -> Surroundings<'_> {
        Surroundings { search_path: self.key.search_path.as_deref(), role: self.key.role.as_deref() }
    }

    /// What the text says, or why that cannot be told.
    pub(crate) fn read(&self) -> Result<&Script, Unread> {
        self.script.as_ref().map_err(|unread| *unread)
    }

    /// What the text says, where that can be told.
    #[must_use]
    pub fn script(&self) -> Option<&Script> {
        self.script.as_ref().ok()
    }

    /// Whether it shows a token, and does nothing else.
    pub(crate) fn is_token(&self) -> bool {
        self.script().and_then(Script::single).is_some_and(|one| one.verb == Verb::Token)
    }

    /// Whether it shows a token beside other statements: no text that can be prepared.
    pub(crate) fn is_token_among_others(&self) -> bool {
        let statements = self.script().map(Script::statements).unwrap_or_default();
        statements.len() > 1 && statements.iter().any(|one| one.verb == Verb::Token)
    }

    /// What an overseer makes of the text, once for all who run the statement.
    pub fn memo(&self, make: impl FnOnce() -> Arc<dyn Any + Send + Sync>) -> &Arc<dyn Any + Send + Sync> {
        self.memo.get_or_init(make)
    }

    /// What an overseer has made of it.
    #[must_use]
    pub fn known(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.memo.get()
    }

    /// Rises when every backend has to parse the statement anew.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed) + self.definitions.load(Ordering::Relaxed)
    }

    /// Retires what every backend knows of the statement (after 0A000, `plancache.c`).
    pub fn retire(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }
}

/// For maps by statement, which has its hash with it.
pub(crate) type ByOwnHash = BuildHasherDefault<OwnHash>;

/// Takes the hash that a statement brings as it is.
#[derive(Debug, Default)]
pub(crate) struct OwnHash(u64);

impl Hasher for OwnHash {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// All statements in use, so that clients that prepare the same text share one.
///
/// The lock is taken when a *named* statement is prepared, never when one is run.
#[derive(Debug, Default)]
pub struct Interner {
    definitions: Arc<AtomicU64>,
    known: Mutex<HashMap<u64, Vec<Weak<Statement>>>>,
}

impl Interner {
    /// A definition has changed: every backend has to parse every statement anew, because a statement that is new to its
    /// client must not return what the table was when another client prepared it.
    pub fn definitions_changed(&self) {
        self.definitions.fetch_add(1, Ordering::Relaxed);
    }

    /// The shared statement equal to `fresh`, which becomes it when there is none.
    #[must_use]
    pub fn share(&self, fresh: Statement) -> Arc<Statement> {
        let fresh = Statement { definitions: Arc::clone(&self.definitions), ..fresh };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > 10_000 {
            known.retain(|_, alike| alike.iter().any(|weak| weak.strong_count() > 0));
        }
        let alike = known.entry(fresh.hash).or_default();
        alike.retain(|weak| weak.strong_count() > 0);
        if let Some(found) = alike.iter().filter_map(Weak::upgrade).find(|found| **found == fresh) {
            return found;
        }
        let shared = Arc::new(fresh);
        alike.push(Arc::downgrade(&shared));
        shared
    }
}
