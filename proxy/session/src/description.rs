//! What a client was told about a statement's columns, against what a backend makes of it now.
//!
//! A client that prepared a statement once may run it on any backend, and after DDL a backend that parses it afresh
//! would silently return other columns than the client was told. PostgreSQL says 0A000 then, and drivers prepare
//! again; so a backend that parses for a client that was told describes too, once, and the two are compared.

use crate::client::{Frame, Step};
use crate::engine::{Engine, Hold, Stop};
use crate::names;
use crate::output::Output;
use crate::queue::{Expect, Fate, Purpose};
use crate::refusal::Refusal;
use crate::statement::Statement;
use crate::tenancy::Tenancy;
use crate::transaction::Batch;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

/// The fingerprint of the messages that describe a statement: ParameterDescription, and RowDescription or NoData.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape(u64);

/// Collects the messages of one description.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outline {
    hasher: DefaultHasher,
}

impl Outline {
    /// Adds a message.
    pub(crate) fn add(&mut self, tag: u8, payload: &[u8]) {
        self.hasher.write_u8(tag);
        self.hasher.write(payload);
    }

    /// The fingerprint of what was added; empties it.
    pub(crate) fn finish(&mut self) -> Shape {
        Shape(std::mem::take(&mut self.hasher).finish())
    }
}

impl<T: Tenancy> Engine<T> {
    /// Sees to it that the backend makes the same of a shared statement as what the client was told.
    ///
    /// `None` where it does; otherwise what becomes of the client's message: it waits, or is refused.
    pub(crate) fn check_shape(
        &mut self,
        name: &[u8],
        statement: &Arc<Statement>,
        frame: &Frame<'_>,
        out: &mut Output,
    ) -> Option<Step> {
        let told = self.statements.shape(name)?;
        let number = match self.lease.as_mut()?.shelf.find(statement, self.tx.number()) {
            Some(number) => number,
            None => self.prepare_shared(statement, out)?,
        };
        match self.lease.as_ref()?.shelf.shape(statement) {
            Some(found) if found == told => None,
            Some(_) => {
                self.refuse_batch(&changed(), out);
                Some(self.discard(frame))
            }
            None => {
                out.backend.write(|w| {
                    w.describe(b'S', &names::of_statement(number)).flush();
                });
                self.tx.sent(Batch::Prepared);
                self.queue
                    .push(Expect::DescribeStatement, Fate::Own(Purpose::Describe(Arc::clone(statement))));
                self.hold = Hold::Settled;
                Some(Step::Stop(Stop::Replies))
            }
        }
    }
}

/// As `RevalidateCachedQuery` of `plancache.c` says it.
fn changed() -> Refusal {
    let mut refusal = Refusal::new("0A000", "cached plan must not change result type", "", "");
    refusal.routine = Some("RevalidateCachedQuery");
    refusal
}
