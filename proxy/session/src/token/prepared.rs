//! A token in a prepared statement: in its comment, in its text, or in a parameter.

use super::bearer;
use super::edit::{Edit, Edits, Searched, Showing, TokenShown};
use super::query::{masked, token};
use crate::client::{Frame, Step};
use crate::engine::{Engine, Stop};
use crate::output::Output;
use crate::refusal::SessionError;
use crate::refuse::Permit;
use crate::statement::Statement;
use crate::tenancy::{Bearer, Shown, Tenancy, Term};
use pgwarden_sql::{Given, Lasting, TokenUse, Uncommented, token_use};
use pgwarden_wire::{BindHead, BindValues, Malformed, Parse, Writer};
use std::ops::Range;

/// A token in the text of a statement.
#[derive(Debug)]
pub(crate) struct Literal {
    token: Box<[u8]>,
    span: Range<usize>,
}

impl<T: Tenancy> Engine<T> {
    /// A Parse whose text had a token in its comment: it counts now, and whenever the statement is bound.
    pub(crate) fn parse_without_comment(
        &mut self,
        frame: &Frame<'_>,
        parse: &Parse<'_>,
        found: &Uncommented,
        now: u64,
        out: &mut Output,
    ) -> Result<Step, SessionError> {
        let permit = self.show(Shown::comment(&found.token), self.tx.place(), now);
        if let Some(step) = self.unless_let_through(permit, frame, out) {
            return Ok(step);
        }
        let mut edit = Edit::default();
        edit.taken.comment = Some(found.token.as_slice().into());
        edit.taken.removed = found.removed;
        self.parse_instead(frame, parse, &found.text, &edit, now, out)
    }

    /// The token in the text of a statement that nobody has searched.
    pub(crate) fn literal_token(&self, statement: &Statement, frame: &Frame<'_>) -> Option<Literal> {
        if !statement.is_token() || !frame.edits.is_token_unread() {
            return None;
        }
        match self.token_use(statement)?.token {
            Given::Literal { value, span } => Some(Literal { token: value.into(), span }),
            Given::Parameter(_) | Given::Nothing => None,
        }
    }

    /// A Parse whose text has a token: it counts when the statement is executed.
    pub(crate) fn parse_without_literal(
        &mut self,
        frame: &Frame<'_>,
        parse: &Parse<'_>,
        found: Literal,
        now: u64,
        out: &mut Output,
    ) -> Result<Step, SessionError> {
        let mut edit = Edit { taken: frame.edits.taken(), searched: Searched::Everything, ..Edit::default() };
        edit.taken.literal = Some((&*found.token).into());
        self.parse_instead(frame, parse, &masked(parse.text, found.span), &edit, now, out)
    }

    fn parse_instead(
        &mut self,
        frame: &Frame<'_>,
        parse: &Parse<'_>,
        text: &[u8],
        edit: &Edit,
        now: u64,
        out: &mut Output,
    ) -> Result<Step, SessionError> {
        let mut message = Vec::with_capacity(frame.length);
        Writer::new(&mut message).parse(parse.name, text, parse.types);
        let edits = Edits::of(edit);
        self.parse(&Frame { at: None, length: message.len(), bytes: &message, edits, ..*frame }, now, out)
    }

    /// A statement is bound whose comment had a token.
    pub(crate) fn show_comment(
        &mut self,
        name: &[u8],
        frame: &Frame<'_>,
        now: u64,
        out: &mut Output,
    ) -> Option<Step> {
        let token = self.statements.taken(name).comment.clone()?;
        let permit = self.show(Shown::comment(&token), self.tx.place(), now);
        self.unless_let_through(permit, frame, out)
    }

    /// Binds a statement that shows a token, without the token.
    pub(crate) fn bind_token(
        &mut self,
        (frame, head): (&Frame<'_>, &BindHead<'_>),
        statement: &Statement,
        now: u64,
        out: &mut Output,
    ) -> Result<Step, SessionError> {
        let Some(payload) = frame.payload() else { return Ok(Step::Incomplete) };
        let (names, rest) = payload.split_at_checked(head.length).ok_or(Malformed)?;
        let bound = BindValues::read(rest)?;
        let literal = self.statements.taken(head.statement).literal.clone();
        let used = self.token_use(statement);
        let showing = used.as_ref().and_then(|used| showing(used, literal.as_deref(), &bound, statement));
        let showing = showing.map(Showing::Token);
        let place = match used.as_ref().map(|used| &used.token) {
            Some(Given::Parameter(number)) => hidden(&bound, *number),
            _ => None,
        };
        let values = place.map_or_else(|| rest.to_vec(), |place| without_value(rest, place));
        let mut message = Vec::with_capacity(frame.length);
        Writer::new(&mut message).message(b'B', |p| {
            p.bytes(names).bytes(&values);
        });
        let edit = Edit { showing, searched: Searched::Everything, ..Edit::default() };
        let edits = Edits::of(&edit);
        self.bind(&Frame { at: None, length: message.len(), bytes: &message, edits, ..*frame }, now, out)
    }

