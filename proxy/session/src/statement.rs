//! Prepared statements: what the client named, and where a backend knows them.

use pgwarden_sql::{Script, StringSyntax, analyse};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What makes two prepared statements the same on a backend.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    text: Box<[u8]>,
    types: Box<[u8]>,
    search_path: Option<Box<str>>,
}

/// A prepared statement as the client defined it, shared by all clients that define the same.
#[derive(Debug)]
pub struct Statement {
    key: Key,
    /// `None` for a text that PostgreSQL's lexical rules do not accept.
    script: Option<Script>,
    generation: AtomicU64,
}

impl Statement {
    /// A statement that is not shared.
    #[must_use]
    pub fn new(text: &[u8], types: &[u8], search_path: Option<&str>, strings: StringSyntax) -> Self {
        let key = Key { text: text.into(), types: types.into(), search_path: search_path.map(Into::into) };
        Self { key, script: analyse(text, strings).ok(), generation: AtomicU64::new(0) }
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

    /// What the text says; `None` where it cannot be tokenised.
    #[must_use]
    pub fn script(&self) -> Option<&Script> {
        self.script.as_ref()
    }

    /// Rises when every backend has to parse the statement anew.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Retires what every backend knows of the statement (after 0A000, `plancache.c`).
    pub fn retire(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }
}

/// A statement as the key of a set: equal when text, types and search path are.
#[derive(Debug, Clone)]
struct ByKey(Arc<Statement>);

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.key == other.0.key
    }
}

impl Eq for ByKey {}

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

/// All statements in use, so that clients that prepare the same text share one.
///
/// The lock is taken when a *named* statement is prepared, never when one is run.
#[derive(Debug, Default)]
pub struct Interner {
    known: Mutex<HashMap<u64, Vec<Weak<Statement>>>>,
}

impl Interner {
    /// The shared statement equal to `fresh`, which becomes it when there is none.
    #[must_use]
    pub fn share(&self, fresh: Statement) -> Arc<Statement> {
        let mut hasher = std::hash::DefaultHasher::new();
        fresh.key.hash(&mut hasher);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > 10_000 {
            known.retain(|_, alike| alike.iter().any(|weak| weak.strong_count() > 0));
        }
        let alike = known.entry(hasher.finish()).or_default();
        alike.retain(|weak| weak.strong_count() > 0);
        if let Some(found) = alike.iter().filter_map(Weak::upgrade).find(|found| found.key == fresh.key) {
            return found;
        }
        let shared = Arc::new(fresh);
        alike.push(Arc::downgrade(&shared));
        shared
    }
}

/// What one backend has been asked to prepare.
#[derive(Debug, Clone, Copy)]
struct Prepared {
    number: u64,
    generation: u64,
    proof: Proof,
}

/// Whether the server has said that it knows the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// ParseComplete was read.
    Acknowledged,
    /// Parse was sent in this batch; an error before it would skip it together with all that needs it.
    SentIn(u64),
}

/// The named statements of one backend, under names of pgwarden's own.
#[derive(Debug, Default)]
pub struct Shelf {
    prepared: HashMap<ByKey, Prepared>,
    last: u64,
}

impl Shelf {
    /// The number under which the backend knows `statement`, as far as a message of `batch` may rely on it.
    #[must_use]
    pub fn find(&self, statement: &Arc<Statement>, batch: u64) -> Option<u64> {
        self.prepared
            .get(&ByKey(Arc::clone(statement)))
            .filter(|known| known.generation == statement.generation())
            .filter(|known| matches!(known.proof, Proof::Acknowledged) || known.proof == Proof::SentIn(batch))
            .map(|known| known.number)
    }

    /// Whether the server itself has acknowledged it.
    #[must_use]
    pub fn is_acknowledged(&self, statement: &Arc<Statement>) -> bool {
        self.prepared.get(&ByKey(Arc::clone(statement))).is_some_and(|known| {
            known.proof == Proof::Acknowledged && known.generation == statement.generation()
        })
    }

    /// A new number for `statement`, whose Parse is sent in `batch`. Numbers are never used twice on a backend.
    pub fn prepare(&mut self, statement: &Arc<Statement>, batch: u64) -> u64 {
        self.last += 1;
        let prepared =
            Prepared { number: self.last, generation: statement.generation(), proof: Proof::SentIn(batch) };
        self.prepared.insert(ByKey(Arc::clone(statement)), prepared);
        self.last
    }

    /// ParseComplete was read for `number`.
    pub fn acknowledge(&mut self, statement: &Arc<Statement>, number: u64) {
        if let Some(known) = self.prepared.get_mut(&ByKey(Arc::clone(statement))) {
            if known.number == number {
                known.proof = Proof::Acknowledged;
            }
        }
    }

    /// The Parse of `number` failed or was skipped.
    pub fn forget(&mut self, statement: &Arc<Statement>, number: u64) {
        let key = ByKey(Arc::clone(statement));
        if self.prepared.get(&key).is_some_and(|known| known.number == number) {
            self.prepared.remove(&key);
        }
    }

    /// The statement is deallocated on the backend.
    pub fn forget_any(&mut self, statement: &Arc<Statement>) {
        self.prepared.remove(&ByKey(Arc::clone(statement)));
    }

    /// The backend dropped all statements (DISCARD ALL, DEALLOCATE ALL).
    pub fn clear(&mut self) {
        self.prepared.clear();
    }
}

/// The statements of one client, by the client's own names.
#[derive(Debug, Default)]
pub struct Named {
    statements: HashMap<Box<[u8]>, Arc<Statement>>,
    /// The unnamed statement.
    pub unnamed: Option<Arc<Statement>>,
}

impl Named {
    /// The statement of that name; the unnamed one for the empty name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.statements.get(name) }
    }

    /// Names a statement.
    pub fn insert(&mut self, name: &[u8], statement: Arc<Statement>) {
        if name.is_empty() {
            self.unnamed = Some(statement);
        } else {
            self.statements.insert(name.into(), statement);
        }
    }

    /// Forgets a name.
    pub fn remove(&mut self, name: &[u8]) -> Option<Arc<Statement>> {
        if name.is_empty() { self.unnamed.take() } else { self.statements.remove(name) }
    }

    /// Forgets a name if it still stands for `statement`.
    pub fn remove_exactly(&mut self, name: &[u8], statement: &Arc<Statement>) {
        if self.find(name).is_some_and(|found| Arc::ptr_eq(found, statement)) {
            self.remove(name);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.statements.clear();
        self.unnamed = None;
    }
}
