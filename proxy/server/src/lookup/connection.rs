//! One connection of pgwarden's own, for one question at a time.

use crate::lookup::LookupError;
use crate::packet;
use crate::stream::Stream;
use crate::upstream::{Credentials, LIMIT, Seals, Server, UpstreamError};
use pgwarden_wire::{BackendTag, Fields, Malformed, Status, Writer};
use std::time::Duration;
use zeroize::Zeroizing;

/// The type `text`: what a value is bound as, so that the server does not cut it to fit the column it meets, as a
/// parameter of type `name` would be.
const TEXT: i32 = 25;

/// What is in front of each question. `pg_temp` comes last by name, because it comes first for types where it has none.
const SEARCH_PATH: &str = "SET LOCAL search_path = pg_catalog, pg_temp";

/// The session's own settings: texts are UTF-8 whatever the database's encoding is, and a time reads in one way.
const SETTINGS: [(&str, &str); 4] = [
    ("application_name", "pgwarden"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("TimeZone", "UTC"),
];

/// A question: one statement with its values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// The statement, with `$1`, `$2` … for the values.
    pub(crate) sql: &'a str,
    /// The values, bound as texts.
    pub(crate) values: &'a [&'a str],
    /// The most rows to fetch; more are left where they are.
    pub(crate) rows: u16,
}

/// How long the server may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For the answer.
    pub(super) answer: Duration,
    /// For a lock that somebody else has.
    pub(super) lock: Option<Duration>,
}

/// A row of the answer, as texts; wiped from memory when dropped.
pub(crate) type Row = Vec<Option<Zeroizing<String>>>;

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: String,
    /// The OID of its type.
    pub(crate) type_oid: u32,
}

/// An answer with the names of its columns.
#[derive(Debug)]
pub(crate) struct Table {
    /// The columns.
    pub(crate) columns: Vec<Column>,
    /// The rows, each with as many values.
    pub(crate) rows: Vec<Row>,
}

/// What is wanted of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The rows; each value is bound as a text.
    Rows,
    /// The names of the columns, too; the server says of which type a value is.
    Table,
}

/// A connection that nobody but pgwarden uses.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    /// The longest message of an answer.
    longest: usize,
}

impl Connection {
    /// Opens one, with TLS and channel binding as `upstream.tls` says.
    ///
    /// # Errors
    /// [`UpstreamError`] when there is none within `upstream.connect_timeout`.
    pub(crate) async fn open(
        server: &Server,
        login: &Credentials,
        database: &str,
    ) -> Result<Self, UpstreamError> {
        let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let established = server.connect(login, database, (&[], Seals::Off), &settings).await?;
        Ok(Self { stream: established.stream, longest: LIMIT })
    }

    /// The same connection for answers with longer messages.
    pub(super) fn reading(self, longest: usize) -> Self {
        Self { longest, ..self }
    }

    /// Whether it is fit for another question, as far as can be told without asking.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.stream.is_quiet()
    }

    /// Asks, and reads the whole answer: one round trip. The server gives up after `patience` as well.
    ///
    /// Not cancel safe: a connection on which that ends early, or with an error, must not be used again.
    ///
    /// # Errors
    /// [`LookupError`] when the server cannot be asked, or the statement fails.
    pub(super) async fn ask(
        &mut self,
        question: Question<'_>,
        form: Form,
        patience: Patience,
    ) -> Result<Table, LookupError> {
        packet::write(&mut self.stream, &request(question, form, patience)).await?;
        let mut answer = Answer::of_at_most(question.rows);
        loop {
            let message = packet::read(&mut self.stream, self.longest).await?;
            if answer.take(message.tag, &Zeroizing::new(message.payload))? == Progress::Complete {
                return Ok(Table { columns: answer.columns, rows: answer.rows });
            }
        }
    }
}

/// The question as one batch that is one transaction: behind a pooler, each may meet another server.
fn request(question: Question<'_>, form: Form, patience: Patience) -> Zeroizing<Vec<u8>> {
    let mut batch = Zeroizing::new(Vec::new());
    let mut writer = Writer::new(&mut batch);
    let timeout = format!("SET LOCAL statement_timeout = {}", patience.answer.as_millis().max(1));
    let lock = patience.lock.map(|lock| format!("SET LOCAL lock_timeout = {}", lock.as_millis().max(1)));
    for command in ["BEGIN", SEARCH_PATH, &timeout].into_iter().chain(lock.as_deref()) {
        statement(&mut writer, Question { sql: command, values: &[], rows: 0 }, Form::Rows);
    }
    statement(&mut writer, question, form);
    statement(&mut writer, Question { sql: "COMMIT", values: &[], rows: 0 }, Form::Rows);
    writer.sync();
    batch
}

