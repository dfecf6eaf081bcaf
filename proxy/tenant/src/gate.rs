//! Whether transactions may begin at all.

use pgwarden_session::Refusal;

/// Knows whether something is missing without which no transaction begins: an audit trail that can be written, say.
pub trait Gate: std::fmt::Debug + Send + Sync {
    /// Why none may; nothing while they may. Asked at the begin of each, so it has to be cheap.
    fn closed(&self) -> Option<Refusal>;
}
