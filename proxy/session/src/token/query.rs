//! A token in a simple query: in a comment at one of its ends, or in one of its statements.

use super::bearer;
use super::edit::{Edit, Edits, Searched};
use crate::client::{Frame, Step};
use crate::engine::{Engine, Stop};
use crate::insertion::characters;
use crate::output::Output;
use crate::refusal::{Refusal, SessionError};
use crate::refuse::Permit;
use crate::tenancy::{Bearer, Moment, Place, Shown, Tenancy, Term, needs_context};
use crate::transaction::ends_transaction;
use pgwarden_sql::{Given, Lasting, Script, TokenUse, Uncommented, Verb, token_use, without_token};
use std::ops::Range;

impl<T: Tenancy> Engine<T> {
    /// The token in the comments of a text that nobody has searched.
    pub(crate) fn commented_token(&self, text: &[u8], frame: &Frame<'_>) -> Option<Uncommented> {
        let unread = frame.edits.are_comments_unread() && self.tenancy.reads_comments();
        unread.then(|| without_token(text)).flatten()
    }

    /// A query whose comment held a token.
    pub(crate) fn query_without_comment(
        &mut self,
        frame: &Frame<'_>,
        found: &Uncommented,
        now: u64,
        out: &mut Output,
    ) -> Result<Step, SessionError> {
        let permit = self.show(Shown::comment(&found.token), self.tx.place(), now);
        if let Some(step) = self.unless_granted(permit, frame, out) {
            return Ok(step);
        }
        let mut edit = Edit::default();
        edit.taken.removed = found.removed;
        self.query_instead(frame, &found.text, &edit, now, out)
    }

    /// Whether a statement of the script shows a token, and nobody has taken it out.
    pub(crate) fn shows_token(&self, script: &Script, frame: &Frame<'_>) -> bool {
        frame.edits.is_token_unread() && script.statements().iter().any(|one| one.verb == Verb::Token)
    }

    /// A query in which a statement shows a token.
    pub(crate) fn query_with_token(
        &mut self,
        frame: &Frame<'_>,
        (text, script): (&[u8], &Script),
        now: u64,
        out: &mut Output,
    ) -> Result<Step, SessionError> {
        let mut tokens = script.statements().iter().enumerate().filter(|(_, one)| one.verb == Verb::Token);
        let (Some((index, statement)), None) = (tokens.next(), tokens.next()) else {
            self.refuse_query(&several(), out);
            return Ok(self.discard(frame));
        };
        let used = token_use(text, statement, self.reading().strings());
        let mut edit = Edit { taken: frame.edits.taken(), searched: Searched::Everything, ..Edit::default() };
        let Some(Spoken { token, term, span }) = used.as_ref().and_then(spoken) else {
            // A parameter, which a simple query has not: the server says so.
            return self.query_instead(frame, text, &edit, now, out);
        };
        let Some(place) = self.place_of(script, index) else {
            self.refuse_query(&behind_end(), out);
            return Ok(self.discard(frame));
        };
        let permit =
            self.show(Shown { token: token.as_deref(), term, bearer: bearer(statement) }, place, now);
        if let Some(step) = self.unless_granted(permit, frame, out) {
            return Ok(step);
        }
        if bearer(statement) == Bearer::SetConfig {
            edit.echo = token.map(|token| (u32::try_from(index).unwrap_or(u32::MAX), token));
        }
        let masked = span.map_or_else(|| text.to_vec(), |span| masked(text, span));
        self.query_instead(frame, &masked, &edit, now, out)
    }

    fn query_instead(
        &mut self,
        frame: &Frame<'_>,
        text: &[u8],
        edit: &Edit,
        now: u64,
        out: &mut Output,
    ) -> Result<Step, SessionError> {
        let mut message = Vec::with_capacity(text.len() + 6);
        pgwarden_wire::Writer::new(&mut message).query(text);
        let edits = Edits::of(edit);
        self.query(&Frame { at: None, length: message.len(), bytes: &message, edits, ..*frame }, now, out)
    }

    /// Where the statement of this index will stand when those in front of it have run; `None` where that is another
    /// transaction.
    fn place_of(&self, script: &Script, index: usize) -> Option<Place> {
        let before = script.statements().get(..index)?;
        if before.iter().any(ends_transaction) {
            return None;
        }
        let mut place = self.tx.place();
        if before.iter().any(|one| needs_context(one, &self.tenancy)) {
            place.moment = Moment::Bound;
        }
        Some(place)
    }

    pub(super) fn unless_granted(
        &mut self,
        permit: Permit,
        frame: &Frame<'_>,
        out: &mut Output,
    ) -> Option<Step> {
        match permit {
            Permit::Granted => None,
            Permit::Refused(refusal) => {
                self.refuse_query(&refusal, out);
                Some(self.discard(frame))
            }
            Permit::Unknown => Some(Step::Stop(Stop::Question(Vec::new()))),
        }
    }
}

/// What a statement shows by itself.
struct Spoken {
    token: Option<Box<[u8]>>,
    term: Term,
    /// Where it stands in the text.
    span: Option<Range<usize>>,
}

/// What a statement shows by itself; `None` where it takes parameters.
fn spoken(used: &TokenUse) -> Option<Spoken> {
    let term = match used.lasting {
        Lasting::Transaction => Term::Transaction,
        Lasting::Session => Term::Session,
        Lasting::Parameter(_) => return None,
    };
    match &used.token {
        Given::Literal { value, span } => {
            Some(Spoken { token: token(value), term, span: Some(span.clone()) })
        }
        Given::Nothing => Some(Spoken { token: None, term, span: None }),
        Given::Parameter(_) => None,
    }
}

/// An empty token is none.
pub(super) fn token(value: &[u8]) -> Option<Box<[u8]>> {
    (!value.is_empty()).then(|| value.into())
}

/// The text with an empty constant in place of the one that stands there, as many characters long.
pub(super) fn masked(text: &[u8], span: Range<usize>) -> Vec<u8> {
    let (before, behind) =
        (text.get(..span.start).unwrap_or_default(), text.get(span.end..).unwrap_or_default());
    let blanks = characters(text.get(span).unwrap_or_default()).saturating_sub(2);
    [before, b"''", vec![b' '; blanks].as_slice(), behind].concat()
}

fn several() -> Refusal {
    Refusal::new("0A000", "a query string can show one token only", "", "Send the statements one by one.")
}

fn behind_end() -> Refusal {
    Refusal::new(
        "0A000",
        "a query string cannot end a transaction and show the token of the next one",
        "",
        "Send the statements one by one.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_keeps_the_places_of_what_follows() {
        assert_eq!(masked(b"SET x = 'abc'; y", 8..13), b"SET x = ''   ; y");
        assert_eq!(masked("a 'é' b".as_bytes(), 2..6), b"a ''  b");
    }
}
