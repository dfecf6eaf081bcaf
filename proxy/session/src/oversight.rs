//! What the engine tells an overseer: which statement each reply belongs to, and what is there of it.
//!
//! Nothing in here changes what passes, except where the overseer takes a notice or cuts a result off.

mod columns;
mod watched;

pub(crate) use columns::{Overseen, Told};
pub(crate) use watched::{WatchList, Watched};

use crate::client::Frame;
use crate::engine::Engine;
use crate::overseer::{Bound, Formats, Interest, Look, MOST_LOOKED_AT, Notice, Sent};
use crate::refusal::SessionError;
use crate::statement::Statement;
use crate::tenancy::Tenancy;
use pgwarden_sql::Script;
use pgwarden_wire::BackendTag;
use std::sync::Arc;
use watched::{Stage, Subject};

/// What stands for the text of a function call.
const FUNCTION_CALL: &[u8] = b"FunctionCall";

/// Longer Bind messages are not held for an overseer.
const HELD_TO_OVERSEE: usize = 64 * 1024;

/// What becomes of a message of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// What would become of it without an overseer.
    Goes,
    /// More of it has to be there.
    Waits,
    /// It was for the overseer alone.
    Taken,
}

impl<T: Tenancy> Engine<T> {
    /// A simple query is about to be sent: whoever watches its replies.
    pub(crate) fn oversee_query(&mut self, text: &[u8], script: Option<&Script>) -> Option<Watched> {
        let strings = self.reading().strings();
        let sent = Sent { text, script, strings, bound: None, profile: &self.profile };
        let ticket = self.tenancy.sent(&sent)?;
        Some(Watched::run(ticket, Formats::Said, None))
    }

    /// A function is about to be called, which says nothing of what it does.
    pub(crate) fn oversee_call(&mut self) -> Option<Watched> {
        self.oversee_query(FUNCTION_CALL, None)
    }

    /// A portal is about to be executed.
    pub(crate) fn oversee_portal(&mut self, portal: &[u8], statement: &Arc<Statement>) -> Option<Watched> {
        let strings = self.reading().strings();
        let Overseen { values, formats, told } = self.portals.overseen(portal)?;
        let bound = Some(Bound { statement, values: values.as_ref() });
        let (text, script) = (statement.text(), statement.script());
        let ticket = self.tenancy.sent(&Sent { text, script, strings, bound, profile: &self.profile })?;
        Some(Watched::run(ticket, formats.clone(), Some(Arc::clone(told))))
    }

    /// Whether a Bind has to be complete, because the overseer has to know what is at its end.
    pub(crate) fn is_bind_held(&mut self, frame: &Frame<'_>) -> bool {
        let most = HELD_TO_OVERSEE.min(self.options.limits.held);
        frame.payload().is_none() && frame.length <= most && self.tenancy.overseer().is_some()
    }

    /// What an overseer will ask about a portal: the formats of its columns, and perhaps its values, which follow names
    /// that are `names` bytes long.
    pub(crate) fn oversee_bind(
        &mut self,
        (name, statement): (&[u8], &Statement),
        names: usize,
        frame: &Frame<'_>,
    ) -> Option<Overseen> {
        let overseer = self.tenancy.overseer()?;
        let told = self.statements.told_columns(name)?;
        let most = HELD_TO_OVERSEE.min(self.options.limits.held);
        let payload = frame.payload().filter(|_| frame.length <= most);
        let rest = payload.and_then(|payload| payload.get(names..));
        let formats = rest.and_then(columns::result_formats).unwrap_or(Formats::Unknown);
        let values = rest.filter(|_| overseer.reads_bind(statement)).map(Arc::from);
        Some(Overseen { values, formats, told })
    }

    /// The description of a statement is on its way.
    pub(crate) fn oversee_description(&mut self, statement: &[u8]) -> Option<Watched> {
        let _overseer = self.tenancy.overseer()?;
        self.statements.told_columns(statement).map(Watched::description)
    }

    /// The description of a portal is: it holds for its statement, except for the formats.
    pub(crate) fn oversee_portal_description(&mut self, portal: &[u8]) -> Option<Watched> {
        let _overseer = self.tenancy.overseer()?;
        self.portals.overseen(portal).map(|overseen| Watched::description(Arc::clone(&overseen.told)))
    }

