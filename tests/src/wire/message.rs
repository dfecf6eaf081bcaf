//! Messages of the server.

use std::fmt;

/// One message: its tag and what follows the length.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The first byte, such as `b'Z'`.
    pub tag: u8,
    /// Everything behind the length field.
    pub body: Vec<u8>,
}

impl Message {
    /// The first message of a buffer and its length there, once it is complete.
    pub fn split_first(buffer: &[u8]) -> Option<(Message, usize)> {
        let (&tag, rest) = buffer.split_first()?;
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        assert!(length >= 4, "a message of length {length}");
        let body = rest.get(4..length)?.to_vec();
        Some((Message { tag, body }, length + 1))
    }

    /// All messages of a recording; panics when the last one is incomplete.
    pub fn split(mut buffer: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        while !buffer.is_empty() {
            let (message, length) = Message::split_first(buffer).expect("the last message is incomplete");
            messages.push(message);
            buffer = &buffer[length..];
        }
        messages
    }

    /// The fields of an ErrorResponse or NoticeResponse.
    #[track_caller]
    pub fn fields(&self) -> Fields {
        assert!(matches!(self.tag, b'E' | b'N'), "no error: {self:?}");
        let parts = self.body.split(|&byte| byte == 0);
        let field = |part: &[u8]| part.split_first().map(|(&code, text)| (char::from(code), lossy(text)));
        Fields(parts.filter_map(field).collect())
    }

    /// The values of a DataRow as text.
    #[track_caller]
    pub fn row(&self) -> Vec<Option<String>> {
        assert_eq!(self.tag, b'D', "no row: {self:?}");
        let mut reader = Reader(&self.body);
        let count = reader.u16();
        (0..count).map(|_| reader.value().map(lossy)).collect()
    }

    /// The column names of a RowDescription.
    #[track_caller]
    pub fn columns(&self) -> Vec<String> {
        assert_eq!(self.tag, b'T', "no row description: {self:?}");
        let mut reader = Reader(&self.body);
        let count = reader.u16();
        let column = |_| {
            let name = reader.text();
            reader.bytes(18); // table, column, type, length, modifier, format
            name
        };
        (0..count).map(column).collect()
    }

    /// The tag of a CommandComplete, such as `SELECT 1`.
    #[track_caller]
    pub fn command(&self) -> String {
        assert_eq!(self.tag, b'C', "no command tag: {self:?}");
        Reader(&self.body).text()
    }

    /// The transaction status of a ReadyForQuery: `I`, `T` or `E`.
    #[track_caller]
    pub fn status(&self) -> char {
        assert_eq!(self.tag, b'Z', "not ready: {self:?}");
        char::from(self.body[0])
    }

    /// Name and value of a ParameterStatus.
    #[track_caller]
    pub fn parameter_status(&self) -> (String, String) {
        assert_eq!(self.tag, b'S', "no parameter: {self:?}");
        let mut reader = Reader(&self.body);
        (reader.text(), reader.text())
    }

    /// Process id and secret of a BackendKeyData.
    #[track_caller]
    pub fn backend_key(&self) -> (i32, Vec<u8>) {
        assert_eq!(self.tag, b'K', "no key: {self:?}");
        let mut reader = Reader(&self.body);
        (reader.i32(), reader.0.to_vec())
    }

    /// Channel and payload of a NotificationResponse.
    #[track_caller]
    pub fn notification(&self) -> (String, String) {
        assert_eq!(self.tag, b'A', "no notification: {self:?}");
        let mut reader = Reader(&self.body);
        reader.i32();
        (reader.text(), reader.text())
    }
}

/// As a test failure should show it: `E 42501 permission denied`, `Z "T"`.
impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = char::from(self.tag);
        match self.tag {
            b'E' | b'N' => write!(formatter, "{tag} {}", self.fields()),
            _ => write!(formatter, "{tag} \"{}\"", self.body.escape_ascii()),
        }
    }
}

/// The tags of messages in one string, such as `TDCZ`.
pub fn tags(messages: &[Message]) -> String {
    messages.iter().map(|message| char::from(message.tag)).collect()
}

/// The fields of an error or notice, by their letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields(pub Vec<(char, String)>);

impl Fields {
    /// A field; empty when the message has none.
    pub fn field(&self, code: char) -> &str {
        self.0.iter().find(|(known, _)| *known == code).map_or("", |(_, text)| text)
    }

    /// `ERROR`, `FATAL`, `NOTICE` …, never translated.
    pub fn severity(&self) -> &str {
        self.field('V')
    }

    /// The SQLSTATE.
    pub fn code(&self) -> &str {
        self.field('C')
    }

    /// The primary message.
    pub fn message(&self) -> &str {
        self.field('M')
    }

    /// The detail.
    pub fn detail(&self) -> &str {
        self.field('D')
    }

    /// The hint.
    pub fn hint(&self) -> &str {
        self.field('H')
    }

    /// The position in the statement, in characters from 1.
    pub fn position(&self) -> Option<u32> {
        self.field('P').parse().ok()
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {}", self.severity(), self.code(), self.message())?;
        for part in [self.detail(), self.hint()].into_iter().filter(|part| !part.is_empty()) {
            write!(formatter, " / {part}")?;
        }
        Ok(())
    }
}

/// Takes a body apart; panics when it is too short.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.bytes(2).try_into().expect("two bytes"))
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.bytes(4).try_into().expect("four bytes"))
    }

    fn value(&mut self) -> Option<&'a [u8]> {
        let length = self.i32();
        usize::try_from(length).ok().map(|length| self.bytes(length))
    }

    fn text(&mut self) -> String {
        let end = self.0.iter().position(|&byte| byte == 0).expect("a string ends with a zero byte");
        let text = lossy(self.bytes(end));
        self.bytes(1);
        text
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
