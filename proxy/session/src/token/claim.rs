//! What a client says of whom it acts for: `SET LOCAL app.current_org_id = …` and `set_config`, in a statement of its own.

use super::edit::{Edit, Edits, Searched, Showing};
use super::prepared::term;
use crate::client::{Frame, Step};
use crate::engine::Engine;
use crate::output::Output;
use crate::refusal::SessionError;
use crate::statement::Statement;
use crate::tenancy::{Claim, Tenancy, Term};
use pgwarden_sql::{Assignment, Given, Lasting, Script, Verb, assignments};
use pgwarden_wire::{BindHead, BindValues, Malformed};

impl<T: Tenancy> Engine<T> {
    /// Tells the tenancy what a simple query says of the client; the step instead of it, where there is one.
    pub(crate) fn claim_by_query(
        &mut self,
        frame: &Frame<'_>,
        (text, script): (&[u8], &Script),
        now: u64,
        out: &mut Output,
    ) -> Option<Step> {
        let claims = self.assigned(text, script)?;
        let claims: Option<Vec<Claim>> = claims.iter().map(|one| spoken(one, &[])).collect();
        let permit = self.claim(&claims?, now);
        self.unless_granted(permit, frame, out)
    }

    /// Whether running the statement will say something of the client.
    pub(crate) fn claims_something(&self, statement: &Statement) -> bool {
        let script = statement.script();
        script.is_some_and(|script| self.assigned(statement.text(), script).is_some())
    }

    /// Binds a statement that will say something of the client.
    pub(crate) fn bind_claim(
        &mut self,
        (frame, head): (&Frame<'_>, &BindHead<'_>),
        statement: &Statement,
        now: u64,
        out: &mut Output,
    ) -> Result<Step, SessionError> {
        let Some(payload) = frame.payload() else { return Ok(Step::Incomplete) };
        let bound = BindValues::read(payload.get(head.length..).ok_or(Malformed)?)?;
        let claims = statement.script().and_then(|script| self.assigned(statement.text(), script));
        let claims: Option<Vec<Claim>> =
            claims.and_then(|all| all.iter().map(|one| spoken(one, &bound.values)).collect());
        // A parameter that is missing is the server's to complain about.
        let showing = claims.map(Showing::Claims);
        let edit = Edit { showing, searched: Searched::Everything, ..Edit::default() };
        self.bind(&Frame { edits: Edits::of(&edit), ..*frame }, now, out)
    }

    /// The assignments of a text that does nothing else, if all of them are of variables that the tenancy hears of.
    fn assigned(&self, text: &[u8], script: &Script) -> Option<Vec<Assignment>> {
        let single = script.single()?;
        let named = single.setting.as_ref().map(|setting| self.tenancy.hears(&setting.name));
        if !matches!(single.verb, Verb::Set | Verb::Reset | Verb::SetConfig) || named == Some(false) {
            return None;
        }
        let all = assignments(text, single, self.reading().strings())?;
        all.iter().all(|one| self.tenancy.hears(&one.name)).then_some(all)
    }
}

/// The assignment with its parameters; `None` where one is missing or is no boolean.
fn spoken(assignment: &Assignment, values: &[Option<&[u8]>]) -> Option<Claim> {
    let parameter = |number: u16| values.get(usize::from(number).checked_sub(1)?).copied();
    let value = match &assignment.given {
        Given::Literal { value, .. } => Some(value.clone()),
        Given::Parameter(number) => parameter(*number)?.map(<[u8]>::to_vec),
        Given::Nothing => None,
    };
    let term = match assignment.lasting {
        Lasting::Transaction => Term::Transaction,
        Lasting::Session => Term::Session,
        Lasting::Parameter(number) => term(parameter(number)?)?,
    };
    let value = value.filter(|value| !value.is_empty());
    Some(Claim { setting: assignment.name.to_ascii_lowercase(), value, term })
}
