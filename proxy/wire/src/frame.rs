//! The five header bytes that every message after the startup packet begins with.

use thiserror::Error;

/// Bytes of a message header: one tag byte and a four-byte length.
pub const HEADER: usize = 5;

/// The header of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The byte that names the message.
    pub tag: u8,
    /// Bytes of the whole message, tag included: at least [`HEADER`].
    pub length: usize,
}

/// A header that no PostgreSQL peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("message {tag:?} says that it is {length} bytes long", tag = char::from(*tag))]
pub struct FrameError {
    /// The byte that names the message.
    pub tag: u8,
    /// The length field as sent (it counts itself, not the tag; at least 4 is right).
    pub length: i32,
}

/// Reads the header at the start of `bytes`; `None` while fewer than [`HEADER`] bytes are there.
///
/// # Errors
/// [`FrameError`] when the length field is below four, as `pq_getmessage` of `pqcomm.c` refuses it.
pub fn header(bytes: &[u8]) -> Result<Option<Header>, FrameError> {
    let Some(&[tag, a, b, c, d]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let length = i32::from_be_bytes([a, b, c, d]);
    match usize::try_from(length) {
        Ok(after_tag) if after_tag >= 4 => Ok(Some(Header { tag, length: after_tag + 1 })),
        _ => Err(FrameError { tag, length }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_when_five_bytes_are_there() {
        assert_eq!(header(b"Z\0\0\0"), Ok(None));
        assert_eq!(header(b"Z\0\0\0\x05I"), Ok(Some(Header { tag: b'Z', length: 6 })));
    }

    #[test]
    fn a_length_below_four_or_negative_is_refused() {
        assert_eq!(header(b"Q\0\0\0\x03"), Err(FrameError { tag: b'Q', length: 3 }));
        assert_eq!(header(b"Q\xff\xff\xff\xff"), Err(FrameError { tag: b'Q', length: -1 }));
    }
}