fn statement(writer: &mut Writer<'_>, question: Question<'_>, form: Form) {
    let count = i16::try_from(question.values.len()).unwrap_or(i16::MAX);
    let typed = if form == Form::Rows { count } else { 0 };
    writer.message(b'P', |p| {
        p.string(b"").string(question.sql.as_bytes()).int16(typed);
        (0..typed).for_each(|_| {
            p.int32(TEXT);
        });
    });
    writer.message(b'B', |p| {
        p.string(b"").string(b"").int16(0).int16(count);
        for value in question.values {
            p.int32(i32::try_from(value.len()).unwrap_or(i32::MAX)).bytes(value.as_bytes());
        }
        p.int16(0);
    });
    if form == Form::Table {
        writer.message(b'D', |p| {
            p.byte(b'P').string(b"");
        });
    }
    writer.message(b'E', |p| {
        p.string(b"").int32(i32::from(question.rows));
    });
}

/// Whether there is more to read.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    More,
    Complete,
}

/// What has been read of an answer.
#[derive(Debug)]
struct Answer {
    most: usize,
    columns: Vec<Column>,
    rows: Vec<Row>,
    failure: Option<LookupError>,
}

impl Answer {
    fn of_at_most(rows: u16) -> Self {
        Self { most: usize::from(rows), columns: Vec::new(), rows: Vec::new(), failure: None }
    }

    fn take(&mut self, tag: u8, payload: &[u8]) -> Result<Progress, LookupError> {
        match BackendTag::from_byte(tag) {
            Some(BackendTag::DataRow) if self.rows.len() >= self.most => {
                return Err(unusable("there are more rows than were asked for"));
            }
            Some(BackendTag::DataRow) => {
                self.rows.push(row(payload).map_err(|_| unusable("a row cannot be read as text"))?);
            }
            Some(BackendTag::RowDescription) => {
                self.columns = columns(payload).map_err(|_| unusable("the columns cannot be read"))?;
            }
            Some(BackendTag::ErrorResponse) => {
                self.failure.get_or_insert(LookupError::refused(payload));
            }
            Some(BackendTag::ReadyForQuery) => {
                return match (self.failure.take(), Status::read(payload)) {
                    (Some(failure), _) => Err(failure),
                    (None, Ok(Status::Idle)) => Ok(Progress::Complete),
                    (None, _) => Err(unusable("the transaction is not at its end")),
                };
            }
            Some(
                BackendTag::ParseComplete
                | BackendTag::BindComplete
                | BackendTag::CommandComplete
                | BackendTag::NoData
                | BackendTag::PortalSuspended
                | BackendTag::EmptyQueryResponse
                | BackendTag::NoticeResponse
                | BackendTag::NotificationResponse
                | BackendTag::ParameterStatus,
            ) => (),
            _ => return Err(unusable(format!("unexpected message {:?}", char::from(tag)))),
        }
        Ok(Progress::More)
    }
}

fn unusable(why: impl Into<String>) -> LookupError {
    LookupError::Answer(why.into())
}

/// The columns as RowDescription has them: name, table, attribute, type, size, modifier and format of each.
fn columns(payload: &[u8]) -> Result<Vec<Column>, Malformed> {
    let mut fields = Fields::new(payload);
    let count = fields.int16()?;
    let mut columns = Vec::new();
    for _ in 0..count {
        let name = std::str::from_utf8(fields.string()?).map_err(|_| Malformed)?.to_owned();
        fields.bytes(6)?;
        let type_oid = fields.array().map(u32::from_be_bytes)?;
        fields.bytes(8)?;
        columns.push(Column { name, type_oid });
    }
    fields.end()?;
    Ok(columns)
}

