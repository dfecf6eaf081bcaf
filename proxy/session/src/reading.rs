//! Reading a text: what it says, or why that cannot be told.

use crate::settings::Settings;
use pgwarden_sql::{LexError, Script, StringSyntax, analyse};

/// Client encodings in which a byte of a character can be 0x5C, the backslash: a text means one thing to the server,
/// which converts it first, and another to whoever reads its bytes (`pg_wchar.h`, "client-only" encodings).
const AMBIGUOUS: [&str; 6] = ["SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB"];

/// Why a text cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// A quote or comment does not end, however backslashes are read: no server runs any of it.
    Malformed,
    /// The server may understand it otherwise.
    Unclear,
}

/// How texts of a session read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// With this meaning of backslashes.
    As(StringSyntax),
    /// The same, but only texts without characters beyond ASCII, because of the client's encoding.
    Ascii(StringSyntax),
}

impl Default for Reading {
    fn default() -> Self {
        Self::As(StringSyntax::Standard)
    }
}

impl Reading {
    /// How texts read under these settings; they know it themselves by [`Settings::reading`].
    pub(crate) fn under(settings: &Settings) -> Self {
        let encoding = settings.value("client_encoding").unwrap_or_default();
        let syntax = match settings.value("standard_conforming_strings") {
            Some("off") => StringSyntax::Backslash,
            _ => StringSyntax::Standard,
        };
        let ambiguous = AMBIGUOUS.iter().any(|name| name.eq_ignore_ascii_case(encoding));
        if ambiguous { Self::Ascii(syntax) } else { Self::As(syntax) }
    }

    /// What a backslash in a plain literal means.
    pub(crate) fn strings(self) -> StringSyntax {
        let (Self::As(strings) | Self::Ascii(strings)) = self;
        strings
    }

    /// Reads a text.
    pub(crate) fn read(self, text: &[u8]) -> Result<Script, Unread> {
        let syntax = match self {
            Self::As(syntax) => syntax,
            // Without a lead byte there is no trail byte.
            Self::Ascii(syntax) if text.is_ascii() => syntax,
            Self::Ascii(_) => return Err(Unread::Unclear),
        };
        let other = match syntax {
            StringSyntax::Standard => StringSyntax::Backslash,
            StringSyntax::Backslash => StringSyntax::Standard,
        };
        let unclear = |error: &LexError| matches!(error, LexError::AmbiguousBackslash { .. });
        analyse(text, syntax).map_err(|error| match analyse(text, other) {
            Err(second) if !unclear(&error) && !unclear(&second) => Unread::Malformed,
            _ => Unread::Unclear,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_server_runs_is_malformed_and_what_one_might_run_is_unclear() {
        let standard = Reading::As(StringSyntax::Standard);
        assert_eq!(standard.read(b"select 'open"), Err(Unread::Malformed));
        assert_eq!(standard.read(b"select 'a\\' || 'b"), Err(Unread::Unclear));
        assert!(standard.read(b"select 1").is_ok());
    }

    #[test]
    fn encodings_that_hide_a_backslash_are_not_read() {
        let mut settings = Settings::default();
        settings.set("client_encoding", "SJIS");
        let reading = settings.reading();
        assert!(reading.read(b"select 1").is_ok());
        assert_eq!(reading.read(b"select '\x83\x5c'"), Err(Unread::Unclear));
    }
}