    /// A portal runs that tells the tenancy something; what the client reads in place of the server's value comes back.
    pub(crate) fn run_token(
        &mut self,
        showing: &Showing,
        frame: &Frame<'_>,
        now: u64,
        out: &mut Output,
    ) -> Result<Option<Box<[u8]>>, Step> {
        let (permit, echo) = match showing {
            Showing::Token(TokenShown { token, term, bearer, echo }) => {
                let shown = Shown { token: token.as_deref(), term: *term, bearer: *bearer };
                (self.show(shown, self.tx.place(), now), echo.clone())
            }
            Showing::Claims(claims) => (self.claim(claims, now), None),
        };
        match self.unless_let_through(permit, frame, out) {
            Some(step) => Err(step),
            None => Ok(echo),
        }
    }

    fn token_use(&self, statement: &Statement) -> Option<TokenUse> {
        let single = statement.script()?.single()?;
        token_use(statement.text(), single, self.reading().strings())
    }

    pub(super) fn unless_let_through(
        &mut self,
        permit: Permit,
        frame: &Frame<'_>,
        out: &mut Output,
    ) -> Option<Step> {
        match permit {
            Permit::Granted => None,
            Permit::Refused(refusal) => Some(self.refuse_frame(&refusal, frame, out)),
            Permit::Unknown => Some(Step::Stop(Stop::Question(Vec::new()))),
        }
    }
}

/// What a bound statement will show; `None` where the server will refuse it.
fn showing(
    used: &TokenUse,
    literal: Option<&[u8]>,
    bound: &BindValues<'_>,
    statement: &Statement,
) -> Option<TokenShown> {
    let parameter = |number: u16| bound.values.get(usize::from(number).checked_sub(1)?).copied();
    let term = match used.lasting {
        Lasting::Parameter(number) => term(parameter(number)?)?,
        Lasting::Transaction => Term::Transaction,
        Lasting::Session => Term::Session,
    };
    let given = match used.token {
        Given::Parameter(number) => parameter(number)?,
        Given::Literal { .. } => literal,
        Given::Nothing => None,
    };
    let bearer = bearer(statement.script()?.single()?);
    let echo = given.filter(|_| bearer == Bearer::SetConfig).map(Into::into);
    Some(TokenShown { token: given.and_then(token), term, bearer, echo })
}

/// Where the value stands that must not go to the server: its length and its bytes.
fn hidden(bound: &BindValues<'_>, number: u16) -> Option<Range<usize>> {
    let index = usize::from(number).checked_sub(1)?;
    let (start, value) = (bound.places.get(index)?, (*bound.values.get(index)?)?);
    Some(*start..start + size_of::<i32>() + value.len())
}

fn without_value(rest: &[u8], place: Range<usize>) -> Vec<u8> {
    let (before, behind) = (rest.get(..place.start), rest.get(place.end..));
    [before.unwrap_or_default(), &0_i32.to_be_bytes(), behind.unwrap_or_default()].concat()
}

/// What a boolean in text or binary format says as the last argument of `set_config`: true is for the transaction, NULL is
/// not. Words may be cut short as far as they stay clear (`parse_bool_with_len`, `bool.c`); `None` for what the server
/// refuses.
pub(super) fn term(value: Option<&[u8]>) -> Option<Term> {
    let Some(value) = value else { return Some(Term::Session) };
    match value.trim_ascii().to_ascii_lowercase().as_slice() {
        [1] | b"t" | b"tr" | b"tru" | b"true" | b"on" | b"y" | b"ye" | b"yes" | b"1" => {
            Some(Term::Transaction)
        }
        [0] | b"f" | b"fa" | b"fal" | b"fals" | b"false" | b"of" | b"off" | b"n" | b"no" | b"0" => {
            Some(Term::Session)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_empty_where_it_stands() {
        let rest = b"\0\0\0\x02\0\0\0\x03abc\0\0\0\x01t\0\0";
        let bound = BindValues::read(rest).expect("well-formed");
        let place = hidden(&bound, 1).expect("there");
        let without = without_value(rest, place);
        assert_eq!(
            BindValues::read(&without).expect("well-formed").values,
            [Some(b"".as_slice()), Some(b"t")]
        );
    }

    #[test]
    fn booleans_are_read_in_both_formats() {
        let said = |value: &[u8]| term(Some(value));
        assert_eq!([b"\x01".as_slice(), b"t", b" TRUE "].map(said), [Some(Term::Transaction); 3]);
        assert_eq!([b"\0".as_slice(), b"f", b"no"].map(said), [Some(Term::Session); 3]);
        assert_eq!(said(b"perhaps"), None);
    }

    #[test]
    fn a_boolean_that_the_server_takes_is_never_overlooked() {
        let said = |value: &[u8]| term(Some(value));
        assert_eq!([b"tr".as_slice(), b"YE", b"on"].map(said), [Some(Term::Transaction); 3]);
        assert_eq!([b"fal".as_slice(), b"of", b"n"].map(said), [Some(Term::Session); 3]);
        assert_eq!((term(None), said(b"o"), said(b"")), (Some(Term::Session), None, None));
    }
}
