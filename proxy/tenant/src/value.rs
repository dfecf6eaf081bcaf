//! Values of context variables: checked before they are ever sent.

use thiserror::Error;

/// What a value has to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Hexadecimal digits in groups of 8-4-4-4-12.
    Uuid,
    /// A number that fits eight bytes.
    Bigint,
    /// Any text without a zero byte.
    Text,
}

/// Why a value is not taken. It never holds the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ValueError {
    /// Not a uuid.
    #[error("is not a uuid")]
    NotUuid,
    /// Not a number.
    #[error("is not a bigint")]
    NotBigint,
    /// A zero byte inside.
    #[error("holds a zero byte")]
    ZeroByte,
    /// Too long.
    #[error("is longer than {limit} bytes")]
    TooLong {
        /// Bytes allowed.
        limit: usize,
    },
}

impl Kind {
    /// Checks a value.
    ///
    /// # Errors
    /// [`ValueError`] says what is wrong with it.
    pub fn check(self, value: &str, limit: usize) -> Result<(), ValueError> {
        if value.len() > limit {
            return Err(ValueError::TooLong { limit });
        }
        match self {
            Self::Uuid if !is_uuid(value) => Err(ValueError::NotUuid),
            Self::Bigint if value.parse::<i64>().is_err() => Err(ValueError::NotBigint),
            Self::Text if value.contains('\0') => Err(ValueError::ZeroByte),
            _ => Ok(()),
        }
    }
}

/// The canonical form that every PostgreSQL function prints; the server itself takes more.
fn is_uuid(value: &str) -> bool {
    value.len() == 36
        && value.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_by_kind_and_length() {
        assert_eq!(Kind::Uuid.check("a0000000-0000-0000-0000-000000000001", 8192), Ok(()));
        assert_eq!(Kind::Uuid.check("a0000000-0000-0000-0000-00000000000g", 8192), Err(ValueError::NotUuid));
        assert_eq!(Kind::Uuid.check("' or true --", 8192), Err(ValueError::NotUuid));
        assert_eq!(Kind::Bigint.check("9223372036854775808", 8192), Err(ValueError::NotBigint));
        assert_eq!(Kind::Bigint.check("-7", 8192), Ok(()));
        assert_eq!(Kind::Text.check("a\0b", 8192), Err(ValueError::ZeroByte));
        assert_eq!(Kind::Text.check("abcd", 3), Err(ValueError::TooLong { limit: 3 }));
    }
}
