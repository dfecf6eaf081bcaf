//! The first packet of a connection: a length, a code, and what the code calls for.

use crate::fields::{Fields, Malformed};
use thiserror::Error;

/// The longest startup packet taken, as `MAX_STARTUP_PACKET_LENGTH` in `pqcomm.h`.
pub const STARTUP_LIMIT: usize = 10_000;
/// Protocol 3.0.
pub const PROTOCOL_3_0: u32 = 0x0003_0000;
/// Protocol 3.2 (PostgreSQL 18): cancel keys of up to 256 bytes.
pub const PROTOCOL_3_2: u32 = 0x0003_0002;

const CANCEL_REQUEST: u32 = 0x04D2_162E;
const SSL_REQUEST: u32 = 0x04D2_162F;
const GSSENC_REQUEST: u32 = 0x04D2_1630;

/// A connection's first packet.
#[derive(Debug, PartialEq, Eq)]
pub enum First {
    /// The client asks whether TLS is spoken.
    Ssl,
    /// The client asks whether GSSAPI encryption is spoken.
    Gss,
    /// The client asks to cancel what another connection runs.
    Cancel {
        /// The process id it was given.
        pid: u32,
        /// The secret it was given.
        secret: Vec<u8>,
    },
    /// The client starts a session.
    Startup(Startup),
}

/// The parameters a session starts with.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Startup {
    /// The protocol asked for, major in the high half.
    pub protocol: u32,
    /// Names and values in the order sent; a later one overrides an earlier one.
    pub parameters: Vec<(String, String)>,
}

impl Startup {
    /// The value of a parameter, the last one where it is given twice.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A first packet that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FirstError {
    /// The length field is out of range.
    #[error("invalid length of startup packet")]
    Length,
    /// The fields do not fill the packet.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// A parameter is not UTF-8.
    #[error("startup parameter is not valid UTF-8")]
    Encoding,
    /// The major version is not 3.
    #[error("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2")]
    Version {
        /// Major version asked for.
        major: u32,
        /// Minor version asked for.
        minor: u32,
    },
}

impl From<Malformed> for FirstError {
    fn from(_: Malformed) -> Self {
        Self::Layout
    }
}

/// The length of the packet that starts with these four bytes.
///
/// # Errors
/// [`FirstError::Length`] outside of 8 to [`STARTUP_LIMIT`] bytes.
pub fn first_packet_length(field: [u8; 4]) -> Result<usize, FirstError> {
    usize::try_from(i32::from_be_bytes(field))
        .ok()
        .filter(|length| (8..=STARTUP_LIMIT).contains(length))
        .ok_or(FirstError::Length)
}

/// Reads a first packet without its length field.
///
/// # Errors
/// [`FirstError`] for what is not one of the four packets, or not protocol 3.
pub fn first_packet(packet: &[u8]) -> Result<First, FirstError> {
    let mut fields = Fields::new(packet);
    let code = u32::from_be_bytes(fields.array()?);
    match code {
        SSL_REQUEST => fields.end().map(|()| First::Ssl).map_err(FirstError::from),
        GSSENC_REQUEST => fields.end().map(|()| First::Gss).map_err(FirstError::from),
        CANCEL_REQUEST => {
            let pid = u32::from_be_bytes(fields.array()?);
            let secret = fields.rest();
            if secret.is_empty() || secret.len() > 256 {
                Err(FirstError::Layout)
            } else {
                Ok(First::Cancel { pid, secret: secret.to_vec() })
            }
        }
        _ if code >> 16 == 3 => {
            Ok(First::Startup(Startup { protocol: code, parameters: parameters(fields)? }))
        }
        _ => Err(FirstError::Version { major: code >> 16, minor: code & 0xFFFF }),
    }
}

fn parameters(mut fields: Fields<'_>) -> Result<Vec<(String, String)>, FirstError> {
    let mut parameters = Vec::new();
    loop {
        let name = fields.string()?;
        if name.is_empty() {
            fields.end()?;
            return Ok(parameters);
        }
        parameters.push((text(name)?, text(fields.string()?)?));
    }
}

fn text(bytes: &[u8]) -> Result<String, FirstError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| FirstError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_limited_before_anything_is_allocated() {
        assert_eq!(first_packet_length([0, 0, 0, 8]), Ok(8));
        assert_eq!(first_packet_length([0, 0, 0, 7]), Err(FirstError::Length));
        assert_eq!(first_packet_length([0x7f, 0xff, 0xff, 0xff]), Err(FirstError::Length));
        assert_eq!(first_packet_length([0xff, 0xff, 0xff, 0xff]), Err(FirstError::Length));
    }

    #[test]
    fn a_startup_packet_keeps_order_and_duplicates() {
        let First::Startup(startup) = first_packet(b"\0\x03\0\0user\0a\0user\0b\0\0").expect("startup")
        else {
            panic!()
        };
        assert_eq!(startup.parameters.len(), 2);
        assert_eq!(startup.parameter("user"), Some("b"));
    }

    #[test]
    fn packets_with_bytes_left_over_are_refused() {
        assert_eq!(first_packet(b"\0\x03\0\0user\0a\0\0x"), Err(FirstError::Layout));
        assert_eq!(first_packet(b"\x04\xd2\x16\x2fx"), Err(FirstError::Layout));
        assert_eq!(first_packet(b"\0\x02\0\0\0"), Err(FirstError::Version { major: 2, minor: 0 }));
    }

    #[test]
    fn a_cancel_request_takes_short_and_long_keys() {
        let First::Cancel { pid, secret } = first_packet(b"\x04\xd2\x16\x2e\0\0\0\x07abcd").expect("cancel")
        else {
            panic!()
        };
        assert_eq!((pid, secret.as_slice()), (7, b"abcd".as_slice()));
        let mut long = b"\x04\xd2\x16\x2e\0\0\0\x07".to_vec();
        long.extend([1; 257]);
        assert_eq!(first_packet(&long), Err(FirstError::Layout));
    }
}
