//! The values bound to a statement, where the tenancy wants to see them.

use crate::client::{Frame, Step};
use crate::engine::{Engine, Stop};
use crate::output::Output;
use crate::refuse::Permit;
use crate::statement::Statement;
use crate::tenancy::{Subject, Tenancy};

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
        let script = statement.script().filter(|script| self.tenancy.reads_values(script))?;
        if !self.tenancy.fails_closed() && frame.length > HELD_TO_OBSERVE {
            return None;
        }
        let Some(payload) = frame.payload() else { return Some(Step::Incomplete) };
        let values = payload.get(names..).unwrap_or_default();
        match self.permit(Subject::Values { text: statement.text(), script, values }, now) {
            Permit::Granted => None,
            Permit::Refused(refusal) => Some(self.refuse_frame(&refusal, frame, out)),
            Permit::Unknown => Some(Step::Stop(Stop::Question(statement.text().to_vec()))),
        }
    }
}
