//! What becomes of findings whose transaction may still be rolled back.

use crate::Reporter;
use crate::finding::{Finding, Outcome};
use pgwarden_sql::Verb;
use pgwarden_wire::Status;

/// Findings that wait for the end of their transaction, at most.
const MOST_WAITING: usize = 1_000;

/// The transaction of one session, as its replies tell it.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    waiting: Vec<Finding>,
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Sound,
    Failed,
}

impl Transaction {
    /// A finding that counts as what its transaction comes to.
    pub(super) fn await_end(&mut self, finding: Finding, reporter: &dyn Reporter) {
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push(finding);
        } else {
            reporter.found(Finding { outcome: Outcome::Unknown, ..finding });
        }
    }

    /// A command was completed.
    pub(super) fn completed(&mut self, verb: Verb, tag: &[u8], reporter: &dyn Reporter) {
        match verb {
            // The end of a failed transaction says ROLLBACK.
            Verb::Commit { .. } if tag == b"ROLLBACK" => self.end(Outcome::RolledBack, reporter),
            Verb::Commit { .. } => self.end(Outcome::Committed, reporter),
            Verb::Rollback { .. } => self.end(Outcome::RolledBack, reporter),
            Verb::PrepareTransaction => self.end(Outcome::Unknown, reporter),
            // Some of it is rolled back, and which that is would be a second opinion about savepoints.
            Verb::RollbackTo => {
                self.state = State::Sound;
                self.waiting.iter_mut().for_each(|finding| finding.outcome = Outcome::Unknown);
            }
            _ => (),
        }
    }

    /// A command has failed, and with it what it did.
    pub(super) fn failed(&mut self) {
        self.state = State::Failed;
    }

    /// The server is ready for another query.
    pub(super) fn ready(&mut self, status: Status, reporter: &dyn Reporter) {
        if status == Status::Idle {
            let outcome = if self.state == State::Failed { Outcome::RolledBack } else { Outcome::Committed };
            self.end(outcome, reporter);
        }
    }

    /// The connection is gone: what became of it nobody knows.
    pub(super) fn lost(&mut self, reporter: &dyn Reporter) {
        self.end(Outcome::Unknown, reporter);
    }

    fn end(&mut self, outcome: Outcome, reporter: &dyn Reporter) {
        self.state = State::Sound;
        for finding in self.waiting.drain(..) {
            let outcome = match (finding.outcome, outcome) {
                (Outcome::Unknown, Outcome::Committed) => Outcome::Unknown,
                _ => outcome,
            };
            reporter.found(Finding { outcome, ..finding });
        }
    }
}
