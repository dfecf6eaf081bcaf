//! Writing: everything that is ready leaves in one write; what the peer does not take is kept.

use crate::stream::Stream;
use pgwarden_session::Segments;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// Bytes that the peer has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    bytes: Vec<u8>,
    sent: usize,
    flush: Flush,
    reader: Reader,
}

/// Whether the peer still has to be there.
#[derive(Debug, Default, PartialEq, Eq)]
enum Reader {
    #[default]
    Needed,
    /// It has said goodbye: it may take what is for it, or hang up.
    MayLeave,
    /// It has hung up: nothing is for it any more.
    Left,
}

/// Whether TLS still holds bytes back.
#[derive(Debug, Default, PartialEq, Eq)]
enum Flush {
    #[default]
    Done,
    Due,
}

impl Pending {
    /// Whether everything has left.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.flush == Flush::Done
    }

    /// Appends bytes of our own.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// From now on the peer may hang up: what it does not take is dropped.
    pub(crate) fn expect_no_reader(&mut self) {
        self.reader = Reader::MayLeave;
    }

    /// Whether the peer has said goodbye.
    pub(crate) fn expects_no_reader(&self) -> bool {
        self.reader != Reader::Needed
    }

    /// Writes segments at once; what does not fit is kept.
    ///
    /// # Errors
    /// When the connection fails, unless the peer may hang up.
    pub(crate) fn write(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        segments: &mut Segments,
        input: &[u8],
    ) -> io::Result<()> {
        if segments.is_empty() || self.reader == Reader::Left {
            return Ok(());
        }
        let written = self.write_now(stream, cx, segments, input);
        self.excuse(written)
    }

    /// Writes on; returns whether anything left.
    ///
    /// # Errors
    /// When the connection fails, unless the peer may hang up.
    pub(crate) fn resume(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.is_empty() {
            return Ok(false);
        }
        let resumed = self.resume_now(stream, cx);
        self.excuse(resumed)
    }

    fn excuse<R: Default>(&mut self, result: io::Result<R>) -> io::Result<R> {
        if result.is_ok() || self.reader == Reader::Needed {
            return result;
        }
        *self = Self { reader: Reader::Left, ..Self::default() };
        Ok(R::default())
    }

    fn write_now(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        segments: &mut Segments,
        input: &[u8],
    ) -> io::Result<()> {
        let mut sent = 0;
        if self.bytes.is_empty() {
            let total;
            (sent, total) = offer(stream, cx, segments, input)?;
            if sent == total {
                return self.flush(stream, cx);
            }
        }
        segments.copy_after(input, sent, &mut self.bytes);
        Ok(())
    }

    fn resume_now(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut *stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    self.sent += written;
                    moved = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(moved),
            }
        }
        self.bytes = Vec::new();
        self.sent = 0;
        self.flush(stream, cx)?;
        Ok(moved)
    }

    fn flush(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> io::Result<()> {
        self.flush = match Pin::new(stream).poll_flush(cx) {
            Poll::Ready(flushed) => {
                flushed?;
                Flush::Done
            }
            Poll::Pending => Flush::Due,
        };
        Ok(())
    }
}

/// Offers everything in one write; returns how many bytes were taken, and of how many.
fn offer(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    segments: &mut Segments,
    input: &[u8],
) -> io::Result<(usize, usize)> {
    let stream = Pin::new(stream);
    let (written, total) = if let Some(whole) = segments.whole(input) {
        (stream.poll_write(cx, whole), whole.len())
    } else {
        let mut slices = Vec::new();
        segments.slices(input, &mut slices);
        let total = slices.iter().map(|slice| slice.len()).sum();
        (stream.poll_write_vectored(cx, &slices), total)
    };
    match written {
        Poll::Ready(written) => Ok((written?, total)),
        Poll::Pending => Ok((0, total)),
    }
}
