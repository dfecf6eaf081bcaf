//! Names that pgwarden gives on a backend; clients cannot use them.

use crate::refusal::Refusal;
use pgwarden_sql::{Marks, Statement, Verb};

/// What every statement and portal of pgwarden's own begins with.
pub(crate) const RESERVED: &[u8] = b"pgwarden_";

/// A statement that no backend has: binding it makes the server fail the transaction as a refused statement would.
pub(crate) const REFUSED: &[u8] = b"pgwarden_refused";

/// The portal in which the context statement runs.
pub(crate) const CONTEXT_PORTAL: &[u8] = b"pgwarden_context";

/// Whether a client's name is one that only pgwarden may use.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(RESERVED)
}

/// The name of a client's statement on a backend.
pub(crate) fn of_statement(number: u64) -> Vec<u8> {
    format!("pgwarden_{number}").into_bytes()
}

/// A name for the context statement that a client cannot guess; `seed` is random per backend.
pub(crate) fn of_context(seed: u64, count: u64) -> Vec<u8> {
    // SplitMix64 (Steele, Lea, Flood 2014): distinct for every count, unrelated to the eye.
    let mut mixed = seed.wrapping_add(count.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    format!("pgwarden_context_{:016x}", mixed ^ (mixed >> 31)).into_bytes()
}

/// Whether a statement of SQL names what is pgwarden's, where a prepared statement can be named or made a secret of:
/// EXECUTE and its kin, and bodies in other languages. Unicode escapes in a name are not followed but not let by.
pub(crate) fn is_reached_for(text: &[u8], statement: &Statement) -> bool {
    let names_statements = matches!(
        statement.verb,
        Verb::ExecutePrepared | Verb::Deallocate { all: false } | Verb::Prepare | Verb::Explain
    );
    if !names_statements && !statement.marks.contains(Marks::BODY) {
        return false;
    }
    let text = text.get(statement.span.clone()).unwrap_or_default();
    let holds = |word: &[u8]| text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word));
    holds(RESERVED) || (names_statements && holds(b"u&\""))
}

/// The error for a client that names what is pgwarden's.
pub(crate) fn reserved(name: &[u8]) -> Refusal {
    Refusal::new(
        "42939",
        format!("the name \"{}\" is reserved", String::from_utf8_lossy(name)),
        "Names that begin with \"pgwarden_\" belong to the proxy.",
        "Choose another name.",
    )
}