fn row(payload: &[u8]) -> Result<Row, Malformed> {
    let mut fields = Fields::new(payload);
    let count = fields.int16()?;
    let mut row = Vec::new();
    for _ in 0..count {
        let value = match fields.int32()? {
            -1 => None,
            length => {
                let bytes = fields.bytes(usize::try_from(length).map_err(|_| Malformed)?)?;
                Some(Zeroizing::new(std::str::from_utf8(bytes).map_err(|_| Malformed)?.to_owned()))
            }
        };
        row.push(value);
    }
    fields.end()?;
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(answer: &mut Answer, tag: u8, payload: &[u8]) -> Result<Progress, LookupError> {
        answer.take(tag, payload)
    }

    #[test]
    fn an_answer_is_its_rows_when_the_transaction_has_ended() {
        let mut answer = Answer::of_at_most(1);
        for (tag, payload) in [(b'1', &b""[..]), (b'2', b""), (b'C', b"BEGIN\0"), (b'N', b"SNOTICE\0\0")] {
            assert_eq!(take(&mut answer, tag, payload).unwrap(), Progress::More);
        }
        take(&mut answer, b'D', b"\0\x02\0\0\0\x02ab\xff\xff\xff\xff").unwrap();
        assert_eq!(take(&mut answer, b'Z', b"I").unwrap(), Progress::Complete);
        let texts: Vec<_> = answer.rows[0].iter().map(|value| value.as_ref().map(|text| &***text)).collect();
        assert_eq!(texts, [Some("ab"), None]);
        assert!(take(&mut answer, b'D', b"\0\0").is_err(), "one row was asked for, and one has come");
    }

    #[test]
    fn a_table_has_the_names_of_its_columns() {
        let mut answer = Answer::of_at_most(1);
        let description = b"\0\x02tenant\0\0\0\0\0\0\0\0\0\x0b\x86\0\x10\xff\xff\xff\xff\0\0\
                            is\0\0\0\0\0\0\0\0\0\0\x10\0\x01\xff\xff\xff\xff\0\0";
        take(&mut answer, b'T', description).unwrap();
        let expected = [("tenant", 2950), ("is", 16)];
        assert_eq!(
            answer.columns,
            expected.map(|(name, type_oid)| Column { name: name.to_owned(), type_oid })
        );
        assert!(take(&mut answer, b'T', b"\0\x01tenant\0").is_err());
    }

    #[test]
    fn the_first_error_is_the_answer() {
        let mut answer = Answer::of_at_most(1);
        take(&mut answer, b'E', b"SERROR\0C42P01\0Mno such relation\0\0").unwrap();
        take(&mut answer, b'E', b"SERROR\0C25P02\0Maborted\0\0").unwrap();
        let error = take(&mut answer, b'Z', b"E").unwrap_err();
        assert!(error.to_string().contains("no such relation"), "{error}");
    }

    #[test]
    fn whatever_is_no_answer_is_refused() {
        let open = |payload: &[u8]| take(&mut Answer::of_at_most(1), b'Z', payload);
        assert!(open(b"T").is_err() && open(b"E").is_err() && open(b"").is_err());
        for (tag, payload) in [
            (b'G', &b"\0\0\0"[..]),
            (b'H', b""),
            (b'R', b"\0\0\0\0"),
            (b'!', b""),
            (b'D', b""),
            (b'D', b"\0\x01"),
            (b'D', b"\0\x01\0\0\0\x02a"),
            (b'D', b"\0\x01\0\0\0\x01\xff"),
            (b'D', b"\0\x01\xff\xff\xff\xfe"),
            (b'D', b"\0\x01\xff\xff\xff\xffmore"),
        ] {
            assert!(take(&mut Answer::of_at_most(1), tag, payload).is_err(), "{tag} {payload:?}");
        }
    }

    #[test]
    fn a_question_is_one_transaction_and_no_value_is_part_of_a_text() {
        let question = Question { sql: "SELECT $1", values: &["'; DROP"], rows: 2 };
        let patience = Patience { answer: Duration::from_secs(5), lock: Some(Duration::from_secs(1)) };
        let bytes = request(question, Form::Rows, patience);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let order = [
            "BEGIN\0",
            "search_path = pg_catalog, pg_temp\0",
            "statement_timeout = 5000\0",
            "lock_timeout = 1000\0",
            "SELECT $1\0",
        ];
        let places: Vec<usize> = order.iter().map(|part| text.find(part).expect("it is there")).collect();
        assert!(places.is_sorted() && text.find("COMMIT\0") > places.last().copied());
        assert!(bytes.windows(11).any(|window| window == b"\0\0\0\x07'; DROP"), "with its length in front");
    }
}
