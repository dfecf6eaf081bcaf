//! What a session expects next: of its client, of the server, and of the transaction.

use crate::refusal::Refusal;

/// The rest of a message that passes in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) remaining: usize,
    pub(crate) delivery: Delivery,
}

/// Whether bytes reach the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Forward,
    Swallow,
}

/// What the next message of the client has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    Nothing,
    /// Until the reply in front is the client's.
    Own,
    /// Until nothing is outstanding.
    Settled,
}

/// Whether the client's messages up to its Sync are ignored, as the server ignores them after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skipping {
    Nothing,
    /// The backend knows nothing of the batch: pgwarden answers the Sync.
    Local,
    /// The backend skips too, and answers the Sync.
    Backend,
}

/// A context that is set for the session, around one message that cannot run in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SessionScope {
    Closed,
    /// Sent, not acknowledged.
    Opening,
    /// Acknowledged.
    Open,
    /// The server would not set it.
    Failed(Box<Refusal>),
}

/// The server's copy-in mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyIn {
    Closed,
    Open,
}

/// Whether what follows has to wait until it is known which prepared statements are left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Barrier {
    #[default]
    Open,
    Due,
}

/// What RESET ALL or DISCARD ALL does beyond its reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Resetting {
    #[default]
    Nothing,
    Settings,
    Everything,
}

/// Whether the transaction has changed the definition of something: a table, a type, a view.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Definitions {
    #[default]
    Kept,
    Changed,
}
