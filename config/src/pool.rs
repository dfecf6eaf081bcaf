//! How backends are shared.

use std::time::Duration;

use crate::reader::Reader;
use crate::word::words;

const SIZE: u32 = 20;
const CHECKOUT_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
const MAX_LIFETIME: Duration = Duration::from_secs(3_600);
const PREPARED_STATEMENTS: usize = 500;
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// For how long a client keeps its backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolMode {
    /// For one transaction.
    Transaction,
    /// From login to goodbye.
    Session,
}

words!(PoolMode { Transaction = "transaction", Session = "session" });

/// What happens to a client with session state that a shared backend cannot carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PinPolicy {
    /// It keeps its backend until the state is gone.
    Allow,
    /// The statement is refused.
    Refuse,
}

words!(PinPolicy { Allow = "allow", Refuse = "refuse" });

/// How often the context is injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reassert {
    /// Once in a transaction, and again after what is known to lose it.
    Transaction,
    /// Before every statement, for databases whose functions set context variables.
    Statement,
}

words!(Reassert { Transaction = "transaction", Statement = "statement" });

/// How backends are shared between clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// For how long a client keeps its backend.
    pub mode: PoolMode,
    /// The most backends for one database and user.
    pub size: u32,
    /// What happens to session state that cannot be shared.
    pub pins: PinPolicy,
    /// How long a client waits for a backend before it gets SQLSTATE 53300.
    pub checkout_timeout: Duration,
    /// After how long an idle backend is closed.
    pub idle_timeout: Duration,
    /// After how long a backend is not used again, however busy.
    pub max_lifetime: Duration,
    /// The most statements of clients that one backend has prepared at once.
    pub prepared_statements: usize,
    /// How often the context is injected.
    pub reassert: Reassert,
}

/// Reads `[pool]`.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> Pool {
    let shortest = Duration::from_millis(1);
    let second = Duration::from_secs(1);
    Pool {
        mode: reader.word("pool.mode").unwrap_or(PoolMode::Transaction),
        size: reader.number("pool.size", 1..=10_000).unwrap_or(SIZE),
        pins: reader.word("pool.pins").unwrap_or(PinPolicy::Allow),
        checkout_timeout: reader
            .duration("pool.checkout_timeout", shortest, WEEK)
            .unwrap_or(CHECKOUT_TIMEOUT),
        idle_timeout: reader.duration("pool.idle_timeout", second, WEEK).unwrap_or(IDLE_TIMEOUT),
        max_lifetime: reader.duration("pool.max_lifetime", second, WEEK).unwrap_or(MAX_LIFETIME),
        prepared_statements: reader
            .number("pool.prepared_statements", 1..=100_000)
            .unwrap_or(PREPARED_STATEMENTS),
        reassert: reader.word("pool.reassert").unwrap_or(Reassert::Transaction),
    }
}
