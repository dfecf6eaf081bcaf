//! A connection that hears of notifications.

use crate::lookup::LookupError;
use crate::packet;
use crate::stream::Stream;
use crate::upstream::{Credentials, LIMIT, Seals, Server};
use pgwarden_wire::{BackendTag, Fields, HEADER, Malformed, Writer, header};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// By which the server's operator knows the connection.
const NAME: &str = "pgwarden notifications";

/// A connection that listens on one channel.
#[derive(Debug)]
pub(crate) struct Listener {
    stream: Stream,
    /// What has been read, and not looked at yet.
    bytes: Vec<u8>,
    pulse: Pulse,
}

/// Whether the server owes a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pulse {
    Calm,
    Asked,
}

/// What a message is to a listener.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// A notification with this payload.
    Notification(String),
    /// Everything that was asked has been answered.
    Ready,
    /// Nothing of interest.
    Noise,
}

impl Listener {
    /// Opens a connection and listens. What is committed when this has returned is heard of.
    ///
    /// # Errors
    /// [`LookupError`] when the server cannot be reached, or will not have it.
    pub(crate) async fn open(
        server: &Server,
        login: &Credentials,
        database: &str,
        channel: &str,
    ) -> Result<Self, LookupError> {
        let settings = [("application_name", NAME), ("client_encoding", "UTF8")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let established = server.connect(login, database, (&[], Seals::Off), &settings).await?;
        let mut listener = Self { stream: established.stream, bytes: Vec::new(), pulse: Pulse::Calm };
        let listen = format!("LISTEN \"{}\"", channel.replace('"', "\"\""));
        listener.ask(&listen).await?;
        while listener.next().await? != Heard::Ready {}
        Ok(listener)
    }

    /// The payload of the next notification. When nothing comes for the time of `beat`, the server is asked for a sign
    /// of life, which it has to give within the same time.
    ///
    /// Not cancel safe.
    ///
    /// # Errors
    /// [`LookupError`] when the connection is lost: nothing more will be heard on it.
    pub(crate) async fn hear(&mut self, beat: Duration) -> Result<String, LookupError> {
        loop {
            match tokio::time::timeout(beat, self.next()).await {
                Ok(Ok(Heard::Notification(payload))) => return Ok(payload),
                Ok(Ok(Heard::Ready)) => self.pulse = Pulse::Calm,
                Ok(Ok(Heard::Noise)) => (),
                Ok(Err(error)) => return Err(error),
                Err(_) if self.pulse == Pulse::Asked => return Err(LookupError::TimedOut(beat)),
                Err(_) => {
                    self.pulse = Pulse::Asked;
                    let asked = tokio::time::timeout(beat, self.ask("")).await;
                    asked.unwrap_or(Err(LookupError::TimedOut(beat)))?;
                }
            }
        }
    }

    async fn ask(&mut self, sql: &str) -> Result<(), LookupError> {
        let mut request = Vec::new();
        Writer::new(&mut request).query(sql.as_bytes());
        Ok(packet::write(&mut self.stream, &request).await?)
    }

    /// The next message. Cancel safe: what has been read stays.
    async fn next(&mut self) -> Result<Heard, LookupError> {
        loop {
            let header = header(&self.bytes).map_err(|error| LookupError::Answer(error.to_string()))?;
            if let Some(header) = header {
                if header.length > LIMIT {
                    return Err(LookupError::Answer("a message is too long".to_owned()));
                }
                if let Some(message) = self.bytes.get(..header.length) {
                    let heard = read(message);
                    self.bytes.drain(..header.length);
                    return heard;
                }
            }
            if self.stream.read_buf(&mut self.bytes).await? == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

/// What a whole message says.
fn read(message: &[u8]) -> Result<Heard, LookupError> {
    let mut fields = Fields::new(message);
    let unreadable = |_| LookupError::Answer("a message cannot be read".to_owned());
    let [tag, ..] = fields.array::<HEADER>().map_err(unreadable)?;
    match BackendTag::from_byte(tag) {
        Some(BackendTag::NotificationResponse) => {
            payload(fields).map(Heard::Notification).map_err(unreadable)
        }
        Some(BackendTag::ReadyForQuery) => Ok(Heard::Ready),
        Some(BackendTag::ErrorResponse) => Err(LookupError::refused(fields.rest())),
        Some(_) => Ok(Heard::Noise),
        None => Err(unreadable(Malformed)),
    }
}

/// NotificationResponse: process, channel, payload.
fn payload(fields: Fields<'_>) -> Result<String, Malformed> {
    let mut fields = fields;
    let (_process, _channel) = (fields.int32()?, fields.string()?);
    let payload = String::from_utf8_lossy(fields.string()?).into_owned();
    fields.end()?;
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_told_by_its_payload() {
        let heard = read(b"A\0\0\0\x14\0\0\0\x07ch\0user:1\0");
        assert_eq!(heard.unwrap(), Heard::Notification("user:1".to_owned()));
        assert_eq!(read(b"Z\0\0\0\x05I").unwrap(), Heard::Ready);
        assert_eq!(read(b"S\0\0\0\x08a\0b\0").unwrap(), Heard::Noise);
    }

    #[test]
    fn what_no_server_sends_ends_it() {
        for message in [&b"A\0\0\0\x04"[..], b"A\0\0\0\x0b\0\0\0\x07c\0x", b"!\0\0\0\x04", b"E\0\0\0\x05\0"] {
            assert!(read(message).is_err(), "{message:?}");
        }
    }
}
