//! Why a token was refused, in words that never repeat the token.

use super::Algorithm;

/// Why a token was refused.
///
/// The texts are whole clauses for an error DETAIL. They hold times and configured names of
/// algorithms; never the token, its parts, its claims, or its key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no JSON Web Token in compact form.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// It is longer than a PostgreSQL password message may be.
    #[error("the token is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// It names an algorithm that is not supported (`none` included).
    #[error("the token names an unknown or unsupported signature algorithm")]
    UnknownAlgorithm,
    /// It names an algorithm that the configuration does not allow.
    #[error("the token is signed with {alg}, which is not allowed here")]
    NotAllowed {
        /// The algorithm in the token.
        alg: Algorithm,
    },
    /// It demands an extension (`crit`), of which none is supported.
    #[error("the token has a critical header that is not supported")]
    CriticalHeader,
    /// There is no key with the token's key id, or none that fits the algorithm.
    ///
    /// After a key rotation this is what a new token looks like: refresh the keys and try once more.
    #[error("no key fits the key id and the algorithm of the token")]
    NoMatchingKey,
    /// The signature is wrong.
    #[error("the signature of the token is wrong")]
    BadSignature,
    /// The time of `exp` has come.
    #[error("the token expired at {at} and it is {now} (seconds since 1970)")]
    Expired {
        /// `exp`, in seconds since 1970.
        at: u64,
        /// The time of the check.
        now: u64,
    },
    /// The time of `nbf` has not come.
    #[error("the token is not valid before {at} and it is {now} (seconds since 1970)")]
    NotYetValid {
        /// `nbf`, in seconds since 1970.
        at: u64,
        /// The time of the check.
        now: u64,
    },
    /// The time of `iat` has not come: a clock is wrong.
    #[error("the token was issued at {at} and it is {now} (seconds since 1970)")]
    IssuedInFuture {
        /// `iat`, in seconds since 1970.
        at: u64,
        /// The time of the check.
        now: u64,
    },
    /// There is no `exp`, and the configuration requires one.
    #[error("the token has no expiry (exp)")]
    MissingExpiry,
    /// There is no `iss`, and the configuration requires one.
    #[error("the token has no issuer (iss)")]
    MissingIssuer,
    /// `iss` is not the configured issuer.
    #[error("the token comes from another issuer (iss)")]
    WrongIssuer,
    /// There is no `aud`, and the configuration requires one.
    #[error("the token has no audience (aud)")]
    MissingAudience,
    /// `aud` names none of the configured audiences.
    #[error("the token is meant for another audience (aud)")]
    WrongAudience,
    /// A registered claim has a value of the wrong type.
    #[error("the claim \"{claim}\" of the token has the wrong type")]
    ClaimType {
        /// The name of the claim: one of the registered names that are checked.
        claim: &'static str,
    },
}
