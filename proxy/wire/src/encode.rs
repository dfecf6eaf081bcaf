//! Writing messages: one growing buffer, every length filled in when its message ends.

use crate::backend::Status;

/// How bad an error is for the session (field `S` and `V` of ErrorResponse).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed, the session goes on.
    Error,
    /// The session ends.
    Fatal,
}

impl Severity {
    /// PostgreSQL's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

/// Appends messages to a byte buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A writer that appends to `out`.
    #[must_use]
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Appends one message: the tag, the length and what `payload` writes.
    pub fn message(&mut self, tag: u8, payload: impl FnOnce(&mut Payload<'_>)) -> &mut Self {
        self.out.push(tag);
        self.counted(payload)
    }

    /// Appends a packet without a tag, as a startup packet is.
    pub fn counted(&mut self, payload: impl FnOnce(&mut Payload<'_>)) -> &mut Self {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        payload(&mut Payload { out: self.out });
        let length = i32::try_from(self.out.len() - start).unwrap_or(i32::MAX);
        if let Some(field) = self.out.get_mut(start..start + 4) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        self
    }

    /// Parse: `types` is the count and the OIDs as they travel.
    pub fn parse(&mut self, name: &[u8], text: &[u8], types: &[u8]) -> &mut Self {
        self.message(b'P', |p| {
            p.string(name).string(text).bytes(types);
        })
    }

    /// The header and the names of a Bind whose remaining `rest` payload bytes follow from elsewhere.
    pub fn bind_front(&mut self, portal: &[u8], statement: &[u8], rest: usize) -> &mut Self {
        let length = i32::try_from(4 + portal.len() + statement.len() + 2 + rest).unwrap_or(i32::MAX);
        self.out.push(b'B');
        Payload { out: self.out }.int32(length).string(portal).string(statement);
        self
    }

    /// Bytes that are complete as they are, or that complete what was begun.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// Execute without a row limit.
    pub fn execute(&mut self, portal: &[u8]) -> &mut Self {
        self.message(b'E', |p| {
            p.string(portal).int32(0);
        })
    }

    /// Describe, `kind` being `S` or `P`.
    pub fn describe(&mut self, kind: u8, name: &[u8]) -> &mut Self {
        self.message(b'D', |p| {
            p.byte(kind).string(name);
        })
    }

    /// Close, `kind` being `S` or `P`.
    pub fn close(&mut self, kind: u8, name: &[u8]) -> &mut Self {
        self.message(b'C', |p| {
            p.byte(kind).string(name);
        })
    }

    /// Sync.
    pub fn sync(&mut self) -> &mut Self {
        self.message(b'S', |_| ())
    }

    /// Flush.
    pub fn flush(&mut self) -> &mut Self {
        self.message(b'H', |_| ())
    }

    /// A simple Query.
    pub fn query(&mut self, text: &[u8]) -> &mut Self {
        self.message(b'Q', |p| {
            p.string(text);
        })
    }

    /// ReadyForQuery.
    pub fn ready(&mut self, status: Status) -> &mut Self {
        self.message(b'Z', |p| {
            p.byte(status.byte());
        })
    }

    /// ParameterStatus.
    pub fn parameter_status(&mut self, name: &[u8], value: &[u8]) -> &mut Self {
        self.message(b'S', |p| {
            p.string(name).string(value);
        })
    }

    /// Authentication of the given kind, with its data.
    pub fn authentication(&mut self, kind: i32, data: &[u8]) -> &mut Self {
        self.message(b'R', |p| {
            p.int32(kind).bytes(data);
        })
    }

    /// ErrorResponse; empty detail and hint are left out.
    pub fn error(
        &mut self,
        severity: Severity,
        sqlstate: &str,
        texts: [&str; 3],
        routine: Option<&str>,
    ) -> &mut Self {
        let [message, detail, hint] = texts;
        self.message(b'E', |p| {
            for kind in [b'S', b'V'] {
                p.byte(kind).string(severity.word().as_bytes());
            }
            p.byte(b'C').string(sqlstate.as_bytes());
            p.byte(b'M').string(message.as_bytes());
            for (kind, text) in [(b'D', detail), (b'H', hint)] {
                if !text.is_empty() {
                    p.byte(kind).string(text.as_bytes());
                }
            }
            if let Some(routine) = routine {
                p.byte(b'R').string(routine.as_bytes());
            }
            p.byte(0);
        })
    }
}

/// The payload of the message that is being written.
#[derive(Debug)]
pub struct Payload<'a> {
    out: &'a mut Vec<u8>,
}

impl Payload<'_> {
    /// One byte.
    pub fn byte(&mut self, byte: u8) -> &mut Self {
        self.out.push(byte);
        self
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// A string and the zero byte that ends it; a zero byte inside ends it early.
    pub fn string(&mut self, text: &[u8]) -> &mut Self {
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        self.bytes(text).byte(0)
    }

    /// A two-byte number.
    pub fn int16(&mut self, number: i16) -> &mut Self {
        self.bytes(&number.to_be_bytes())
    }

    /// A four-byte number.
    pub fn int32(&mut self, number: i32) -> &mut Self {
        self.bytes(&number.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_themselves_and_not_the_tag() {
        let mut out = Vec::new();
        Writer::new(&mut out).query(b"select 1").sync();
        assert_eq!(out, b"Q\0\0\0\x0dselect 1\0S\0\0\0\x04");
    }

    #[test]
    fn a_bind_front_announces_the_rest() {
        let mut out = Vec::new();
        Writer::new(&mut out).bind_front(b"", b"s", 6);
        assert_eq!(out, b"B\0\0\0\x0d\0s\0");
    }
}
