//! A connection beside the clients', on which queries are run again.

use crate::packet::{self, PacketError};
use crate::stream::Stream;
use crate::upstream::{Credentials, Seals, Server, UpstreamError};
use pgwarden_session::{Carrier, Process, SEAL_LENGTH};
use pgwarden_shadow::replay::{Answer, Bound};
use pgwarden_wire::{BackendTag, ErrorFields, Fields, Malformed, Writer};
use thiserror::Error;

/// By which the server's operator knows the connection.
const NAME: &str = "pgwarden replay";
/// The longest message of an answer: definitions of views and functions are in it.
const LONGEST: usize = 64 * 1024 * 1024;
/// More definitions than this are not read.
const ROWS: usize = 20_000;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum SideError {
    /// The server refused what was asked: its SQLSTATE. Its text may hold values.
    #[error("the server refused with SQLSTATE {0}")]
    Refused(String),
    /// The connection is of no use any more.
    #[error(transparent)]
    Lost(#[from] UpstreamError),
    /// The answer is none to such a question.
    #[error("the server's answer cannot be used")]
    Strange,
}

impl From<std::io::Error> for SideError {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(error.into())
    }
}

impl From<PacketError> for SideError {
    fn from(error: PacketError) -> Self {
        Self::Lost(error.into())
    }
}

impl From<Malformed> for SideError {
    fn from(_: Malformed) -> Self {
        Self::Strange
    }
}

/// A row, as texts.
pub(super) type Row = Vec<Option<String>>;

/// What came back.
#[derive(Debug, Default)]
struct Reply {
    rows: Vec<Row>,
    /// The types of the parameters, as the server has inferred them.
    types: Vec<u32>,
    error: Option<String>,
}

/// A connection of pgwarden's own.
#[derive(Debug)]
pub(super) struct Side {
    stream: Stream,
    process: Option<Process>,
    /// Seals made for it.
    seals: u64,
}

impl Side {
    /// Opens one, for contexts that are sealed or are not.
    ///
    /// # Errors
    /// [`SideError`] when there is none.
    pub(super) async fn open(
        server: &Server,
        login: &Credentials,
        database: &str,
        seals: Seals,
    ) -> Result<Self, SideError> {
        let settings = [("application_name", NAME), ("client_encoding", "UTF8")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let established = server.connect(login, database, (&[], seals), &settings).await?;
        Ok(Self { stream: established.stream, process: established.process, seals: 0 })
    }

    /// Whether it is fit for another question, as far as can be told without asking.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.stream.is_quiet()
    }

    /// Runs statements of pgwarden's own. Not cancel safe, as nothing here is: the connection is closed then.
    ///
    /// # Errors
    /// [`SideError::Refused`] when one fails.
    pub(super) async fn command(&mut self, text: &[u8]) -> Result<(), SideError> {
        let mut request = Vec::new();
        Writer::new(&mut request).query(text);
        let reply = self.exchange(&request).await?;
        reply.error.map_or(Ok(()), |code| Err(SideError::Refused(code)))
    }

    /// Asks a question with texts for its parameters.
    ///
    /// # Errors
    /// [`SideError::Refused`] when it fails.
    pub(super) async fn ask(&mut self, sql: &str, values: &[&str]) -> Result<Vec<Row>, SideError> {
        let mut bound = Vec::new();
        bound.extend_from_slice(&0_i16.to_be_bytes());
        bound.extend_from_slice(&i16::try_from(values.len()).unwrap_or(i16::MAX).to_be_bytes());
        for value in values {
            bound.extend_from_slice(&i32::try_from(value.len()).unwrap_or(i32::MAX).to_be_bytes());
            bound.extend_from_slice(value.as_bytes());
        }
        let reply = self.exchange(&request(sql, &[], &bound)).await?;
        match reply.error {
            Some(code) => Err(SideError::Refused(code)),
            None => Ok(reply.rows),
        }
    }

