//! The prepared statements of one client, by the client's own names.

use crate::description::Shape;
use crate::oversight::Told;
use crate::queue::Naming;
use crate::statement::Statement;
use crate::token::Taken;
use std::collections::HashMap;
use std::sync::Arc;

/// A statement under one of the client's names.
#[derive(Debug)]
struct Known {
    statement: Arc<Statement>,
    /// What was taken out of the client's text.
    taken: Taken,
    /// What the client was told it returns.
    told: Option<Shape>,
    /// The same, as an overseer remembers it.
    columns: Option<Arc<Told>>,
    /// The batch that defined it; an error in it would have skipped the definition.
    since: u64,
}

/// The statements of one client. The unnamed one has the empty name, and a place of its own: most drivers know no other.
#[derive(Debug, Default)]
pub(crate) struct Named {
    named: HashMap<Box<[u8]>, Known>,
    unnamed: Option<Known>,
    /// The unnamed statement that the server has acknowledged: it is still there when what replaces it is skipped.
    acknowledged: Option<(Arc<Statement>, Taken)>,
    /// Where in the reply queue the unnamed statement was changed last.
    changed: usize,
    /// The batch that closed a statement last.
    removed: Option<u64>,
    /// Every batch before this one is settled.
    settled: u64,
}

impl Named {
    fn known(&self, name: &[u8]) -> Option<&Known> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(name) }
    }

    /// The statement of that name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        self.known(name).map(|known| &known.statement)
    }

    /// Whether `batch` can rely on what is known of the name: nothing outstanding could have skipped its
    /// definition, or its removal.
    pub(crate) fn is_certain(&self, name: &[u8], batch: u64) -> bool {
        let changed = self.known(name).map_or(self.removed, |known| Some(known.since));
        changed.is_none_or(|changed| changed == batch || changed < self.settled)
    }

    /// Nothing is outstanding; `batch` is the next.
    pub(crate) fn settle(&mut self, batch: u64) {
        self.settled = batch;
    }

    /// Whether `name` would be one name too many.
    pub(crate) fn is_full(&self, name: &[u8], most: usize) -> bool {
        !name.is_empty() && self.named.len() >= most && !self.named.contains_key(name)
    }

    /// What was taken out of the client's text of the statement of that name.
    pub(crate) fn taken(&self, name: &[u8]) -> &Taken {
        self.known(name).map_or(&Taken::NOTHING, |known| &known.taken)
    }

    /// Names a statement.
    pub(crate) fn insert(&mut self, name: &[u8], (statement, taken): (Arc<Statement>, Taken), batch: u64) {
        let before = self.known(name).filter(|known| Arc::ptr_eq(&known.statement, &statement));
        let columns = before.and_then(|known| known.columns.clone());
        let known = Known { statement, taken, told: None, columns, since: batch };
        if name.is_empty() {
            self.unnamed = Some(known);
        } else {
            self.named.insert(name.into(), known);
        }
    }

    /// A name stands for the same text, parsed as another role from now on.
    pub(crate) fn redefine(&mut self, name: &[u8], statement: &Arc<Statement>) {
        let known = if name.is_empty() { self.unnamed.as_mut() } else { self.named.get_mut(name) };
        if let Some(known) = known {
            known.statement = Arc::clone(statement);
        }
    }

    /// Where an overseer's view of the statement's columns is kept.
    pub(crate) fn told_columns(&mut self, name: &[u8]) -> Option<Arc<Told>> {
        let known = if name.is_empty() { self.unnamed.as_mut() } else { self.named.get_mut(name) };
        Some(Arc::clone(known?.columns.get_or_insert_default()))
    }

    /// What the client was told a statement returns.
    pub(crate) fn shape(&self, name: &[u8]) -> Option<Shape> {
        self.known(name)?.told
    }

    /// The client is told what a statement returns, which may have lost its name since.
    pub(crate) fn described(&mut self, name: &[u8], statement: &Arc<Statement>, shape: Shape) {
        let known = if name.is_empty() { self.unnamed.as_mut() } else { self.named.get_mut(name) };
        if let Some(known) = known.filter(|known| Arc::ptr_eq(&known.statement, statement)) {
            known.told = Some(shape);
        }
    }

    /// The server has acknowledged a statement.
    pub(crate) fn acknowledged(&mut self, naming: &Naming) {
        if naming.name.is_empty() {
            self.acknowledged = Some((Arc::clone(&naming.statement), naming.taken.clone()));
        }
    }

    /// The unnamed statement was defined, closed or dropped by what is at `place` in the reply queue.
    pub(crate) fn unnamed_changed(&mut self, place: usize) {
        self.changed = place;
    }

    /// A batch failed, and was skipped up to `place` in the reply queue: unless something behind has changed it, the
    /// unnamed statement is what the server has acknowledged.
    pub(crate) fn recall_unnamed(&mut self, place: usize) {
        if self.changed > place {
            return;
        }
        let since = self.settled.saturating_sub(1);
        self.unnamed = self.acknowledged.clone().map(|(statement, taken)| Known {
            statement,
            taken,
            told: None,
            columns: None,
            since,
        });
    }

    /// Forgets a name.
    pub(crate) fn remove(&mut self, name: &[u8], batch: u64) -> Option<Arc<Statement>> {
        self.removed = Some(batch);
        let known = if name.is_empty() { self.unnamed.take() } else { self.named.remove(name) };
        known.map(|known| known.statement)
    }

    /// The server has dropped the unnamed statement.
    pub(crate) fn forget_unnamed(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.acknowledged = None;
        }
    }

    /// Forgets a name if it still stands for `statement`.
    pub(crate) fn remove_exactly(&mut self, name: &[u8], statement: &Arc<Statement>) {
        if self.find(name).is_some_and(|found| Arc::ptr_eq(found, statement)) {
            if name.is_empty() {
                self.unnamed = None;
            } else {
                self.named.remove(name);
            }
        }
    }

    /// Forgets everything but the unnamed statement, which DISCARD ALL and DEALLOCATE ALL do not touch
    /// (`DropAllPreparedStatements`).
    pub(crate) fn clear(&mut self) {
        self.named.clear();
    }
}
