//! The header that a load balancer puts in front of a connection: PROXY protocol, version 2.
//!
//! Sixteen bytes say what follows (`"\r\n\r\n\0\r\nQUIT\n"`, version and command, address family, length), then come
//! two addresses of that family, then TLVs, which are skipped. The reader gets exactly these bytes and never one of
//! the client's. Layout: section 2.2 of <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.

use crate::{Fields, Malformed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use thiserror::Error;

/// Bytes in front of the addresses.
pub const PROXY_HEADER: usize = 16;

/// Bytes behind them that are taken at most: addresses need 216, the rest is TLVs.
pub const PROXY_LIMIT: usize = 4096;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Two paths of `sun_path`.
const UNIX_ADDRESSES: usize = 216;

/// The first sixteen bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHead {
    origin: Origin,
    /// Bytes that follow before the client's own.
    pub length: usize,
}

/// Where the client of a load balancer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxySource {
    /// The load balancer itself, a health check for example, or it does not say.
    Itself,
    /// This address.
    Address(SocketAddr),
    /// A unix socket.
    Unix,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Itself,
    V4,
    V6,
    Unix,
}

/// Why these bytes are no header of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProxyError {
    /// Something else, such as a client that comes without a load balancer.
    #[error("there is no PROXY protocol header of version 2")]
    Absent,
    /// A command that nobody knows.
    #[error("unknown command {0} in the PROXY protocol header")]
    Command(u8),
    /// An address family or a transport that cannot be a client's.
    #[error("the PROXY protocol header is not of a stream ({0:#04x})")]
    Family(u8),
    /// More than [`PROXY_LIMIT`].
    #[error("a PROXY protocol header of {0} bytes")]
    TooLong(usize),
    /// Less than the addresses need.
    #[error("the PROXY protocol header is too short for its addresses")]
    TooShort,
}

impl From<Malformed> for ProxyError {
    fn from(_: Malformed) -> Self {
        Self::TooShort
    }
}

/// Reads what stands in front of the addresses.
///
/// # Errors
/// [`ProxyError`] when it is not the beginning of a header, or what follows is too long.
pub fn proxy_head(bytes: &[u8; PROXY_HEADER]) -> Result<ProxyHead, ProxyError> {
    let mut fields = Fields::new(bytes);
    let signature: [u8; SIGNATURE.len()] = fields.array()?;
    let (version_and_command, family) = (fields.byte()?, fields.byte()?);
    let length = usize::from(u16::from_be_bytes(fields.array()?));
    if signature != SIGNATURE || version_and_command >> 4 != 2 {
        return Err(ProxyError::Absent);
    }
    if length > PROXY_LIMIT {
        return Err(ProxyError::TooLong(length));
    }
    let origin = match (version_and_command & 0xF, family) {
        // LOCAL: what it says of addresses is to be ignored.
        (0, _) | (1, 0) => Origin::Itself,
        (1, 0x11) => Origin::V4,
        (1, 0x21) => Origin::V6,
        (1, 0x31) => Origin::Unix,
        (1, other) => return Err(ProxyError::Family(other)),
        (command, _) => return Err(ProxyError::Command(command)),
    };
    Ok(ProxyHead { origin, length })
}

/// Reads the addresses: exactly the bytes that the head announced.
///
/// # Errors
/// [`ProxyError::TooShort`] when they do not hold the addresses.
pub fn proxy_source(head: ProxyHead, bytes: &[u8]) -> Result<ProxySource, ProxyError> {
    let mut fields = Fields::new(bytes);
    Ok(match head.origin {
        Origin::Itself => ProxySource::Itself,
        Origin::V4 => source(&mut fields, |octets: [u8; 4]| Ipv4Addr::from(octets).into())?,
        Origin::V6 => source(&mut fields, |octets: [u8; 16]| Ipv6Addr::from(octets).into())?,
        Origin::Unix => {
            fields.bytes(UNIX_ADDRESSES)?;
            ProxySource::Unix
        }
    })
}

/// Source and destination address, source and destination port.
fn source<const N: usize>(
    fields: &mut Fields<'_>,
    address: impl Fn([u8; N]) -> IpAddr,
) -> Result<ProxySource, ProxyError> {
    let source = address(fields.array()?);
    let _destination: [u8; N] = fields.array()?;
    let port = u16::from_be_bytes(fields.array()?);
    let _destination: [u8; 2] = fields.array()?;
    Ok(ProxySource::Address(SocketAddr::new(source, port)))
}

#[cfg(test)]
mod tests;
