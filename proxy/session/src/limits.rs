//! How long messages may be, and how many statements may be prepared.

use crate::refusal::SessionError;
use pgwarden_wire::FrontendTag;

/// The longest messages taken, in bytes of the whole message, and the most prepared statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Any message: most pass as a stream.
    pub message: usize,
    /// Those that are held whole.
    pub held: usize,
    /// Statements that a client has prepared by name.
    pub client_statements: usize,
    /// Shared statements that a backend has prepared.
    pub backend_statements: usize,
}

impl Limits {
    /// Checks the length that a header of the client announces, before anything of the message is kept.
    pub(crate) fn check(&self, tag: FrontendTag, length: usize) -> Result<(), SessionError> {
        use FrontendTag as F;
        match tag {
            F::Query | F::Parse | F::Describe | F::Execute | F::Close | F::FunctionCall => {
                self.check_held(length)?;
            }
            F::Bind | F::CopyData | F::CopyDone | F::CopyFail | F::Flush | F::Sync | F::Terminate => (),
        }
        within(length, self.message, "limits.message_bytes")
    }

    /// Checks how much is held of a message.
    pub(crate) fn check_held(&self, length: usize) -> Result<(), SessionError> {
        within(length, self.held, "limits.query_bytes")
    }
}

fn within(length: usize, limit: usize, setting: &'static str) -> Result<(), SessionError> {
    if length > limit { Err(SessionError::TooLong { length, limit, setting }) } else { Ok(()) }
}
