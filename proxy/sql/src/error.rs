//! Why a text cannot be tokenised.

/// A text that pgwarden must not classify, with the byte offset where the offending token starts.
///
/// PostgreSQL rejects most of these texts too; [`LexError::AmbiguousBackslash`] and
/// [`LexError::UnterminatedBody`] can be valid SQL and are refused all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LexError {
    /// A string literal has no closing quote.
    #[error("unterminated quoted string at byte {at}")]
    UnterminatedString {
        /// Offset of the literal's first byte.
        at: usize,
    },
    /// A quoted identifier has no closing quote.
    #[error("unterminated quoted identifier at byte {at}")]
    UnterminatedIdentifier {
        /// Offset of the identifier's first byte.
        at: usize,
    },
    /// A block comment is not closed; such comments nest.
    #[error("unterminated comment at byte {at}")]
    UnterminatedComment {
        /// Offset of the outermost comment's first byte.
        at: usize,
    },
    /// A dollar-quoted string has no closing delimiter.
    #[error("unterminated dollar-quoted string at byte {at}")]
    UnterminatedDollar {
        /// Offset of the opening delimiter.
        at: usize,
    },
    /// A `BEGIN ATOMIC` body has no `END`.
    #[error("unterminated routine body at byte {at}")]
    UnterminatedBody {
        /// Offset of the statement that holds the body.
        at: usize,
    },
    /// The text holds a zero byte, which ends a text on the wire.
    #[error("zero byte at byte {at}")]
    Nul {
        /// Offset of the zero byte.
        at: usize,
    },
    /// A backslash in a plain literal makes the text mean different things under the two values of
    /// `standard_conforming_strings`.
    #[error("text depends on standard_conforming_strings at byte {at}")]
    AmbiguousBackslash {
        /// Offset of the first backslash in a plain literal.
        at: usize,
    },
}
