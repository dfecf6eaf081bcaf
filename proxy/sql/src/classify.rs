//! From keywords to a [`Verb`] (the statement rules of `src/backend/parser/gram.y`).

use crate::shape::Cursor;
use crate::{Setting, Verb, setting};

/// Classifies the statement under the cursor.
pub(crate) fn classify(mut cursor: Cursor<'_>) -> (Verb, Option<Setting>) {
    let first = cursor.shape();
    let verb = match first.as_bytes() {
        b"set" => return setting::set(cursor),
        b"reset" => return setting::reset(cursor),
        b"show" => return setting::show(cursor),
        word => {
            transaction(word, cursor).or_else(|| utility(word, cursor)).or_else(|| unblockable(word, cursor))
        }
    };
    (verb.unwrap_or(Verb::Other), None)
}

/// `TransactionStmt`.
fn transaction(word: &[u8], mut cursor: Cursor<'_>) -> Option<Verb> {
    let next = cursor.peek();
    Some(match (word, next.as_bytes()) {
        (b"begin", _) | (b"start", b"transaction") => Verb::Begin,
        (b"commit", b"prepared") => Verb::CommitPrepared,
        (b"rollback", b"prepared") => Verb::RollbackPrepared,
        (b"commit" | b"end", _) => Verb::Commit { chain: chains(cursor) },
        (b"rollback", _) if rolls_back_to(cursor) => Verb::RollbackTo,
        (b"rollback" | b"abort", _) => Verb::Rollback { chain: chains(cursor) },
        (b"savepoint", _) => Verb::Savepoint,
        (b"release", _) => Verb::Release,
        (b"prepare", b"transaction") => {
            cursor.token();
            // `PREPARE transaction AS …` names a statement "transaction".
            if cursor.peek().as_bytes() == b"'" { Verb::PrepareTransaction } else { Verb::Prepare }
        }
        _ => return None,
    })
}

/// `opt_transaction`, then `AND CHAIN`.
fn chains(mut cursor: Cursor<'_>) -> bool {
    if matches!(cursor.peek().as_bytes(), b"work" | b"transaction") {
        cursor.token();
    }
    cursor.shape().as_bytes() == b"and" && cursor.shape().as_bytes() == b"chain"
}

fn rolls_back_to(mut cursor: Cursor<'_>) -> bool {
    if matches!(cursor.peek().as_bytes(), b"work" | b"transaction") {
        cursor.token();
    }
    cursor.shape().as_bytes() == b"to"
}

/// The statements whose first word, or little more, says it all.
fn utility(word: &[u8], cursor: Cursor<'_>) -> Option<Verb> {
    Some(match word {
        b"discard" if cursor.peek().as_bytes() == b"all" => Verb::DiscardAll,
        b"discard" => Verb::DiscardOther,
        b"deallocate" => Verb::Deallocate { all: deallocates_all(cursor) },
        b"prepare" => Verb::Prepare,
        b"execute" => Verb::ExecutePrepared,
        b"listen" => Verb::Listen,
        b"unlisten" => Verb::Unlisten,
        b"notify" => Verb::Notify,
        b"load" => Verb::Load,
        b"checkpoint" => Verb::Checkpoint,
        b"analyze" | b"analyse" => Verb::Analyze,
        b"lock" => Verb::Lock,
        b"declare" => Verb::Declare { hold: holds(cursor) },
        b"fetch" => Verb::Fetch,
        b"move" => Verb::Move,
        b"close" => Verb::ClosePortal,
        b"call" => Verb::Call,
        b"do" => Verb::Do,
        b"copy" => copy(cursor),
        b"explain" => Verb::Explain,
        _ => return None,
    })
}

/// `DEALLOCATE [PREPARE] ALL`.
fn deallocates_all(mut cursor: Cursor<'_>) -> bool {
    if cursor.peek().as_bytes() == b"prepare" {
        cursor.token();
    }
    cursor.shape().as_bytes() == b"all"
}

/// `WITH HOLD` before the `FOR` of a DECLARE.
fn holds(mut cursor: Cursor<'_>) -> bool {
    while let Some(shape) = cursor.next_shape() {
        match shape.as_bytes() {
            b"with" if cursor.peek().as_bytes() == b"hold" => return true,
            b"for" => return false,
            _ => {}
        }
    }
    false
}

/// The first FROM or TO outside parentheses: neither can be the name of a table.
fn copy(mut cursor: Cursor<'_>) -> Verb {
    let mut depth = 0_usize;
    while let Some(shape) = cursor.next_shape() {
        match shape.as_bytes() {
            b"(" => depth += 1,
            b")" => depth = depth.saturating_sub(1),
            b"from" if depth == 0 => return Verb::CopyFrom,
            b"to" if depth == 0 => return Verb::CopyTo,
            _ => {}
        }
    }
    Verb::Other
}

/// What cannot run in a transaction block: the callers of `PreventInTransactionBlock`.
fn unblockable(word: &[u8], mut cursor: Cursor<'_>) -> Option<Verb> {
    let object = match word {
        b"vacuum" | b"cluster" => return Some(Verb::Unblockable),
        b"reindex" => return reindex(cursor),
        b"create" | b"drop" | b"alter" => cursor.shape(),
        _ => return None,
    };
    let refused = match (word, object.as_bytes()) {
        (b"alter", b"database") => any_pair(cursor, b"set", b"tablespace"),
        (b"alter", b"table") => any_pair(cursor, b"detach", b"partition") && any(cursor, b"concurrently"),
        (b"alter", b"system") => true,
        (b"create" | b"drop", b"database" | b"tablespace") => true,
        (_, b"subscription") => true,
        (b"create", b"unique") => cursor.shape().as_bytes() == b"index" && any(cursor, b"concurrently"),
        (b"create" | b"drop", b"index") => any(cursor, b"concurrently"),
        _ => false,
    };
    refused.then_some(Verb::Unblockable)
}

/// `REINDEX (CONCURRENTLY) …`, `REINDEX … CONCURRENTLY …`, and those that take many transactions in any form.
fn reindex(mut cursor: Cursor<'_>) -> Option<Verb> {
    while let Some(shape) = cursor.next_shape() {
        if matches!(shape.as_bytes(), b"concurrently" | b"schema" | b"database" | b"system") {
            return Some(Verb::Unblockable);
        }
    }
    None
}

fn any(mut cursor: Cursor<'_>, word: &[u8]) -> bool {
    while let Some(shape) = cursor.next_shape() {
        if shape.as_bytes() == word {
            return true;
        }
    }
    false
}

fn any_pair(mut cursor: Cursor<'_>, first: &[u8], second: &[u8]) -> bool {
    while let Some(shape) = cursor.next_shape() {
        if shape.as_bytes() == first && cursor.peek().as_bytes() == second {
            return true;
        }
    }
    false
}