    /// Runs a text that counts and hashes; also the types of its parameters.
    ///
    /// # Errors
    /// [`SideError::Lost`]; that the text fails is an answer.
    pub(super) async fn count(
        &mut self,
        sql: &str,
        bound: &Bound,
    ) -> Result<(Result<Answer, String>, Vec<u32>), SideError> {
        const NOTHING: [u8; 4] = [0; 4];
        let values = if bound.values.is_empty() { NOTHING.as_slice() } else { &bound.values };
        let reply = self.exchange(&request(sql, &bound.types, values)).await?;
        if let Some(code) = reply.error {
            return Ok((Err(code), reply.types));
        }
        let mut row = reply.rows.into_iter().next().ok_or(SideError::Strange)?.into_iter();
        let count = row.next().flatten().and_then(|count| count.parse().ok()).ok_or(SideError::Strange)?;
        let hash = row.next().flatten().unwrap_or_default();
        Ok((Ok(Answer { count, hash }), reply.types))
    }

    /// The commands that set a context, sealed for this connection if it is to be.
    pub(super) fn context(&mut self, carrier: &Carrier) -> Vec<u8> {
        let mut text = carrier.text.clone();
        if let (Some(sealing), Some(process)) = (&carrier.sealing, &self.process) {
            self.seals += 1;
            let seal = sealing.sealer.seal(process, self.seals, &sealing.digest);
            let [_, place, _] = sealing.places;
            let place = text.get_mut(place..).and_then(|rest| rest.get_mut(..SEAL_LENGTH));
            if let Some(place) = place {
                place.copy_from_slice(&seal);
            }
        }
        text
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Reply, SideError> {
        packet::write(&mut self.stream, request).await?;
        let mut reply = Reply::default();
        loop {
            let message = packet::read(&mut self.stream, LONGEST).await?;
            match BackendTag::from_byte(message.tag) {
                Some(BackendTag::ReadyForQuery) => return Ok(reply),
                Some(BackendTag::ErrorResponse) => {
                    let code = ErrorFields::new(&message.payload).sqlstate();
                    reply.error.get_or_insert(String::from_utf8_lossy(&code).into_owned());
                }
                Some(BackendTag::DataRow) if reply.rows.len() >= ROWS => return Err(SideError::Strange),
                Some(BackendTag::DataRow) => reply.rows.push(row(&message.payload)?),
                Some(BackendTag::ParameterDescription) => reply.types = types(&message.payload)?,
                Some(_) => (),
                None => return Err(SideError::Strange),
            }
        }
    }
}

/// Parse, Describe, Bind, Execute and Sync of the unnamed statement; `bound` has formats and values as Bind has them.
fn request(sql: &str, types: &[u32], bound: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    let mut writer = Writer::new(&mut request);
    writer.message(b'P', |p| {
        p.string(b"").string(sql.as_bytes()).int16(i16::try_from(types.len()).unwrap_or(i16::MAX));
        types.iter().for_each(|oid| {
            p.bytes(&oid.to_be_bytes());
        });
    });
    writer.message(b'D', |p| {
        p.byte(b'S').string(b"");
    });
    writer.message(b'B', |p| {
        p.string(b"").string(b"").bytes(bound).int16(0);
    });
    writer.message(b'E', |p| {
        p.string(b"").int32(0);
    });
    writer.sync();
    request
}

fn row(payload: &[u8]) -> Result<Row, Malformed> {
    let mut fields = Fields::new(payload);
    let count = fields.int16()?;
    let mut row = Vec::new();
    for _ in 0..count {
        row.push(match fields.int32()? {
            -1 => None,
            length => {
                let bytes = fields.bytes(usize::try_from(length).map_err(|_| Malformed)?)?;
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
        });
    }
    Ok(row)
}

fn types(payload: &[u8]) -> Result<Vec<u32>, Malformed> {
    let mut fields = Fields::new(payload);
    let count = fields.int16()?;
    (0..count).map(|_| fields.array().map(u32::from_be_bytes)).collect()
}
