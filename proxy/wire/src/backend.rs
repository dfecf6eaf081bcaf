//! Messages of the server: what a proxy reads of them.

use crate::fields::{Fields, Malformed};

/// The messages a server sends that a proxy tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendTag {
    /// `1`
    ParseComplete,
    /// `2`
    BindComplete,
    /// `3`
    CloseComplete,
    /// `A`
    NotificationResponse,
    /// `C`
    CommandComplete,
    /// `D`
    DataRow,
    /// `E`
    ErrorResponse,
    /// `G`
    CopyInResponse,
    /// `H`
    CopyOutResponse,
    /// `W`
    CopyBothResponse,
    /// `I`
    EmptyQueryResponse,
    /// `K`
    BackendKeyData,
    /// `N`
    NoticeResponse,
    /// `R`
    Authentication,
    /// `S`
    ParameterStatus,
    /// `T`
    RowDescription,
    /// `V`
    FunctionCallResponse,
    /// `Z`
    ReadyForQuery,
    /// `c`
    CopyDone,
    /// `d`
    CopyData,
    /// `n`
    NoData,
    /// `s`
    PortalSuspended,
    /// `t`
    ParameterDescription,
    /// `v`
    NegotiateProtocolVersion,
}

impl BackendTag {
    /// The message that `tag` names; `None` for what no server sends.
    #[must_use]
    pub fn from_byte(tag: u8) -> Option<Self> {
        Some(match tag {
            b'1' => Self::ParseComplete,
            b'2' => Self::BindComplete,
            b'3' => Self::CloseComplete,
            b'A' => Self::NotificationResponse,
            b'C' => Self::CommandComplete,
            b'D' => Self::DataRow,
            b'E' => Self::ErrorResponse,
            b'G' => Self::CopyInResponse,
            b'H' => Self::CopyOutResponse,
            b'W' => Self::CopyBothResponse,
            b'I' => Self::EmptyQueryResponse,
            b'K' => Self::BackendKeyData,
            b'N' => Self::NoticeResponse,
            b'R' => Self::Authentication,
            b'S' => Self::ParameterStatus,
            b'T' => Self::RowDescription,
            b'V' => Self::FunctionCallResponse,
            b'Z' => Self::ReadyForQuery,
            b'c' => Self::CopyDone,
            b'd' => Self::CopyData,
            b'n' => Self::NoData,
            b's' => Self::PortalSuspended,
            b't' => Self::ParameterDescription,
            b'v' => Self::NegotiateProtocolVersion,
            _ => return None,
        })
    }
}

/// The transaction status that ReadyForQuery reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `I`: not in a transaction block.
    Idle,
    /// `T`: in a transaction block.
    InBlock,
    /// `E`: in a failed transaction block.
    Failed,
}

impl Status {
    /// Reads the payload of ReadyForQuery.
    ///
    /// # Errors
    /// [`Malformed`] when it is not one of the three bytes.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        match payload {
            b"I" => Ok(Self::Idle),
            b"T" => Ok(Self::InBlock),
            b"E" => Ok(Self::Failed),
            _ => Err(Malformed),
        }
    }

    /// The byte that stands for the status on the wire.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InBlock => b'T',
            Self::Failed => b'E',
        }
    }
}

/// The tag of a CommandComplete payload, such as `INSERT 0 1`.
///
/// # Errors
/// [`Malformed`] when it is not one string.
pub fn tag_of_command(payload: &[u8]) -> Result<&[u8], Malformed> {
    let mut fields = Fields::new(payload);
    let tag = fields.string()?;
    fields.end()?;
    Ok(tag)
}

/// The name and value of a ParameterStatus payload.
///
/// # Errors
/// [`Malformed`] when it is not two strings.
pub fn parameter_status(payload: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut fields = Fields::new(payload);
    let pair = (fields.string()?, fields.string()?);
    fields.end()?;
    Ok(pair)
}

/// The fields of an ErrorResponse or NoticeResponse, as (type byte, text). Every field is optional, the SQLSTATE too.
#[derive(Debug, Clone, Copy)]
pub struct ErrorFields<'a> {
    fields: Fields<'a>,
}

impl<'a> ErrorFields<'a> {
    /// The fields of an error's payload.
    #[must_use]
    pub fn new(payload: &'a [u8]) -> Self {
        Self { fields: Fields::new(payload) }
    }

    /// The text of the first field of type `kind` (`C` SQLSTATE, `M` message, `P` position …).
    #[must_use]
    pub fn find(self, kind: u8) -> Option<&'a [u8]> {
        let mut all = self;
        all.find_map(|(found, text)| (found == kind).then_some(text))
    }

    /// The five characters of the SQLSTATE; `XX000` where the server sent none.
    #[must_use]
    pub fn sqlstate(self) -> [u8; 5] {
        self.find(b'C').and_then(|code| code.try_into().ok()).unwrap_or(*b"XX000")
    }
}

impl<'a> Iterator for ErrorFields<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let kind = self.fields.byte().ok().filter(|kind| *kind != 0)?;
        Some((kind, self.fields.string().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_without_sqlstate_is_an_internal_error() {
        assert_eq!(&ErrorFields::new(b"SERROR\0Mboom\0\0").sqlstate(), b"XX000");
        assert_eq!(&ErrorFields::new(b"SERROR\0C42501\0\0").sqlstate(), b"42501");
        assert_eq!(&ErrorFields::new(b"").sqlstate(), b"XX000");
        assert_eq!(&ErrorFields::new(b"C4").sqlstate(), b"XX000");
    }

    #[test]
    fn a_status_is_one_of_three_bytes() {
        assert_eq!(Status::read(b"T"), Ok(Status::InBlock));
        assert_eq!(Status::read(b"X"), Err(Malformed));
        assert_eq!(Status::read(b"II"), Err(Malformed));
    }
}
