//! Messages of the client: what a proxy reads of them.

use crate::fields::{Fields, Malformed};

/// The messages a client may send after the startup phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrontendTag {
    /// `Q`: a simple query.
    Query,
    /// `P`: prepare a statement.
    Parse,
    /// `B`: bind parameters to a statement, giving a portal.
    Bind,
    /// `D`: describe a statement or portal.
    Describe,
    /// `E`: run a portal.
    Execute,
    /// `C`: close a statement or portal.
    Close,
    /// `S`: end an extended batch.
    Sync,
    /// `H`: send what is pending.
    Flush,
    /// `F`: call a function by OID.
    FunctionCall,
    /// `d`: a piece of COPY data.
    CopyData,
    /// `c`: the end of COPY data.
    CopyDone,
    /// `f`: COPY given up by the client.
    CopyFail,
    /// `X`: the end of the session.
    Terminate,
}

impl FrontendTag {
    /// The message that `tag` names; `None` for what no client sends in this phase.
    #[must_use]
    pub fn from_byte(tag: u8) -> Option<Self> {
        Some(match tag {
            b'Q' => Self::Query,
            b'P' => Self::Parse,
            b'B' => Self::Bind,
            b'D' => Self::Describe,
            b'E' => Self::Execute,
            b'C' => Self::Close,
            b'S' => Self::Sync,
            b'H' => Self::Flush,
            b'F' => Self::FunctionCall,
            b'd' => Self::CopyData,
            b'c' => Self::CopyDone,
            b'f' => Self::CopyFail,
            b'X' => Self::Terminate,
            _ => return None,
        })
    }
}

/// Parse: a statement's name, its text and its parameter types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name; empty for the unnamed statement.
    pub name: &'a [u8],
    /// The SQL text.
    pub text: &'a [u8],
    /// The number of parameter types and their OIDs, as sent.
    pub types: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Reads the payload of a Parse message.
    ///
    /// # Errors
    /// [`Malformed`] when it does not hold exactly a name, a text and the announced number of OIDs.
    pub fn read(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(payload);
        let (name, text, types) = (fields.string()?, fields.string()?, fields.rest());
        let count = usize::try_from(fields.int16()?).map_err(|_| Malformed)?;
        fields.bytes(count * 4)?;
        fields.end()?;
        Ok(Self { name, text, types })
    }
}

/// The two names at the front of a Bind message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindHead<'a> {
    /// The portal to make; empty for the unnamed portal.
    pub portal: &'a [u8],
    /// The statement to bind; empty for the unnamed statement.
    pub statement: &'a [u8],
    /// Bytes of the payload that the two names take, zero bytes included.
    pub length: usize,
}

/// Reads the names of a Bind message from as much of its payload as has arrived; `None` when more is needed.
#[must_use]
pub fn bind_head(payload: &[u8]) -> Option<BindHead<'_>> {
    let mut fields = Fields::new(payload);
    let portal = fields.string().ok()?;
    let statement = fields.string().ok()?;
    Some(BindHead { portal, statement, length: portal.len() + statement.len() + 2 })
}

/// The parameters of a Bind message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindValues<'a> {
    /// The values in order; `None` is NULL.
    pub values: Vec<Option<&'a [u8]>>,
    /// Where each value's length stands, from the start of what was read.
    pub places: Vec<usize>,
}

impl<'a> BindValues<'a> {
    /// Reads what follows the names of a Bind message.
    ///
    /// # Errors
    /// [`Malformed`] when a count or a length does not fit.
    pub fn read(rest: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(rest);
        let formats = count(&mut fields)?;
        fields.bytes(formats * 2)?;
        let (mut values, mut places) = (Vec::new(), Vec::new());
        for _ in 0..count(&mut fields)? {
            places.push(rest.len() - fields.rest().len());
            let length = fields.int32()?;
            values.push(match usize::try_from(length) {
                Ok(length) => Some(fields.bytes(length)?),
                Err(_) => None,
            });
        }
        let formats = count(&mut fields)?;
        fields.bytes(formats * 2)?;
        fields.end()?;
        Ok(Self { values, places })
    }
}

fn count(fields: &mut Fields<'_>) -> Result<usize, Malformed> {
    usize::try_from(fields.int16()?).map_err(|_| Malformed)
}

/// What a Describe or Close message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// `S`: a prepared statement.
    Statement,
    /// `P`: a portal.
    Portal,
}

/// Describe or Close: a statement or portal by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// Statement or portal.
    pub kind: TargetKind,
    /// Its name; empty for the unnamed one.
    pub name: &'a [u8],
}

impl<'a> Target<'a> {
    /// Reads the payload of a Describe or Close message.
    ///
    /// # Errors
    /// [`Malformed`] when it is not `S` or `P` and one string.
    pub fn read(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(payload);
        let kind = match fields.byte()? {
            b'S' => TargetKind::Statement,
            b'P' => TargetKind::Portal,
            _ => return Err(Malformed),
        };
        let name = fields.string()?;
        fields.end()?;
        Ok(Self { kind, name })
    }
}

/// Execute: run a portal, for at most so many rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execute<'a> {
    /// The portal's name; empty for the unnamed one.
    pub portal: &'a [u8],
    /// The row limit; zero or less means none.
    pub max_rows: i32,
}

impl<'a> Execute<'a> {
    /// Reads the payload of an Execute message.
    ///
    /// # Errors
    /// [`Malformed`] when it is not one string and one number.
    pub fn read(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(payload);
        let (portal, max_rows) = (fields.string()?, fields.int32()?);
        fields.end()?;
        Ok(Self { portal, max_rows })
    }
}

/// FunctionCall: which function is called; the arguments are left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionCall {
    /// The function's OID.
    pub function: u32,
}

impl FunctionCall {
    /// Reads the front of a FunctionCall payload.
    ///
    /// # Errors
    /// [`Malformed`] when no OID is there.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        Fields::new(payload).array().map(|oid| Self { function: u32::from_be_bytes(oid) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parse_with_a_wrong_number_of_types_is_malformed() {
        assert!(Parse::read(b"a\0select 1\0\0\0").is_ok());
        assert_eq!(Parse::read(b"a\0select 1\0\0\x01"), Err(Malformed));
        assert_eq!(Parse::read(b"a\0select 1\0\xff\xff"), Err(Malformed));
        assert_eq!(Parse::read(b"a\0select 1"), Err(Malformed));
    }

    #[test]
    fn a_bind_head_needs_both_names() {
        assert_eq!(bind_head(b"p\0s"), None);
        assert_eq!(bind_head(b"p\0s\0x"), Some(BindHead { portal: b"p", statement: b"s", length: 4 }));
    }

    #[test]
    fn the_values_of_a_bind_are_found_with_their_places() {
        let rest = b"\0\x01\0\0\0\x02\0\0\0\x03abc\xff\xff\xff\xff\0\0";
        let values = BindValues { values: vec![Some(b"abc".as_slice()), None], places: vec![6, 13] };
        assert_eq!(BindValues::read(rest), Ok(values));
        assert_eq!(BindValues::read(&rest[..10]), Err(Malformed));
        assert_eq!(BindValues::read(b"\0\0\xff\xff\0\0"), Err(Malformed));
    }

    #[test]
    fn a_target_is_a_statement_or_a_portal() {
        assert_eq!(Target::read(b"Sx\0").map(|t| t.kind), Ok(TargetKind::Statement));
        assert_eq!(Target::read(b"Xx\0"), Err(Malformed));
        assert_eq!(Target::read(b"Px\0y"), Err(Malformed));
    }
}
