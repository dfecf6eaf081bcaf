//! Simple queries, and their rows as text.

use crate::packet;
use crate::stream::Stream;
use crate::upstream::UpstreamError;
use pgwarden_wire::{Fields, Malformed, Writer};

/// The longest row: PostgreSQL's own limit for a function's source is that of a field.
const LONGEST: usize = 64 * 1024 * 1024;

/// So that nothing in the database can stand for what the questions name.
const BEFORE: &str = "SET search_path = pg_catalog, pg_temp; SET default_transaction_read_only = on";

/// The values of a row; NULL reads as empty.
pub(crate) type Row = Vec<String>;

/// A connection that is asked.
#[derive(Debug)]
pub(crate) struct Asked(Stream);

impl Asked {
    /// Takes a connection that is ready.
    ///
    /// # Errors
    /// As [`Asked::rows`].
    pub(crate) async fn new(stream: Stream) -> Result<Self, UpstreamError> {
        let mut asked = Self(stream);
        asked.rows(BEFORE).await?;
        Ok(asked)
    }

    /// The rows that answer a query.
    ///
    /// # Errors
    /// [`UpstreamError`] when the server refuses it, or the connection breaks.
    pub(crate) async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, UpstreamError> {
        let mut request = Vec::new();
        Writer::new(&mut request).query(sql.as_bytes());
        packet::write(&mut self.0, &request).await?;
        let (mut rows, mut failure) = (Vec::new(), None);
        loop {
            let message = packet::read(&mut self.0, LONGEST).await?;
            match message.tag {
                b'D' => rows.push(row(&message.payload).map_err(|e| UpstreamError::Protocol(e.to_string()))?),
                b'E' => failure = Some(UpstreamError::refused(message.payload)),
                b'Z' => return failure.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }
}

fn row(payload: &[u8]) -> Result<Row, Malformed> {
    let mut fields = Fields::new(payload);
    (0..fields.int16()?)
        .map(|_| match usize::try_from(fields.int32()?) {
            Ok(length) => Ok(String::from_utf8_lossy(fields.bytes(length)?).into_owned()),
            Err(_) => Ok(String::new()),
        })
        .collect()
}