    /// A message of the server with a payload of `length` bytes, as much of it as is there.
    ///
    /// # Errors
    /// [`SessionError::Cut`] when it must not reach the client.
    #[inline]
    pub(crate) fn oversee(
        &mut self,
        tag: BackendTag,
        available: &[u8],
        length: usize,
    ) -> Result<Sight, SessionError> {
        match tag {
            BackendTag::DataRow => self.oversee_row(available, length),
            BackendTag::RowDescription => Ok(self.oversee_columns(available, length)),
            BackendTag::NoticeResponse => Ok(self.oversee_notice(available, length)),
            _ => Ok(Sight::Goes),
        }
    }

    #[inline]
    fn oversee_row(&mut self, available: &[u8], length: usize) -> Result<Sight, SessionError> {
        match self.queue.watched() {
            Some(Watched { subject: Subject::Run { stage, .. }, .. })
                if *stage != Stage::Returns(Interest::End) =>
            {
                self.look_at_row(available, length)
            }
            _ => Ok(Sight::Goes),
        }
    }

    fn look_at_row(&mut self, available: &[u8], length: usize) -> Result<Sight, SessionError> {
        let Some(Watched { ticket, subject: Subject::Run { stage, formats, told } }) = self.queue.watched()
        else {
            return Ok(Sight::Goes);
        };
        let Some(overseer) = self.tenancy.overseer() else { return Ok(Sight::Goes) };
        if *stage == Stage::Begins {
            let known = told.as_ref().and_then(|told| told.columns());
            *stage = Stage::Returns(overseer.columns(*ticket, known.as_ref(), formats));
        }
        if *stage == Stage::Returns(Interest::End) {
            return Ok(Sight::Goes);
        }
        match overseer.row(*ticket, available, length) {
            Look::More if available.len() < length => return Ok(Sight::Waits),
            Look::Cut(refusal) => return Err(SessionError::Cut(refusal)),
            Look::Fail(refusal) => {
                *stage = Stage::Returns(Interest::End);
                return self.cut(refusal);
            }
            Look::Enough => *stage = Stage::Returns(Interest::End),
            Look::Pass | Look::More => (),
        }
        Ok(Sight::Goes)
    }

    fn oversee_columns(&mut self, available: &[u8], length: usize) -> Sight {
        let Some(Watched { ticket, subject }) = self.queue.watched() else { return Sight::Goes };
        let is_read = length <= MOST_LOOKED_AT;
        if is_read && available.len() < length {
            return Sight::Waits;
        }
        let Some(overseer) = self.tenancy.overseer() else { return Sight::Goes };
        let description = is_read.then(|| overseer.describe(available));
        match subject {
            Subject::Description(told) => told.tell(description),
            Subject::Run { stage, formats, .. } => {
                *stage = Stage::Returns(overseer.columns(*ticket, description.as_ref(), formats));
            }
        }
        Sight::Goes
    }

    fn oversee_notice(&mut self, available: &[u8], length: usize) -> Sight {
        if length > MOST_LOOKED_AT || self.queue.front_is_own() {
            return Sight::Goes;
        }
        let ticket = self.queue.watched().map(|watched| watched.ticket);
        match self.tenancy.overseer() {
            Some(overseer) if overseer.reads_notices() => {
                if available.len() < length {
                    return Sight::Waits;
                }
                match overseer.notice(ticket, available) {
                    Notice::Pass => Sight::Goes,
                    Notice::Take => Sight::Taken,
                }
            }
            _ => Sight::Goes,
        }
    }

    /// A command of the client's, or an empty text, has come to its end, a COPY begins, or there is an error.
    pub(crate) fn oversee_end(&mut self, tag: BackendTag, payload: &[u8]) {
        let Some(Watched { ticket, subject: Subject::Run { stage, formats, told } }) = self.queue.watched()
        else {
            return;
        };
        let Some(overseer) = self.tenancy.overseer() else { return };
        match tag {
            BackendTag::ErrorResponse => overseer.failed(*ticket, payload),
            BackendTag::CopyInResponse | BackendTag::CopyOutResponse => overseer.copies(*ticket),
            BackendTag::FunctionCallResponse => overseer.completed(*ticket, b""),
            BackendTag::CommandComplete | BackendTag::EmptyQueryResponse | BackendTag::PortalSuspended => {
                if let (Stage::Begins, Some(known)) = (*stage, told.as_ref().and_then(|told| told.columns()))
                {
                    // No row has come: it counts as looked at if it could have been.
                    overseer.columns(*ticket, Some(&known), formats);
                }
                *stage = Stage::Begins;
                match tag {
                    BackendTag::PortalSuspended => overseer.paused(*ticket),
                    _ => overseer.completed(*ticket, payload.strip_suffix(b"\0").unwrap_or(payload)),
                }
            }
            _ => (),
        }
    }
}
