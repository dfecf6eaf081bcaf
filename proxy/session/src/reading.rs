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
    /// Not at all, because of the client's encoding.
    Impossible,
}

impl Reading {
    /// How texts read under these settings.
    pub(crate) fn under(settings: &Settings) -> Self {
        let encoding = settings.value("client_encoding").unwrap_or_default();
        match settings.value("standard_conforming_strings") {
            _ if AMBIGUOUS.iter().any(|name| name.eq_ignore_ascii_case(encoding)) => Self::Impossible,
            Some("off") => Self::As(StringSyntax::Backslash),
            _ => Self::As(StringSyntax::Standard),
        }
    }

    /// Reads a text.
    pub(crate) fn read(self, text: &[u8]) -> Result<Script, Unread> {
        let Self::As(syntax) = self else { return Err(Unread::Unclear) };
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
        assert_eq!(Reading::under(&settings), Reading::Impossible);
        assert_eq!(Reading::Impossible.read(b"select 1"), Err(Unread::Unclear));
    }
}
