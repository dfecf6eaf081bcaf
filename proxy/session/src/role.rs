//! The role that transactions run as, where the context sets one: names and rights are looked up when a statement is
//! parsed, so that what was parsed as one role is never run as another.

use crate::client::{Frame, Step};
use crate::engine::{Engine, Pooling};
use crate::extended::{Gate, Purposes};
use crate::output::Output;
use crate::statement::{Statement, Surroundings};
use crate::tenancy::Tenancy;
use std::sync::Arc;

impl<T: Tenancy> Engine<T> {
    /// The statement as the role of now would define it: the same one, unless the role has changed since.
    pub(crate) fn as_role(&self, name: &[u8], statement: Arc<Statement>) -> Arc<Statement> {
        let (around, role) = (statement.surroundings(), self.tenancy.role());
        if around.role == role || self.options.pooling == Pooling::Session {
            return statement;
        }
        let around = Surroundings { role, ..around };
        let fresh = Statement::new(statement.text(), statement.types(), around, self.reading());
        if self.shares(name) { self.interner.share(fresh) } else { Arc::new(fresh) }
    }

    /// What a client's name stands for, as the role of now.
    pub(crate) fn statement_as_role(&mut self, name: &[u8]) -> Option<Arc<Statement>> {
        let known = Arc::clone(self.statements.find(name)?);
        let statement = self.as_role(name, Arc::clone(&known));
        if !Arc::ptr_eq(&known, &statement) {
            self.statements.redefine(name, &statement);
        }
        Some(statement)
    }

    /// A statement that is described may have to be parsed first, and that as the role; the step instead of it, where
    /// there is one.
    pub(crate) fn describe_as_role(
        &mut self,
        name: &[u8],
        frame: &Frame<'_>,
        now: u64,
        out: &mut Output,
    ) -> Option<Step> {
        self.tenancy.role()?;
        let statement = self.statements.find(name).cloned()?;
        if let Some(step) = self.show_comment(name, frame, now, out) {
            return Some(step);
        }
        match self.gate(&statement, Purposes::Prepare, frame, now, out) {
            Gate::Open(_released) => None,
            Gate::Shut(step) => Some(step),
        }
    }
}
