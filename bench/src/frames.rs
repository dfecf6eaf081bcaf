//! Frontend messages to send, and as much of the backend's replies as a load generator has to understand.
//!
//! Layouts: PostgreSQL documentation, chapter "Frontend/Backend Protocol", section "Message Formats".

use crate::Result;

/// Bytes of a message's type and length.
const HEADER: usize = 5;

/// SSLRequest: a client's first message when it wants TLS.
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// What one request was answered with, up to and including ReadyForQuery.
#[derive(Debug, Default)]
pub struct Reply {
    /// Number of DataRow messages.
    pub rows: u32,
    /// Number of CommandComplete messages.
    pub completions: u32,
    /// The last command tag.
    pub tag: Vec<u8>,
    /// Transaction status: `I`, `T` or `E`.
    pub status: u8,
    /// SQLSTATE and message of the first ErrorResponse.
    pub error: Option<String>,
}

impl Reply {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.rows = 0;
        self.completions = 0;
        self.tag.clear();
        self.status = 0;
        self.error = None;
    }
}

/// Walks the complete frames in `bytes` from `position` on. Returns whether ReadyForQuery was reached; `position` is
/// left behind the last frame that was complete.
pub fn scan(bytes: &[u8], position: &mut usize, reply: &mut Reply) -> Result<bool> {
    while let Some(header) = bytes.get(*position..*position + HEADER) {
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if length < 4 {
            return Err(format!("frame {:?} of length {length}", char::from(header[0])).into());
        }
        let Some(body) = bytes.get(*position + HEADER..*position + 1 + length) else { return Ok(false) };
        *position += 1 + length;
        match header[0] {
            b'D' => reply.rows += 1,
            b'C' => complete(body, reply),
            b'E' if reply.error.is_none() => reply.error = Some(error_text(body)),
            b'R' if body != [0; 4] => return Err("the server asks for a password, expected trust".into()),
            b'Z' => {
                reply.status = body.first().copied().unwrap_or_default();
                return Ok(true);
            }
            _ => {}
        }
    }
    Ok(false)
}

fn complete(body: &[u8], reply: &mut Reply) {
    reply.completions += 1;
    reply.tag.clear();
    reply.tag.extend_from_slice(body.strip_suffix(b"\0").unwrap_or(body));
}

/// `42501 permission denied …` from the fields of an ErrorResponse.
fn error_text(body: &[u8]) -> String {
    let field = |code: u8| {
        let found = body.split(|&byte| byte == 0).find(|field| field.first() == Some(&code));
        String::from_utf8_lossy(found.and_then(|field| field.get(1..)).unwrap_or(b"?")).into_owned()
    };
    format!("{} {}", field(b'C'), field(b'M'))
}

/// Appends a message of type `kind` with the body that `write` appends.
pub fn message(out: &mut Vec<u8>, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    sized(out, write);
}

/// Appends a StartupMessage for protocol 3.0.
pub fn startup(out: &mut Vec<u8>, user: &str, database: &str) {
    sized(out, |out| {
        out.extend_from_slice(&196_608_u32.to_be_bytes());
        for text in ["user", user, "database", database, "application_name", "pgwarden-bench"] {
            string(out, text);
        }
        out.push(0);
    });
}

/// Appends a Query.
pub fn query(out: &mut Vec<u8>, sql: &str) {
    message(out, b'Q', |out| string(out, sql));
}

/// Appends a Parse without parameter types.
pub fn parse(out: &mut Vec<u8>, name: &str, sql: &str) {
    message(out, b'P', |out| {
        string(out, name);
        string(out, sql);
        out.extend_from_slice(&0_u16.to_be_bytes());
    });
}

/// Appends a Sync.
pub fn sync(out: &mut Vec<u8>) {
    message(out, b'S', |_| {});
}

/// Appends a Terminate.
pub fn terminate(out: &mut Vec<u8>) {
    message(out, b'X', |_| {});
}

/// Appends a string and its NUL.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

/// Appends what `write` appends, behind a length that counts itself.
fn sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let mut bytes = Vec::new();
        message(&mut bytes, b'D', |out| out.extend_from_slice(&[0, 0]));
        message(&mut bytes, b'C', |out| string(out, "SELECT 1"));
        message(&mut bytes, b'Z', |out| out.push(b'T'));
        bytes
    }

    #[test]
    fn a_reply_is_understood_however_it_is_cut() {
        let bytes = stream();
        for cut in 0..bytes.len() {
            let (mut position, mut reply) = (0, Reply::default());
            assert!(!scan(&bytes[..cut], &mut position, &mut reply).unwrap());
            assert!(scan(&bytes, &mut position, &mut reply).unwrap());
            assert_eq!((reply.rows, reply.completions, reply.status), (1, 1, b'T'));
            assert_eq!(reply.tag, b"SELECT 1");
        }
    }

    #[test]
    fn an_error_keeps_its_sqlstate() {
        let mut bytes = Vec::new();
        message(&mut bytes, b'E', |out| out.extend_from_slice(b"SERROR\0C42501\0Mno\0\0"));
        let mut reply = Reply::default();
        assert!(!scan(&bytes, &mut 0, &mut reply).unwrap());
        assert_eq!(reply.error.as_deref(), Some("42501 no"));
    }

    #[test]
    fn an_impossible_length_is_refused() {
        assert!(scan(&[b'Z', 0, 0, 0, 3, 0], &mut 0, &mut Reply::default()).is_err());
    }
}
