//! Single messages during login, on both sides: read exactly, never beyond, so that nothing is ever buffered when
//! TLS begins.

use crate::stream::Stream;
use pgwarden_wire::{FrameError, HEADER, header};
use std::io;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A message with its payload.
#[derive(Debug)]
pub(crate) struct Packet {
    /// The byte that names the message.
    pub(crate) tag: u8,
    /// The message without its header.
    pub(crate) payload: Vec<u8>,
}

/// Why no message could be read.
#[derive(Debug, Error)]
pub(crate) enum PacketError {
    /// The connection failed or ended.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The header is wrong.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The message is longer than what this phase needs.
    #[error("message of {length} bytes is over the limit of {limit} bytes")]
    TooLong {
        /// Bytes announced.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// Reads one message of at most `limit` bytes; the limit is checked before anything is allocated.
///
/// Not cancel safe: a message that was read in part is lost.
///
/// # Errors
/// [`PacketError`] when there is no such message.
pub(crate) async fn read(stream: &mut Stream, limit: usize) -> Result<Packet, PacketError> {
    let mut bytes = [0; HEADER];
    stream.read_exact(&mut bytes).await?;
    let Some(header) = header(&bytes)? else {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    };
    if header.length > limit {
        return Err(PacketError::TooLong { length: header.length, limit });
    }
    let mut payload = vec![0; header.length - HEADER];
    stream.read_exact(&mut payload).await?;
    Ok(Packet { tag: header.tag, payload })
}

/// Writes messages and sees them off.
///
/// # Errors
/// When the connection fails.
pub(crate) async fn write(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
