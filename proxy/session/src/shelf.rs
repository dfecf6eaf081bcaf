//! Where a backend knows the prepared statements that clients share.

use crate::description::Shape;
use crate::statement::{ByOwnHash, Statement};
use std::collections::HashMap;
use std::sync::Arc;

/// What one backend has been asked to prepare.
#[derive(Debug, Clone, Copy)]
struct Prepared {
    number: u64,
    generation: u64,
    proof: Proof,
    shape: Option<Shape>,
    /// When it was used last, in uses of the shelf.
    used: u64,
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
pub(crate) struct Shelf {
    prepared: HashMap<Arc<Statement>, Prepared, ByOwnHash>,
    last: u64,
    uses: u64,
}

/// A statement that had to make room.
#[derive(Debug)]
pub(crate) struct Evicted {
    statement: Arc<Statement>,
    prepared: Prepared,
}

impl Evicted {
    /// Its number on the backend.
    pub(crate) fn number(&self) -> u64 {
        self.prepared.number
    }
}

impl Shelf {
    /// The number under which the backend knows `statement`, as far as a message of `batch` may rely on it.
    pub(crate) fn find(&mut self, statement: &Arc<Statement>, batch: u64) -> Option<u64> {
        self.uses += 1;
        let known = self.prepared.get_mut(statement)?;
        known.used = self.uses;
        let reliable = matches!(known.proof, Proof::Acknowledged) || known.proof == Proof::SentIn(batch);
        (reliable && known.generation == statement.generation()).then_some(known.number)
    }

    /// Takes out what `statement` replaces when it is prepared: itself as it was, or else, if there are `most` already,
    /// the one that was used longest ago.
    pub(crate) fn make_room(&mut self, statement: &Arc<Statement>, most: usize) -> Option<Evicted> {
        if let Some((statement, prepared)) = self.prepared.remove_entry(statement) {
            return Some(Evicted { statement, prepared });
        }
        if self.prepared.len() < most {
            return None;
        }
        let (oldest, _) = self.prepared.iter().min_by_key(|(_, known)| known.used)?;
        let oldest = Arc::clone(oldest);
        let (statement, prepared) = self.prepared.remove_entry(&oldest)?;
        Some(Evicted { statement, prepared })
    }

    /// The statement is still there: its Close was skipped.
    pub(crate) fn put_back(&mut self, evicted: &Evicted) {
        self.prepared.entry(Arc::clone(&evicted.statement)).or_insert(evicted.prepared);
    }

    /// Whether the server itself has acknowledged it.
    pub(crate) fn is_acknowledged(&self, statement: &Arc<Statement>) -> bool {
        self.prepared.get(statement).is_some_and(|known| {
            known.proof == Proof::Acknowledged && known.generation == statement.generation()
        })
    }

    /// A new number for `statement`, whose Parse is sent in `batch`. Numbers are never used twice on a backend.
    pub(crate) fn prepare(&mut self, statement: &Arc<Statement>, batch: u64) -> u64 {
        self.last += 1;
        self.uses += 1;
        let prepared = Prepared {
            number: self.last,
            generation: statement.generation(),
            proof: Proof::SentIn(batch),
            shape: None,
            used: self.uses,
        };
        self.prepared.insert(Arc::clone(statement), prepared);
        self.last
    }

    /// ParseComplete was read for `number`.
    pub(crate) fn acknowledge(&mut self, statement: &Arc<Statement>, number: u64) {
        if let Some(known) = self.prepared.get_mut(statement).filter(|known| known.number == number) {
            known.proof = Proof::Acknowledged;
        }
    }

    /// The Parse of `number` failed or was skipped.
    pub(crate) fn forget(&mut self, statement: &Arc<Statement>, number: u64) {
        if self.prepared.get(statement).is_some_and(|known| known.number == number) {
            self.prepared.remove(statement);
        }
    }

    /// The statement is deallocated on the backend.
    pub(crate) fn forget_any(&mut self, statement: &Arc<Statement>) {
        self.prepared.remove(statement);
    }

    /// What the backend makes of the statement, once it was described there.
    pub(crate) fn shape(&self, statement: &Arc<Statement>) -> Option<Shape> {
        self.prepared.get(statement)?.shape
    }

    /// The statement was described.
    pub(crate) fn described(&mut self, statement: &Arc<Statement>, shape: Shape) {
        if let Some(known) = self.prepared.get_mut(statement) {
            known.shape = Some(shape);
        }
    }

    /// The backend dropped all statements (DISCARD ALL, DEALLOCATE ALL).
    pub(crate) fn clear(&mut self) {
        self.prepared.clear();
    }
}
