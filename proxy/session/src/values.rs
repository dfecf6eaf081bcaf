//! The values bound to a statement, where the tenancy wants to see them.

use crate::client::{Frame, Step};
use crate::engine::{Engine, Stop};
use crate::output::Output;
use crate::refuse::Permit;
use crate::statement::Statement;
use crate::tenancy::{Subject, Tenancy};
use pgwarden_sql::{Marks, Script};

/// Longer messages are not held where nothing is refused anyway.
const HELD_TO_OBSERVE: usize = 64 * 1024;

impl<T: Tenancy> Engine<T> {
    /// What becomes of a Bind instead of being sent, because of its values; they begin behind its two names, which are
    /// `names` bytes long.
    pub(crate) fn shut_by_values(
        &mut self,
        statement: &Statement,
        names: usize,
        frame: &Frame<'_>,
        now: u64,
        out: &mut Output,
    ) -> Option<Step> {
        let script = statement.script().filter(|script| calls(script))?;
        let held = if self.tenancy.fails_closed() { usize::MAX } else { HELD_TO_OBSERVE };
        let Some(payload) = frame.payload().filter(|_| frame.length <= held) else {
            // Only what has to be looked at is held.
            let is_read = frame.length <= held && self.tenancy.reads_values(statement.text(), script);
            return is_read.then_some(Step::Incomplete);
        };
        let values = payload.get(names..).unwrap_or_default();
        match self.permit(Subject::Values { text: statement.text(), script, values }, now) {
            Permit::Granted => None,
            Permit::Refused(refusal) => Some(self.refuse_frame(&refusal, frame, out)),
            Permit::Unknown => Some(Step::Stop(Stop::Question(statement.text().to_vec()))),
        }
    }
}

/// Whether a statement calls anything but the best known functions, so that its values can matter.
fn calls(script: &Script) -> bool {
    script.statements().iter().any(|one| one.marks.contains(Marks::CALLS))
}
